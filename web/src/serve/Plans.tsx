// The plans: tonight's first.

import { useSignal } from "@preact/signals";
import { quoted } from "../command";
import { numberText } from "../text";
import type { Refused } from "./api";
import { Following } from "./Following";
import { isEmpty, isOpen, removesText, sizeOr, stateText } from "./format";
import type { Job, PlanDetail, PlanStep, PlanSummary } from "./model";
import { Command, Failure, Read, Title, When } from "./parts";
import { planPath } from "./route";
import { namesOf } from "./RunScreen";
import { commandFor, go, may, session, start, useReading } from "./state";

export function Plans() {
  const plans = useReading<{ plans: PlanSummary[] }>("plans", ["plans"]);
  const failure = useSignal<Refused | null>(null);
  const job = useSignal<Job | null>(null);
  const policy = session.value?.policy ?? null;
  const name = policy === null ? null : quoted(policy);

  async function make(): Promise<void> {
    job.value = await start("plans", { policy: true }, failure);
  }

  return (
    <>
      <Title>Plans</Title>
      <p class="actions">
        {may("planner") && policy !== null && (
          <button type="button" class="main" onClick={() => void make()}>
            Plan tonight's cleanup
          </button>
        )}
        <span class="quiet">
          {policy === null ? may("planner") ? "There is no policy here: start serve with -f to plan cleanups. " : "There is no policy here." : <>By the policy {policy}. </>}
          {may("planner") && (
            <>
              Of single images: select them among the <a href="/images">images</a>.
            </>
          )}
        </span>
      </p>
      <Failure error={failure.value} />
      {job.value !== null && <Following job={job.value} onDone={({ plan }) => plan && go(planPath(plan))} />}
      <Read of={plans.value}>
        {(found) => (found.plans.length ? <PlanList plans={tonightFirst(found.plans)} /> : <p>There is no plan yet.</p>)}
      </Read>
      <Command
        command={name === null ? null : commandFor(`cleanup -f ${name} --dry-run`)}
        what="To see tonight's in a terminal"
      />
    </>
  );
}

/** The plan of tonight's cleanup, then the newest. */
export function tonightFirst(plans: readonly PlanSummary[]): PlanSummary[] {
  return [...plans].sort((one, other) => Number(other.tonight) - Number(one.tonight));
}

const NAMED = 8; // plans of which more is asked for than the list says
const NAMES = 2; // images

/** What a plan of selected images removes first, so that it is told from others. */
function FirstOf({ sum }: { sum: string }) {
  const found = useReading<{ total: number; rows: PlanStep[] }>(`plans/${encodeURIComponent(sum)}/steps?offset=0&limit=${NAMES}`);
  const names = found.value.value?.rows.flatMap(namesOf).slice(0, NAMES) ?? [];
  return names.length > 0 ? <span class="quiet"> {names.join(", ")}, …</span> : null;
}

/** That a cleanup by itself refuses a plan. */
function Mark({ sum }: { sum: string }) {
  const found = useReading<PlanDetail>(`plans/${encodeURIComponent(sum)}`);
  return (found.value.value?.plan.refused ?? null) === null ? null : <span class="badge bad">a cleanup refuses it</span>;
}

const COLUMNS = ["Plan", "State", "Removes", "Frees", "Made", "By", "Sum"];

function PlanList({ plans }: { plans: PlanSummary[] }) {
  const caption = plans.length === 1 ? "1 plan" : `${numberText(plans.length)} plans`;
  return (
    <div class="table" tabIndex={0} role="region" aria-label={caption}>
      <table class="stacked words" role="table">
        <caption>{caption}</caption>
        <thead role="rowgroup" class="plain">
          <tr role="row">
            {COLUMNS.map((title) => (
              <th key={title} scope="col" role="columnheader" class={title === "Frees" ? "n" : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {plans.map((one, at) => (
            <tr key={one.sum} role="row">
              <th scope="row" role="rowheader">
                {one.tonight && <span class="badge">tonight</span>} <a href={planPath(one.sum)}>{one.title}</a>
                {one.kind === "selection" && one.tags + one.untagged > 1 && at < NAMED && <FirstOf sum={one.sum} />}
                {isOpen(one) && !isEmpty(one) && at < NAMED && <Mark sum={one.sum} />}
              </th>
              <td role="cell" data-of="State">
                {stateText(one)}
              </td>
              <td role="cell" data-of="Removes">
                {removesText(one.tags, one.untagged)}
              </td>
              <td role="cell" class="n" data-of="Frees">
                {sizeOr(one.frees, one.exact)}
              </td>
              <td role="cell" data-of="Made">
                <When when={one.made} />
              </td>
              <td role="cell" data-of="By">
                {one.by}
              </td>
              <td role="cell" data-of="Sum">
                <code>{one.sum.slice(0, 19)}</code>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

// The plans: tonight's first.

import { useSignal } from "@preact/signals";
import { quoted } from "../command";
import { numberText } from "../text";
import type { Refused } from "./api";
import { Following } from "./Following";
import { removesText, sizeOr, stateText } from "./format";
import type { Job, PlanSummary } from "./model";
import { Command, Failure, Read, Title, When } from "./parts";
import { planPath } from "./route";
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
          {policy === null ? "There is no policy here: start serve with -f to plan cleanups. " : <>By the policy {policy}. </>}
          Of single images: select them among the <a href="/images">images</a>.
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
          {plans.map((one) => (
            <tr key={one.sum} role="row">
              <th scope="row" role="rowheader">
                {one.tonight && <span class="badge">tonight</span>} <a href={planPath(one.sum)}>{one.title}</a>
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

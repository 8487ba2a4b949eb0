// A plan: what it removes and why, who approved it, and carrying it out.

import { useSignal, type Signal } from "@preact/signals";
import { quoted } from "../command";
import { PlanTables } from "../PlanTables";
import { numberText } from "../text";
import { Refused, post } from "./api";
import { CarryOut } from "./CarryOut";
import { Following } from "./Following";
import { approvalsAt, isEmpty, isOpen, refusedText, removesText, sizeOr, stateText } from "./format";
import { active, changed } from "./jobs";
import type { Job, PlanDetail } from "./model";
import { Command, Dialog, Failure, Read, Title, When } from "./parts";
import { PlanSteps } from "./PlanSteps";
import { runPath } from "./route";
import { commandFor, go, may, refused, session, start, useReading } from "./state";

const HOLD = 30; // days

export function PlanScreen({ sum }: { sum: string }) {
  const detail = useReading<PlanDetail>(`plans/${encodeURIComponent(sum)}`, ["plans", "runs"]);
  const found = detail.value.value;
  return (
    <>
      <Title>{found === null ? "Plan" : `Plan: ${found.summary.title}`}</Title>
      <Read of={detail.value}>{(one) => <Shown detail={one} />}</Read>
      {found !== null && <SameCommand detail={found} />}
    </>
  );
}

function SameCommand({ detail: { summary, command, may_apply } }: { detail: PlanDetail }) {
  if (isOpen(summary)) return <Command command={command} what={may_apply ? "To carry it out in a terminal" : "The same in a terminal"} />;
  const name = summary.run === null ? null : quoted(summary.run);
  return <Command command={commandFor(name === null ? "history" : `history ${name}`)} what="What became of it, in a terminal" />;
}

function Shown({ detail }: { detail: PlanDetail }) {
  const { summary, plan } = detail;
  const failure = useSignal<Refused | null>(null);
  const job = useSignal<Job | null>(null);
  const isAsked = useSignal(false);
  // At most one job writes at a time, so that this one is of this plan.
  const own = summary.state === "running" ? active.value.find((one) => one.kind === "apply") : undefined;
  const at = `plans/${encodeURIComponent(summary.sum)}`;

  async function act(what: "approve" | "withdraw" | "discard"): Promise<void> {
    failure.value = null;
    try {
      await post(`${at}/${what}`, {});
      changed("plans");
      if (what === "discard") go("/plans");
    } catch (error) {
      failure.value = refused(error);
    }
  }

  async function hold(image: string): Promise<void> {
    job.value = await start("holds", { image, days: HOLD, because: `held on the page of ${summary.title}` }, failure);
  }

  return (
    <>
      <Facts detail={detail} />
      {plan.refused !== null &&
        (isOpen(summary) ? <p class="alarm">{refusedText(plan.refused)}</p> : <p class="quiet">A cleanup by itself refuses this: {plan.refused}</p>)}
      {!(isOpen(summary) && isEmpty(summary)) && <Approvals detail={detail} />}
      <Failure error={failure.value} />
      {(job.value ?? own) && <Following job={(job.value ?? own) as Job} />}
      <Actions detail={detail} isAsked={isAsked} onAct={(what) => void act(what)} />
      {isAsked.value && (
        <CarryOut detail={detail} onStarted={(started) => (job.value = started)} onClose={() => (isAsked.value = false)} />
      )}
      <PlanTables plan={plan} extra={may("planner") && isOpen(summary) ? (image) => <HoldButton image={image} onHold={() => void hold(image)} /> : undefined} />
      <PlanSteps sum={summary.sum} />
      <LeftOut left={plan.left_out} />
    </>
  );
}

function Facts({ detail: { summary, plan } }: { detail: PlanDetail }) {
  return (
    <dl class="facts-of">
      <div>
        <dt>State</dt>
        <dd>
          {stateText(summary)}
          {summary.run !== null && (
            <>
              {" "}
              by the run <a href={runPath(summary.run)}>{summary.run}</a>, where it can be undone
            </>
          )}
        </dd>
      </div>
      <div>
        <dt>Removes</dt>
        <dd>
          <strong>{removesText(summary.tags, summary.untagged)}</strong>
          {plan.held_back > 0 && `; ${numberText(plan.held_back)} held back`}
        </dd>
      </div>
      <div>
        <dt>Frees</dt>
        <dd>
          {isEmpty(summary) ? "nothing" : `${sizeOr(summary.frees, summary.exact)} when the registry collects its garbage`}
          {!summary.exact && plan.because && ` (${plan.because})`}
        </dd>
      </div>
      <div>
        <dt>Made</dt>
        <dd>
          <When when={summary.made} /> by {summary.by}, {summary.kind === "policy" ? `from ${plan.source}` : "of selected images"}
        </dd>
      </div>
      <div>
        <dt>Sum</dt>
        <dd>
          <code>{summary.sum}</code>
        </dd>
      </div>
    </dl>
  );
}

function Approvals({ detail: { summary, why_not } }: { detail: PlanDetail }) {
  const missing = Math.max(0, summary.needed - approvalsAt(summary, Date.now()));
  return (
    <section aria-labelledby="approvals">
      <h2 id="approvals">Approvals</h2>
      {summary.approvals.length > 0 && (
        <ul>
          {summary.approvals.map((one) => (
            <li key={`${one.by} ${one.when}`}>
              <bdi>{one.by}</bdi>, <When when={one.when} />; {Date.parse(one.expires) > Date.now() ? "holds until" : "expired"} <When when={one.expires} />
            </li>
          ))}
        </ul>
      )}
      {isOpen(summary) && (
        <p role="status">
          {approvalText(missing, why_not)}
        </p>
      )}
      {isOpen(summary) && isShared() && (
        <p class="quiet">
          A worker of the team carries it out once it is approved, if one runs. Carry out… begins that on this server, and whoever begins
          first does it.
        </p>
      )}
    </section>
  );
}

/** How many approvals are missing, and why the person may not go on; the server's words may say both. */
function approvalText(missing: number, whyNot: string | null): string {
  if (whyNot?.includes("missing")) return `${whyNot}.`;
  const text = missing === 0 ? "None is missing." : `${missing === 1 ? "1 approval is" : `${missing} approvals are`} missing.`;
  return whyNot === null || !may("approver") ? text : `${text} Now: ${whyNot}.`;
}

interface ActionsProps {
  detail: PlanDetail;
  isAsked: Signal<boolean>;
  onAct: (what: "approve" | "withdraw" | "discard") => void;
}

function Actions({ detail, isAsked, onAct }: ActionsProps) {
  const { summary } = detail;
  const user = session.value?.user;
  const mayDiscard = (isOpen(summary) || (summary.state === "superseded" && !isShared())) && (may("approver") || summary.by === user);
  const hasApproved = summary.approvals.some((one) => one.by === user);
  const isDiscarded = useSignal(false);
  return (
    <div class="actions">
      {detail.may_approve && (
        <button type="button" class="main" onClick={() => onAct("approve")}>
          Approve
        </button>
      )}
      {isOpen(summary) && hasApproved && may("approver") && (
        <button type="button" onClick={() => onAct("withdraw")}>
          Withdraw my approval
        </button>
      )}
      {detail.may_apply && (
        <button type="button" class="main" onClick={() => (isAsked.value = true)}>
          Carry out…
        </button>
      )}
      {mayDiscard && (
        <button type="button" onClick={() => (isDiscarded.value = true)}>
          {isShared() ? "Reject…" : "Discard…"}
        </button>
      )}
      {isDiscarded.value && (
        <Discard
          detail={detail}
          onDiscard={() => {
            isDiscarded.value = false;
            onAct("discard");
          }}
          onClose={() => (isDiscarded.value = false)}
        />
      )}
    </div>
  );
}

/** Whether plans are in a team's store. */
function isShared(): boolean {
  return (session.value?.store ?? null) !== null;
}

interface DiscardProps {
  detail: PlanDetail;
  onDiscard: () => void;
  onClose: () => void;
}

function Discard({ detail: { summary }, onDiscard, onClose }: DiscardProps) {
  const names = [...new Set(summary.approvals.map((one) => one.by))];
  return (
    <Dialog title={isShared() ? "Reject this plan?" : "Discard this plan?"} onClose={onClose}>
      <p>
        {isShared() ? (
          <>
            Nobody in the team carries out <bdi>{summary.title}</bdi> then; nothing is removed from the registry.
          </>
        ) : (
          <>
            The plan <bdi>{summary.title}</bdi> is gone then; nothing is removed from the registry.
          </>
        )}
      </p>
      {names.length > 0 && !isShared() && (
        <p>
          With it {names.length === 1 ? "goes the approval" : "go the approvals"} of <bdi>{names.join(", ")}</bdi>.
        </p>
      )}
      <form method="dialog" class="actions">
        <button type="button" class="main" onClick={onDiscard}>
          {isShared() ? "Reject" : "Discard"}
        </button>
        <button type="submit">Cancel</button>
      </form>
    </Dialog>
  );
}

function HoldButton({ image, onHold }: { image: string; onHold: () => void }) {
  return (
    <button type="button" class="small" aria-label={`hold ${HOLD} days: ${image}`} onClick={onHold}>
      hold {HOLD} days
    </button>
  );
}

function LeftOut({ left }: { left: Record<string, string> }) {
  const names = Object.entries(left);
  if (names.length === 0) return null;
  return (
    <>
      <h2>Left as they are</h2>
      <ul>
        {names.map(([name, why]) => (
          <li key={name}>
            <bdi>{name}</bdi>: {why}
          </li>
        ))}
      </ul>
    </>
  );
}

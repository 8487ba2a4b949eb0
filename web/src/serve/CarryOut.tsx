// The last question before a plan is carried out.

import { useSignal } from "@preact/signals";
import type { Refused } from "./api";
import { asksForNumber, numberOf } from "./confirm";
import { refusedText, removesText, sizeOr } from "./format";
import type { Job, PlanDetail } from "./model";
import { Dialog, Failure } from "./parts";
import { start } from "./state";

interface Props {
  detail: PlanDetail;
  onStarted: (job: Job) => void;
  onClose: () => void;
}

export function CarryOut({ detail: { summary, plan }, onStarted, onClose }: Props) {
  const failure = useSignal<Refused | null>(null);
  const typed = useSignal("");
  const wants = plan.confirm_tags ?? null;
  const needsNumber = wants !== null || (failure.value !== null && asksForNumber(failure.value));
  const tags = numberOf(typed.value);

  async function carryOut(event: Event): Promise<void> {
    event.preventDefault();
    const at = `plans/${encodeURIComponent(summary.sum)}/apply`;
    const job = await start(at, { confirm_tags: tags }, failure);
    if (job === null) return;
    onStarted(job);
    onClose();
  }

  return (
    <Dialog title="Carry this plan out?" onClose={onClose}>
      <p>
        It removes <strong>{removesText(wants ?? summary.tags, summary.untagged)}</strong> and frees{" "}
        {sizeOr(summary.frees, summary.exact)} when the registry collects its garbage. Until then the run can be undone.
      </p>
      <p>
        Plan <code>{summary.sum}</code>
      </p>
      <p>Everything is read once more before it is removed; what has changed meanwhile stays.</p>
      {plan.refused !== null && <p class="alarm">{refusedText(plan.refused)}</p>}
      {wants !== null && (
        <p>
          <strong>More than half goes</strong> of what <bdi>{plan.most_of.slice(0, 3).join(", ")}</bdi>
          {plan.most_of.length > 3 && " and more"} has.
        </p>
      )}
      <Failure error={failure.value} />
      <form class="actions" onSubmit={(event) => void carryOut(event)}>
        {needsNumber && (
          <label>
            How many tags does it remove?{" "}
            <input
              type="text"
              inputMode="numeric"
              autocomplete="off"
              required
              value={typed.value}
              onInput={(event) => (typed.value = event.currentTarget.value)}
            />
          </label>
        )}
        <button type="submit" class="main" disabled={needsNumber && tags === null}>
          Carry out
        </button>
        <button type="button" onClick={onClose}>
          Cancel
        </button>
      </form>
    </Dialog>
  );
}

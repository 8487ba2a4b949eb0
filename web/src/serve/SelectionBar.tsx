// What is selected, and the plan that is made of it.

import { useSignal } from "@preact/signals";
import { numberText } from "../text";
import type { Refused } from "./api";
import { Following } from "./Following";
import type { Job } from "./model";
import { Dialog, Failure } from "./parts";
import { planPath } from "./route";
import { NONE, selection, toggled } from "./selection";
import { go, start } from "./state";

const SHOWN = 500; // names

export function SelectionBar({ found, onAll }: { found: number | null; onAll: () => void }) {
  const failure = useSignal<Refused | null>(null);
  const job = useSignal<Job | null>(null);
  const isListed = useSignal(false);
  const number = selection.value.size;

  async function plan(): Promise<void> {
    job.value = await start("plans", { images: [...selection.value] }, failure);
  }

  return (
    <div class="bar">
      <Failure error={failure.value} />
      {job.value !== null && (
        <Following
          job={job.value}
          onDone={({ plan: sum }) => {
            selection.value = NONE;
            if (sum) go(planPath(sum));
          }}
        />
      )}
      <p class="actions">
        <strong role="status">{numberText(number)} selected</strong>
        <button type="button" class="main" disabled={number === 0} onClick={() => void plan()}>
          Make a plan
        </button>
        <button type="button" disabled={number === 0} onClick={() => (isListed.value = true)}>
          Show them
        </button>
        <button type="button" disabled={number === 0} onClick={() => (selection.value = NONE)}>
          Select none
        </button>
        <button type="button" disabled={!found} onClick={onAll}>
          Select all found
        </button>
      </p>
      {isListed.value && <Selected onClose={() => (isListed.value = false)} />}
    </div>
  );
}

function Selected({ onClose }: { onClose: () => void }) {
  const names = [...selection.value];
  return (
    <Dialog title={`${numberText(names.length)} selected`} onClose={onClose}>
      <ul class="names">
        {names.slice(0, SHOWN).map((name) => (
          <li key={name}>
            <bdi>{name}</bdi>{" "}
            <button
              type="button"
              class="small"
              aria-label={`Leave out ${name}`}
              onClick={() => (selection.value = toggled(selection.value, name) ?? selection.value)}
            >
              Leave out
            </button>
          </li>
        ))}
      </ul>
      {names.length > SHOWN && <p>and {numberText(names.length - SHOWN)} more</p>}
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </Dialog>
  );
}

// Holding an image: for how long, and why.

import { useSignal } from "@preact/signals";
import type { Refused } from "./api";
import { numberOf } from "./confirm";
import type { Job } from "./model";
import { Dialog, Failure } from "./parts";
import { start } from "./state";

interface Props {
  image: string;
  onStarted: (job: Job) => void;
  onClose: () => void;
}

export function HoldDialog({ image, onStarted, onClose }: Props) {
  const failure = useSignal<Refused | null>(null);
  const days = useSignal("30");
  const because = useSignal("");
  const isWrong = days.value.trim() !== "" && !numberOf(days.value);

  async function hold(event: Event): Promise<void> {
    event.preventDefault();
    const job = await start("holds", { image, days: numberOf(days.value), because: because.value.trim() }, failure);
    if (job === null) return;
    onStarted(job);
    onClose();
  }

  return (
    <Dialog title="Hold this image" onClose={onClose}>
      <p>
        No run removes <bdi>{image}</bdi> while it is held.
      </p>
      <Failure error={failure.value} />
      <form onSubmit={(event) => void hold(event)}>
        <p>
          <label>
            Days (empty: without an end){" "}
            <input
              type="text"
              inputMode="numeric"
              autocomplete="off"
              aria-invalid={isWrong}
              value={days.value}
              onInput={(event) => (days.value = event.currentTarget.value)}
            />
          </label>
        </p>
        <p>
          <label>
            Because{" "}
            <input
              type="text"
              autocomplete="off"
              required
              value={because.value}
              onInput={(event) => (because.value = event.currentTarget.value)}
            />
          </label>
        </p>
        <p class="actions">
          <button type="submit" class="main" disabled={isWrong || because.value.trim() === ""}>
            Hold
          </button>
          <button type="button" onClick={onClose}>
            Cancel
          </button>
        </p>
      </form>
    </Dialog>
  );
}

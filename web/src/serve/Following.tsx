// A job that this page has started, until it ends.

import { useEffect } from "preact/hooks";
import { isActive, jobs } from "./jobs";
import type { Job } from "./model";
import { announced } from "./format";
import { Progress } from "./parts";

interface Props {
  job: Job;
  onDone?: (result: { plan?: string; run?: string }) => void;
}

/** How far it is, and why it failed. `onDone` is called once, when it is done. */
export function Following({ job, onDone }: Props) {
  const now = jobs.value.get(job.id) ?? job;
  useEffect(() => {
    if (now.state === "done") onDone?.(now.result ?? {});
  }, [now.state]);
  if (isActive(now)) {
    return (
      <div class="following">
        <Progress job={now} />
        <span class="unseen" role="status">
          {announced(now)}
        </span>
      </div>
    );
  }
  return (
    <div class={now.state === "failed" ? "alarm" : "following"} role={now.state === "failed" ? "alert" : "status"}>
      <Progress job={now} />
    </div>
  );
}

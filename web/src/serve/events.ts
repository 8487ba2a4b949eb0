// The server's events, for as long as the page is open. Without them the jobs are asked for now and then.

import { signal } from "@preact/signals";
import { decoded, Refused } from "./api";
import { active, changed, changes, hear, readJobs } from "./jobs";
import type { Job, Topic } from "./model";

/** Whether the server's events arrive. */
export const isLive = signal(false);

const LONGEST = 15_000; // ms between two attempts
const ASKED = 2_000; // ms between two questions without events

/** How long to wait before the attempt after so many that failed, in ms. */
export function delayAfter(failed: number): number {
  return Math.min(LONGEST, 500 * 2 ** failed);
}

/** Listen from now on, while the page is to be seen: a browser has few connections to one server. `onRefused` hears what
 * the server refuses. */
export function listen(onRefused: (error: Refused) => void): void {
  let failed = 0;
  let hasBegun = false;
  let source: EventSource | null = null;
  let timer = 0;

  function open(): void {
    close();
    source = new EventSource("/api/v1/events");
    source.addEventListener("open", () => {
      failed = 0;
      isLive.value = true;
      if (hasBegun) for (const one of Object.values(changes)) one.value += 1; // something may have been missed
      hasBegun = true;
      void look(onRefused);
    });
    source.addEventListener("job", (event) => hear(decoded<Job>((event as MessageEvent<string>).data)));
    source.addEventListener("changed", (event) => {
      changed(decoded<{ what: Topic }>((event as MessageEvent<string>).data).what);
    });
    source.addEventListener("error", () => {
      isLive.value = false;
      close();
      timer = setTimeout(open, delayAfter(failed));
      failed += 1;
      void look(onRefused); // a server that was started again may not know the person any more
    });
  }

  function close(): void {
    clearTimeout(timer);
    source?.close();
    source = null;
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else open();
  });
  open();
  setInterval(() => {
    if (!isLive.value && active.value.length > 0) void look(onRefused);
  }, ASKED);
}

async function look(onRefused: (error: Refused) => void): Promise<void> {
  try {
    await readJobs();
  } catch (error) {
    if (error instanceof Refused) onRefused(error);
  }
}

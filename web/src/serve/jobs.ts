// What runs, and what ran: the jobs as the server tells them.

import { computed, signal } from "@preact/signals";
import { get } from "./api";
import type { Job, Topic } from "./model";

export const jobs = signal<ReadonlyMap<string, Job>>(new Map());

/** The jobs that wait or run; what writes to the registry first. */
export const active = computed(() => activeOf([...jobs.value.values()]));

/** How often each topic has changed since the page was opened: what shows it is read again. */
export const changes = { report: signal(0), images: signal(0), plans: signal(0), runs: signal(0), store: signal(0) };

const WRITES = new Set(["apply", "undo", "resume"]);

/** Whether a job changes the registry. */
export function isWriting(job: Pick<Job, "kind">): boolean {
  return WRITES.has(job.kind);
}

/** Those that wait or run: what runs first, and of these what writes. */
export function activeOf(all: readonly Job[]): Job[] {
  const order = (job: Job): number => (job.state === "running" ? 0 : 2) + (isWriting(job) ? 0 : 1);
  return all.filter(isActive).sort((one, other) => order(one) - order(other));
}

export function isActive(job: Job): boolean {
  return job.state === "waiting" || job.state === "running";
}

/** The job that ended last, if it failed. */
export function lastFailed(all: readonly Job[]): Job | null {
  const ended = all.filter((one) => one.ended !== null);
  ended.sort((one, other) => Date.parse(other.ended ?? "") - Date.parse(one.ended ?? ""));
  return ended[0]?.state === "failed" ? ended[0] : null;
}

const READS = new Set(["refresh", "report", "index", "check"]);

/** The last job that reads what the screens show, if it failed and none reads it again. */
export function failedReading(all: readonly Job[]): Job | null {
  const reading = all.filter((one) => READS.has(one.kind));
  return reading.some(isActive) ? null : lastFailed(reading);
}

export function hear(job: Job): void {
  jobs.value = new Map(jobs.value).set(job.id, job);
}

export function changed(what: Topic): void {
  const found = changes[what];
  if (found) found.value += 1;
}

/** Read all jobs; what ended meanwhile, and what it changed, is seen. */
export async function readJobs(): Promise<void> {
  const found = await get<{ jobs: Job[] }>("jobs");
  const ended = found.jobs.some((one) => !isActive(one) && isActive(jobs.value.get(one.id) ?? one));
  jobs.value = new Map(found.jobs.map((one) => [one.id, one]));
  if (ended) for (const one of Object.values(changes)) one.value += 1;
}

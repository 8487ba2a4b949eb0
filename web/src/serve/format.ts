// Times, ages and states, as the command line writes them.

import { numberText, plural, sizeText } from "../text";
import type { Job, PlanSummary, Run } from "./model";

const AGES = [
  [365 * 86400, "year", 2],
  [30 * 86400, "month", 3],
  [7 * 86400, "week", 2],
  [86400, "day", 2],
  [3600, "hour", 1],
  [60, "minute", 1],
] as const;

/** An age of so many seconds, in the largest unit of which there are enough: `40 minutes`, `13 days`, `8 weeks`. */
export function ageText(seconds: number): string {
  for (const [unit, noun, least] of AGES) {
    const number = Math.floor(seconds / unit);
    if (number >= least) return `${numberText(number)} ${noun}${number === 1 ? "" : "s"}`;
  }
  return `${Math.max(0, Math.floor(seconds))} s`;
}

/** `3 days ago`; empty for no time. */
export function agoText(when: string | null, now: number): string {
  return when === null ? "" : `${ageText((now - Date.parse(when)) / 1000)} ago`;
}

/** `2026-11-26 12:00 UTC`; empty for no time. */
export function timeText(when: string | null): string {
  return when === null ? "" : `${when.slice(0, 16).replace("T", " ")} UTC`;
}

/** `2026-11-26`; empty for no time. */
export function dayText(when: string | null): string {
  return when === null ? "" : when.slice(0, 10);
}

/** A size; empty if it is not known. */
export function sizeOr(size: number | null, exact = true): string {
  return size === null ? "" : exact ? sizeText(size) : `at most ${sizeText(size)}`;
}

/** `+1.2 GB`, `-3 kB` */
export function signed(size: number): string {
  return `${size < 0 ? "-" : "+"}${sizeText(Math.abs(size))}`;
}

/** What a plan removes, in words: `1 tag and 2 manifests without a tag`. */
export function removesText(tags: number, untagged: number): string {
  if (tags === 0 && untagged === 0) return "nothing";
  const parts = [];
  if (tags > 0) parts.push(plural(tags, "tag"));
  if (untagged > 0) parts.push(`${plural(untagged, "manifest")} without a tag`);
  return parts.join(" and ");
}

/** How far a job is; empty if it does not say. */
export function progressText(job: Pick<Job, "done" | "total" | "noun">): string {
  if (job.total > 0) return `${numberText(job.done)} of ${numberText(job.total)} ${job.noun}`.trim();
  return job.done > 0 ? `${numberText(job.done)} ${job.noun}`.trim() : "";
}

/** What a screen reader says of a job that runs: a quarter after the other, not each step. */
export function announced(job: Pick<Job, "what" | "done" | "total">): string {
  const quarters = job.total > 0 ? Math.floor((4 * job.done) / job.total) : 0;
  return quarters > 0 ? `${job.what}: ${25 * quarters} %` : job.what;
}

const STATES: Record<PlanSummary["state"], string> = {
  waiting: "waits for approval",
  approved: "approved",
  running: "is carried out now",
  done: "carried out",
  failed: "its run did not end",
  expired: "its approval expired",
  superseded: "a newer plan takes its place",
  rejected: "rejected",
  lapsed: "not carried out in time",
};

/** How many approvals of a plan hold at a time, which is in ms. */
export function approvalsAt(plan: Pick<PlanSummary, "approvals">, now: number): number {
  return plan.approvals.filter((one) => Date.parse(one.expires) > now).length;
}

/** Whether a plan may still be carried out, with the approvals that it needs. */
export function isOpen(plan: Pick<PlanSummary, "state">): boolean {
  return plan.state === "waiting" || plan.state === "approved" || plan.state === "expired";
}

/** Whether a plan removes nothing. */
export function isEmpty(plan: Pick<PlanSummary, "tags" | "untagged">): boolean {
  return plan.tags === 0 && plan.untagged === 0;
}

/** Why a cleanup without a person would not carry a plan out, and what that means for the one who approves. */
export function refusedText(why: string): string {
  return `A cleanup by itself refuses this: ${why.replace(/[.\s]+$/, "")}. Whoever approves it says that they looked at it.`;
}

/** The state of a plan, in words. */
export function stateText(
  plan: Pick<PlanSummary, "state" | "approvals" | "needed" | "tags" | "untagged" | "run" | "why">,
  now = Date.now(),
): string {
  if (isOpen(plan) && isEmpty(plan)) return "nothing to do";
  if (plan.state === "rejected" && plan.why !== null) return plan.why;
  if (plan.state === "failed" && plan.run === null) return plan.why === null ? "failed" : `failed: ${plan.why}`;
  const text = STATES[plan.state];
  const isCounted = plan.state === "waiting" && plan.needed > 1;
  return isCounted ? `${text}: ${approvalsAt(plan, now)} of ${plan.needed}` : text;
}

/** What became of a run, in words. */
export function runText(run: Run): string {
  if (run.unfinished) return "did not end";
  if (run.undoes !== null) return `puts back ${run.undoes}`;
  if (run.undone) return "undone";
  const end = run.collected !== null ? "collected" : "finished";
  return run.partly_undone ? `${end}, partly undone` : end;
}

// What the API answers, as docs/serve.md and /api/v1/openapi.json describe it: what the screens use of it.

import type { Plan, Report as Document } from "../model";

export type Role = "viewer" | "planner" | "approver";
export type Time = string;

export interface Session {
  registry: string;
  program: string;
  command: string;
  user: string;
  roles: Role[];
  approvals: number;
  policy: string | null;
  read: Time | null;
  images: number | null;
  /** The team's store, and why it cannot be asked now. */
  store: string | null;
  store_problem: string | null;
}

export interface Growth {
  since: Time;
  bytes: number;
  tags: number;
}

export interface LastRun {
  run: string;
  when: Time;
  age_seconds: number;
  result: "finished" | "unfinished";
  failed: number;
  tags: number;
  manifests: number;
  frees: number;
  exact: boolean;
  undone: boolean;
  collected: Time | null;
}

export interface ListAge {
  name: string;
  age_seconds: number;
  stale: boolean;
}

export interface Week {
  stored: number;
  exact: boolean;
  repositories: number;
  tags: number;
  growth: Growth | null;
  last_run: LastRun | null;
  pending: { bytes: number; tags: number; runs: number; oldest: Time | null; undo: string | null };
  broken: number | null;
  lists: ListAge[];
  alarm: { what: string; command: string | null } | null;
}

export interface Finding {
  check: string;
  found: string;
  broken: boolean;
  command: string | null;
}

export interface Report extends Document {
  made: Time;
  read: Time | null;
  notes: string[];
  week: Week;
  health: { checked: "registry" | "storage" | "records"; findings: Finding[]; left_out: number };
}

export interface Image {
  repository: string;
  tag: string;
  image: string;
  digest: string;
  created: Time | null;
  pulled: Time | null;
  size: number | null;
  frees: number | null;
  platforms: string[] | null;
  verdict: "REMOVE" | "KEEP" | null;
  because: string | null;
  held: boolean;
}

export interface ImagePage {
  total: number;
  offset: number;
  rows: Image[];
  read: Time | null;
  /** Tags whose contents are not known. */
  unread: number;
  command: string | null;
}

export type JobKind = "refresh" | "report" | "index" | "plan" | "apply" | "undo" | "resume" | "hold" | "check" | "why";

export interface Job {
  id: string;
  kind: JobKind;
  what: string;
  by: string;
  started: Time | null;
  ended: Time | null;
  state: "waiting" | "running" | "done" | "failed";
  done: number;
  total: number;
  noun: string;
  message: string | null;
  advice: string | null;
  result: { plan?: string; run?: string } | null;
  command: string;
}

export interface Approval {
  by: string;
  when: Time;
  expires: Time;
}

export interface PlanSummary {
  sum: string;
  title: string;
  kind: "policy" | "selection";
  by: string;
  made: Time;
  tags: number;
  untagged: number;
  frees: number;
  exact: boolean;
  state: "waiting" | "approved" | "running" | "done" | "failed" | "expired" | "superseded" | "rejected" | "lapsed";
  approvals: Approval[];
  needed: number;
  run: string | null;
  tonight: boolean;
  why: string | null;
}

export interface PlanDetail {
  summary: PlanSummary;
  plan: FullPlan;
  may_approve: boolean;
  may_apply: boolean;
  why_not: string | null;
  command: string;
}

export interface FullPlan extends Plan {
  source: string;
  refused: string | null;
  tags: number;
  untagged: number;
  signature_tags: number;
  held_back: number;
  /** Where more than half goes, the number of tags that a person must type. */
  confirm_tags: number | null;
  most_of: string[];
  frees: number;
  exact: boolean;
  because: string;
  left_out: Record<string, string>;
}

export interface TimelineEvent {
  when: Time;
  until: Time | null;
  what: "seen" | "moved" | "pulled" | "removed" | "undone" | "collected" | "held" | "gone";
  image: string | null;
  digest: string | null;
  run: string | null;
  by: string | null;
  text: string;
}

export interface Hold {
  image: string;
  tag: string | null;
  since: Time;
  until: Time | null;
  by: string;
  because: string;
  undo: string | null;
}

export interface Timeline {
  of: string;
  kind: "tag" | "digest" | "layer";
  digest: string | null;
  events: TimelineEvent[];
  holders: { repository: string; tag: string; digest: string }[];
  more_holders: number;
  holds: Hold[];
  undo: { run: string; image: string; command: string } | null;
  /** What is not known. */
  notes: string[];
  command: string | null;
}

export interface WhyRow {
  decision: "keep" | "remove" | "untag" | "follow";
  policy: string | null;
  what: string;
  keeps: boolean;
  text: string;
}

export interface Run {
  run: string;
  when: Time;
  command: string;
  removed: number;
  undone: boolean;
  partly_undone: boolean;
  unfinished: boolean;
  digests: number;
  reclaimable_bytes: number | null;
  exact: boolean;
  undoes: string | null;
  by: string | null;
  host: string | null;
  planned_by?: string | null;
  approved_by?: string[];
  collected: Time | null;
  maybe_collected: Time | null;
}

export interface Step {
  step?: number;
  action?: string;
  repository: string;
  digest: string;
  tags: string[];
  result: string;
  why: string;
  because?: string;
}

export interface PlanStep {
  step: number;
  action: string;
  kind: string;
  repository: string;
  digest: string;
  tags: string[];
  needs: number[];
  because: string;
  frees: number;
}

export interface RunDetail {
  run: Run;
  steps: Step[];
  total: number;
  offset: number;
  progress: { done: number; total: number } | null;
  can_undo: boolean;
  can_resume: boolean;
  command: string | null;
}

export interface Removed {
  removed: Time;
  run: string;
  image: string;
  digest: string;
  size: number | null;
}

export type Topic = "report" | "images" | "plans" | "runs" | "store";

// The document of a report, as docs/json.md describes it: what the page uses of it.

export type Kind = "registry" | "namespace" | "repository" | "tag" | "layer" | "rest";

export interface Node {
  kind: Kind;
  name: string;
  frees: number;
  reaches?: number;
  between?: number;
  tags?: number;
  number?: number;
  digest?: string;
  children?: Node[];
}

export interface PlanImage {
  tags: string[];
  digest: string;
  frees?: number;
  size?: number;
  along?: number;
  created?: string;
}

export interface PlanRow {
  action: "REMOVE" | "UNTAG" | "KEEP";
  because: string;
  tags: number;
  untagged: number;
  frees: number;
  images: PlanImage[];
  more: number;
}

export interface PlanGroup {
  policy: string | null;
  repository: string;
  rows: PlanRow[];
}

export interface Change {
  change: string;
  repository: string;
  tag: string | null;
  digest: string;
  frees: number;
}

export interface PlanChanges {
  run: string;
  when: string;
  new: number;
  moved: number;
  no_longer: number;
  rows: Change[];
  left_out: number;
}

export interface Plan {
  groups: PlanGroup[];
  groups_left_out: number;
  changes: PlanChanges | null;
}

export interface Report {
  version: number;
  kind: string;
  command: string;
  space: { root: Node };
  plan: Plan | null;
}

const UNSHOWN = /[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]/gu;

/** `text` with escapes for control and bidi characters, as the rest of the page shows it. */
export function escaped(text: string): string {
  return text.replace(UNSHOWN, (one) => {
    const code = one.charCodeAt(0);
    return code < 0x100 ? `\\x${code.toString(16).padStart(2, "0")}` : `\\u${code.toString(16).padStart(4, "0")}`;
  });
}

/** The document in `text`; null if it is not one that this page knows. */
export function read(text: string): Report | null {
  const found = JSON.parse(text, (_, value: unknown) => (typeof value === "string" ? escaped(value) : value)) as Report;
  return found.kind === "report" && found.version === 1 ? found : null;
}

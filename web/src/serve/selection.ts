// Images that are selected, by name. They stay selected when something else is searched.

import { signal } from "@preact/signals";

/** So many images may be in one plan. */
export const MOST = 10_000;

export type Selection = ReadonlySet<string>;

export const NONE: Selection = new Set();

/** What is selected, for as long as the page is open. */
export const selection = signal<Selection>(NONE);

/** With `name` if it was not selected, else without it; null if that would be more than one plan may have. */
export function toggled(selected: Selection, name: string): Selection | null {
  if (!selected.has(name)) return withAll(selected, [name]);
  const left = new Set(selected);
  left.delete(name);
  return left;
}

/** With all of `names` as well; null if that would be more than one plan may have. */
export function withAll(selected: Selection, names: readonly string[]): Selection | null {
  const found = new Set([...selected, ...names]);
  return found.size > MOST ? null : found;
}

/** The rows from `one` to `other`, whichever comes first: the first of them, and after the last. */
export function range(one: number, other: number): { first: number; end: number } {
  return { first: Math.min(one, other), end: Math.max(one, other) + 1 };
}

// What is typed to confirm a plan.

import type { Refused } from "./api";

/** Whether the server wants the number of tags, because the plan removes suspiciously much. */
export function asksForNumber(error: Pick<Refused, "advice" | "message">): boolean {
  return /confirm_tags|more than half/.test(`${error.message} ${error.advice ?? ""}`);
}

/** A whole number that was typed, with commas or without; null if it is none. */
export function numberOf(text: string): number | null {
  const digits = text.trim().replaceAll(",", "");
  return /^\d{1,9}$/.test(digits) ? Number(digits) : null;
}

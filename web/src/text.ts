// Sizes and counts, as the command line writes them.

const UNITS = ["B", "kB", "MB", "GB", "TB"] as const;

/** A number of bytes in decimal units: `184 MB`. */
export function sizeText(size: number): string {
  let amount = size;
  let place = 0;
  while (amount >= 1000 && place < UNITS.length - 1) {
    amount /= 1000;
    place += 1;
  }
  return `${amount < 10 && place > 0 ? amount.toFixed(1) : rounded(amount)} ${UNITS[place]}`;
}

/** To the nearest whole number; a half goes to the even one, as in Python. */
function rounded(amount: number): number {
  const below = Math.floor(amount);
  return amount - below === 0.5 ? below + (below % 2) : Math.round(amount);
}

/** `1,234` */
export function numberText(number: number): string {
  return number.toLocaleString("en-US");
}

/** `3 tags`, `1 tag` */
export function plural(number: number, noun: string): string {
  if (number === 1) return `1 ${noun}`;
  return `${numberText(number)} ${noun.endsWith("y") ? `${noun.slice(0, -1)}ies` : `${noun}s`}`;
}

/** The words of `text` that a filter looks for. */
export function words(text: string): string[] {
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

/** Whether every one of `wanted` is in `text`. */
export function has(text: string, wanted: readonly string[]): boolean {
  const lower = text.toLowerCase();
  return wanted.every((one) => lower.includes(one));
}

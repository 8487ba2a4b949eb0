// Rows of a table: filtered by words, sorted by a column.

import { has, words } from "./text";

/** A cell: its text, and what it is sorted by where that is no text. */
export interface Cell {
  text: string;
  by?: number;
}

export interface Order {
  column: number;
  isDown: boolean;
}

/** The rows with every word of `filter`, in an order; as they came without one. */
export function arranged<Row extends { cells: readonly Cell[] }>(
  rows: readonly Row[],
  filter: string,
  order: Order | null,
): Row[] {
  const wanted = words(filter);
  const found = rows.filter((row) => wanted.length === 0 || has(row.cells.map((one) => one.text).join(" "), wanted));
  if (order === null) return found;
  const sign = order.isDown ? -1 : 1;
  return found.sort((one, other) => sign * compared(one.cells[order.column], other.cells[order.column]));
}

function compared(one: Cell | undefined, other: Cell | undefined): number {
  if (one?.by !== undefined && other?.by !== undefined) return one.by - other.by;
  return natural.compare(one?.text ?? "", other?.text ?? "");
}

const natural = new Intl.Collator("en", { numeric: true, sensitivity: "base" });

/** The order after a click on the head of `column`: numbers begin with the greatest; a third click ends it. */
export function next(order: Order | null, column: number, isNumber: boolean): Order | null {
  if (order?.column !== column) return { column, isDown: isNumber };
  return order.isDown === isNumber ? { column, isDown: !isNumber } : null;
}

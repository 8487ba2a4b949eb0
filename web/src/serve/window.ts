// The rows of a long list that are on the screen, and the pages of rows that are asked for.

export const PAGE = 100; // rows of an answer
const HIGHEST = 12_000_000; // px: browsers draw no element that is much higher
const KEPT = 40; // pages

/** How a list of `total` rows is scrolled: `height` is that of what is scrolled, which is less than that of all rows in
 * a long list; a pixel then stands for more than a pixel of rows. */
export interface Scale {
  total: number;
  row: number;
  view: number;
  height: number;
}

export function scaleOf(total: number, row: number, view: number): Scale {
  return { total, row, view, height: Math.max(view, Math.min(total * row, HIGHEST)) };
}

/** The row at the top of the view, with a fraction, at a position of the scroll bar. */
export function topRow(scale: Scale, scrolled: number): number {
  const way = scale.height - scale.view;
  const last = Math.max(0, scale.total - scale.view / scale.row);
  return way <= 0 ? 0 : Math.min(1, Math.max(0, scrolled / way)) * last;
}

/** The position of the scroll bar at which `top` is the row at the top of the view. */
export function scrolledTo(scale: Scale, top: number): number {
  const last = Math.max(0, scale.total - scale.view / scale.row);
  return last <= 0 ? 0 : (Math.min(last, Math.max(0, top)) / last) * (scale.height - scale.view);
}

/** The rows that are drawn: from `first` up to `end`, of which the first begins `shift` px above the view. */
export function drawn(scale: Scale, scrolled: number): { first: number; end: number; shift: number } {
  const top = topRow(scale, scrolled);
  const first = Math.floor(top);
  const end = Math.min(scale.total, Math.ceil(top + scale.view / scale.row) + 1);
  return { first, end, shift: (top - first) * scale.row };
}

/** The top row with which `row` is wholly in the view, moved as little as possible. */
export function topFor(scale: Scale, scrolled: number, row: number): number {
  const top = topRow(scale, scrolled);
  const whole = Math.floor(scale.view / scale.row);
  if (row < top) return row;
  return row + 1 > top + scale.view / scale.row ? row + 1 - Math.max(1, whole) : top;
}

/** The numbers of the pages with the rows from `first` up to `end`. */
export function pagesOf(first: number, end: number): number[] {
  const pages: number[] = [];
  for (let page = Math.floor(first / PAGE); page * PAGE < end; page += 1) pages.push(page);
  return pages;
}

/** Pages of rows that were answered: those that were used last. */
export class Pages<Row> {
  readonly #pages = new Map<number, readonly Row[]>();

  put(page: number, rows: readonly Row[]): void {
    this.#pages.delete(page);
    this.#pages.set(page, rows);
    const oldest = this.#pages.keys().next();
    if (this.#pages.size > KEPT && !oldest.done) this.#pages.delete(oldest.value);
  }

  has(page: number): boolean {
    return this.#pages.has(page);
  }

  row(at: number): Row | undefined {
    const page = Math.floor(at / PAGE);
    return this.#pages.get(page)?.[at - page * PAGE];
  }

  get size(): number {
    return this.#pages.size;
  }
}

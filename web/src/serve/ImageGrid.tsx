// The images that are found, as a grid: only the rows on the screen are drawn.

import { useComputed, useSignal } from "@preact/signals";
import { useEffect, useLayoutEffect, useRef } from "preact/hooks";
import { ImageRow } from "./ImageRow";
import type { Listing } from "./listing";
import { COLUMNS, nameOf, type Query, type Sort } from "./query";
import { MOST, range, selection, toggled, withAll, type Selection } from "./selection";
import { go, may, refused } from "./state";
import { wherePath } from "./route";
import { drawn, scaleOf, scrolledTo, topFor } from "./window";

const PAUSE = 50; // ms: rows are asked for at most so often while the list is scrolled

interface Props {
  listing: Listing;
  query: Query;
  onSort: (sort: Sort) => void;
  onTooMany: () => void;
}

export function ImageGrid({ listing, query, onSort, onTooMany }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const size = useSignal({ row: 30, view: 400, head: 30 });
  const scrolled = useSignal(0);
  const cursor = useSignal(0);
  /** Where a range began, and what was selected before it. */
  const begun = useRef<{ at: number; before: Selection } | null>(null);
  const wanted = useRef<{ listing: Listing; first: number; end: number } | null>(null);
  const timer = useRef(0);
  const total = listing.total.value ?? 0;
  const scale = scaleOf(total, size.value.row, size.value.view);
  const { first, end, shift } = drawn(scale, scrolled.value);
  const at = Math.min(cursor.value, Math.max(0, total - 1));
  const isOnScreen = useComputed(() => listing.round.value); // rows that arrive are drawn
  isOnScreen.value;

  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    const measure = (): void => {
      const head = element.querySelector<HTMLElement>(".heads")?.offsetHeight ?? 0;
      const row = Number.parseFloat(getComputedStyle(element).getPropertyValue("--row")) || 30;
      size.value = { row, head, view: Math.max(row, element.clientHeight - head) };
    };
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  wanted.current = { listing, first, end };
  useEffect(() => {
    timer.current ||= setTimeout(() => {
      timer.current = 0;
      const now = wanted.current;
      now?.listing.need(now.first, Math.max(now.end, now.first + 1));
    }, PAUSE);
  }, [listing, first, end]);
  useEffect(() => () => clearTimeout(timer.current), []);

  useEffect(() => {
    cursor.value = 0;
    begun.current = null;
    box.current?.scrollTo(0, 0);
  }, [query.words, query.sort, query.isDown]);

  function moveTo(next: number): void {
    cursor.value = Math.min(total - 1, Math.max(0, next));
    const element = box.current;
    if (element === null) return;
    const top = topFor(scale, element.scrollTop, cursor.value);
    element.scrollTop = scrolledTo(scale, top);
    scrolled.value = element.scrollTop;
  }

  function select(found: Selection | null): void {
    if (found === null) onTooMany();
    else selection.value = found;
  }

  /** Do something with the name of a row, which may have to be read first. */
  function withName(row: number, act: (name: string) => void): void {
    const image = listing.row(row);
    if (image !== undefined) {
      act(nameOf(image));
      return;
    }
    listing.names(row, row + 1).then(
      ([name]) => name !== undefined && act(name),
      (error: unknown) => (listing.error.value = refused(error)),
    );
  }

  function toggle(row: number): void {
    begun.current = null;
    if (may("planner") && total > 0) withName(row, (name) => select(toggled(selection.value, name)));
  }

  async function extend(from: number, to: number): Promise<void> {
    if (!may("planner")) return;
    begun.current ??= { at: from, before: selection.value };
    const { before, at: start } = begun.current;
    const rows = range(start, to);
    if (rows.end - rows.first > MOST) {
      onTooMany();
      return;
    }
    try {
      select(withAll(before, await listing.names(rows.first, rows.end)));
    } catch (error) {
      listing.error.value = refused(error);
    }
  }

  function onKeyDown(event: KeyboardEvent): void {
    if (event.target !== event.currentTarget || event.ctrlKey || event.metaKey || event.altKey) return;
    const next = moved(event.key, at, total, Math.floor(scale.view / scale.row) - 1);
    if (next !== null) {
      moveTo(next);
      if (event.shiftKey) void extend(at, cursor.value);
      else begun.current = null;
    } else if (event.key === " ") toggle(at);
    else if (event.key === "Enter" && total > 0) withName(at, (name) => go(wherePath(name)));
    else return;
    event.preventDefault();
  }

  const rows = [];
  const slots = Math.ceil(scale.view / scale.row) + 2; // the elements of rows that leave are used for those that come
  for (let row = first; row < end; row += 1) {
    const image = listing.row(row);
    rows.push(
      <ImageRow
        key={row % slots}
        at={row}
        image={image}
        canSelect={may("planner")}
        isChosen={row === at}
        isSelected={image !== undefined && selection.value.has(nameOf(image))}
        onChoose={(isRange) => {
          if (isRange) void extend(at, row);
          cursor.value = row;
        }}
        onToggle={() => toggle(row)}
      />,
    );
  }
  const canSelect = may("planner");
  const isDrawn = at >= first && at < end && total > 0;
  return (
    <div
      ref={box}
      class={canSelect ? "grid" : "grid plain"}
      role="grid"
      tabIndex={0}
      aria-label="Images"
      aria-rowcount={total + 1}
      aria-multiselectable={canSelect}
      aria-activedescendant={isDrawn ? `row-${at}` : undefined}
      onKeyDown={onKeyDown}
      onScroll={(event) => (scrolled.value = event.currentTarget.scrollTop)}
    >
      <div class="canvas" style={{ height: `${scale.height + size.value.head}px` }}>
        <Head query={query} onSort={onSort} canSelect={canSelect} />
        <div class="pane" style={{ top: `${size.value.head}px`, height: `${Math.min(scale.view, total * scale.row)}px` }}>
          <div role="rowgroup" style={{ transform: `translateY(${-shift}px)` }}>
            {rows}
          </div>
        </div>
        {total === 0 && <p class="quiet">No image matches all words.</p>}
      </div>
    </div>
  );
}

/** The row that a key moves to; null if it moves nowhere. */
function moved(key: string, at: number, total: number, page: number): number | null {
  if (total === 0) return null;
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: total - 1 }[key];
  return to === undefined ? null : Math.min(total - 1, Math.max(0, to));
}

interface HeadProps {
  query: Query;
  onSort: (sort: Sort) => void;
  canSelect: boolean;
}

function Head({ query, onSort, canSelect }: HeadProps) {
  const [repository, tag, ...others] = COLUMNS.map((column) => (
    <HeadCell key={column.title} column={column} query={query} onSort={onSort} />
  ));
  return (
    <div role="rowgroup" class="heads">
      <div role="row" class="row" aria-rowindex={1}>
        {canSelect && (
          <span role="columnheader" class="check">
            <span class="unseen">Selected</span>
          </span>
        )}
        <span class="cell-image">
          {repository} : {tag}
        </span>
        {others}
      </div>
    </div>
  );
}

function HeadCell({ column, query, onSort }: { column: (typeof COLUMNS)[number]; query: Query; onSort: (sort: Sort) => void }) {
  const { sort, title } = column;
  const name = `cell-${title.toLowerCase()}${column.isNumber ? " n" : ""}`;
  if (sort === null) {
    return (
      <span role="columnheader" class={name}>
        {title}
      </span>
    );
  }
  const order = query.sort === sort ? (query.isDown ? "descending" : "ascending") : "none";
  return (
    <span role="columnheader" class={name} aria-sort={order}>
      <button type="button" class="head" onClick={() => onSort(sort)}>
        {title}
        <span aria-hidden="true">{order === "none" ? "" : order === "descending" ? " \u25bc" : " \u25b2"}</span>
      </button>
    </span>
  );
}

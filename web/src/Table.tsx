// A table that is sorted by its heads and filtered by words.

import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { arranged, next, type Cell, type Order } from "./rows";
import { numberText } from "./text";

export interface Column {
  title: string;
  isNumber?: boolean;
}

export interface Row {
  cells: (Cell & { shown?: ComponentChildren })[];
}

interface Props {
  caption: string;
  columns: Column[];
  rows: Row[];
  /** The rows that are drawn at first. */
  most: number;
}

export function Table({ caption, columns, rows, most }: Props) {
  const filter = useSignal("");
  const order = useSignal<Order | null>(null);
  const all = useSignal(false);
  const found = arranged(rows, filter.value, order.value);
  const shown = all.value ? found : found.slice(0, most);
  return (
    <div class="live">
      <Filter label={`Filter: ${caption}`} value={filter.value} onInput={(text) => (filter.value = text)}>
        {numberText(found.length)} of {numberText(rows.length)} rows
      </Filter>
      <div class="table" tabIndex={0} role="region" aria-label={caption}>
        <table class="stacked" role="table">
          <caption>{caption}</caption>
          <thead role="rowgroup">
            <tr role="row">
              {columns.map((column, at) => (
                <Head
                  key={at}
                  column={column}
                  order={order.value?.column === at ? order.value : null}
                  onSort={() => (order.value = next(order.value, at, column.isNumber ?? false))}
                />
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {shown.map((row, at) => (
              <tr key={at} role="row">{row.cells.map((cell, place) => cellOf(cell, place, columns))}</tr>
            ))}
          </tbody>
        </table>
      </div>
      {found.length === 0 && <p>Nothing has all of these words.</p>}
      {shown.length < found.length && (
        <p>
          <button type="button" onClick={() => (all.value = true)}>
            Show all {numberText(found.length)} rows
          </button>
        </p>
      )}
    </div>
  );
}

function Head({ column, order, onSort }: { column: Column; order: Order | null; onSort: () => void }) {
  const sorted = order === null ? "none" : order.isDown ? "descending" : "ascending";
  return (
    <th scope="col" role="columnheader" class={column.isNumber ? "n" : undefined} aria-sort={sorted}>
      <button type="button" class="head" onClick={onSort}>
        {column.title}
        <span aria-hidden="true">{order === null ? "" : order.isDown ? " ▼" : " ▲"}</span>
      </button>
    </th>
  );
}

function cellOf(cell: Row["cells"][number], place: number, columns: Column[]) {
  const column = columns[place];
  const shown = cell.shown ?? cell.text;
  const name = column?.isNumber ? "n" : undefined;
  if (place === 0) {
    return (
      <th key={place} scope="row" role="rowheader" class={name}>
        {shown}
      </th>
    );
  }
  return (
    <td key={place} role="cell" class={name} data-of={column?.title}>
      {shown}
    </td>
  );
}

interface FilterProps {
  label: string;
  value: string;
  onInput: (text: string) => void;
  children: ComponentChildren;
}

/** The line above a table: what filters it, and how much is left. */
export function Filter({ label, value, onInput, children }: FilterProps) {
  return (
    <p class="filter">
      <input
        type="search"
        aria-label={label}
        placeholder="Filter ( / )"
        spellcheck={false}
        autocomplete="off"
        value={value}
        onInput={(event) => onInput(event.currentTarget.value)}
        onKeyDown={(event) => {
          if (event.key === "Escape" && value) {
            event.preventDefault();
            event.stopPropagation();
            onInput("");
          }
        }}
      />
      <span role="status">{children}</span>
    </p>
  );
}

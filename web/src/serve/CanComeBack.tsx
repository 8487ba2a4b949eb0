// What runs removed and an undo can put back: a list to find an image in that is gone.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { Filter } from "../Table";
import { numberText } from "../text";
import { sizeOr } from "./format";
import type { Removed } from "./model";
import { Pager } from "./Pager";
import { Read, When } from "./parts";
import { runPath, wherePath } from "./route";
import { useReading } from "./state";

const LIMIT = 50;
const PAUSE = 200; // ms after the last key before the search
const COLUMNS = ["Image", "Removed", "Size", "Run"];

export function CanComeBack() {
  const words = useSignal("");
  const asked = useSignal("");
  const offset = useSignal(0);
  const timer = useRef(0);
  const query = new URLSearchParams({ q: asked.value, offset: `${offset.value}`, limit: `${LIMIT}` });
  const found = useReading<{ total: number; rows: Removed[] }>(`removed?${query}`, ["runs"]);
  const total = found.value.value?.total;

  function search(text: string): void {
    words.value = text;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      asked.value = text;
      offset.value = 0;
    }, PAUSE);
  }

  return (
    <>
      <h2>What the records can put back</h2>
      <Filter label="Filter what was removed" value={words.value} onInput={search}>
        {total === undefined ? "" : `${numberText(total)} found`}
      </Filter>
      <Read of={found.value}>
        {({ rows, total: all }) =>
          rows.length === 0 ? (
            <p>By the records, nothing.</p>
          ) : (
            <>
              <Rows rows={rows} />
              <Pager offset={offset} limit={LIMIT} total={all} of="what was removed" />
            </>
          )
        }
      </Read>
    </>
  );
}

function Rows({ rows }: { rows: Removed[] }) {
  return (
    <div class="table" tabIndex={0} role="region" aria-label="What the records can put back">
      <table class="stacked words" role="table">
        <caption class="unseen">What the records can put back</caption>
        <thead role="rowgroup" class="plain">
          <tr role="row">
            {COLUMNS.map((title) => (
              <th key={title} scope="col" role="columnheader" class={title === "Size" ? "n" : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((one) => (
            <tr key={`${one.run} ${one.image}`} role="row">
              <th scope="row" role="rowheader">
                <a href={wherePath(one.image)}>{one.image}</a>
              </th>
              <td role="cell" data-of="Removed">
                <When when={one.removed} />
              </td>
              <td role="cell" class="n" data-of="Size">
                {sizeOr(one.size)}
              </td>
              <td role="cell" data-of="Run">
                <a href={runPath(one.run)}>{one.run}</a>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

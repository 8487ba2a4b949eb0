// From one page of a table to the next.

import type { Signal } from "@preact/signals";
import { numberText } from "../text";

interface Props {
  offset: Signal<number>;
  limit: number;
  total: number;
  of: string;
}

export function Pager({ offset, limit, total, of }: Props) {
  if (total <= limit) return null;
  const last = Math.min(total, offset.value + limit);
  return (
    <nav class="pager" aria-label={`Pages of ${of}`}>
      <button type="button" disabled={offset.value === 0} onClick={() => (offset.value = Math.max(0, offset.value - limit))}>
        Before
      </button>
      <span role="status">
        {numberText(offset.value + 1)} to {numberText(last)} of {numberText(total)}
      </span>
      <button type="button" disabled={last >= total} onClick={() => (offset.value += limit)}>
        After
      </button>
    </nav>
  );
}

// Every step of a plan, a page at a time: its tables name only the images that free the most.

import { useSignal } from "@preact/signals";
import { useRef } from "preact/hooks";
import { Filter } from "../Table";
import { numberText, plural } from "../text";
import { sizeOr } from "./format";
import type { PlanStep } from "./model";
import { Pager } from "./Pager";
import { Read } from "./parts";
import { wherePath } from "./route";
import { useReading } from "./state";
import { namesOf } from "./RunScreen";

const LIMIT = 100;
const PAUSE = 200; // ms after the last key before the search

/** Reads nothing until it is opened. */
export function PlanSteps({ sum }: { sum: string }) {
  const isOpen = useSignal(false);
  return (
    <details class="steps" onToggle={(event) => (isOpen.value = event.currentTarget.open)}>
      <summary>Every step of this plan</summary>
      {isOpen.value && <Steps sum={sum} />}
    </details>
  );
}

function Steps({ sum }: { sum: string }) {
  const typed = useSignal("");
  const words = useSignal("");
  const offset = useSignal(0);
  const timer = useRef(0);
  const query = `q=${encodeURIComponent(words.value)}&offset=${offset.value}&limit=${LIMIT}`;
  const found = useReading<{ total: number; rows: PlanStep[] }>(`plans/${encodeURIComponent(sum)}/steps?${query}`);
  function search(text: string): void {
    typed.value = text;
    clearTimeout(timer.current);
    timer.current = setTimeout(() => {
      words.value = text;
      offset.value = 0;
    }, PAUSE);
  }
  return (
    <>
      <Filter label="Filter the steps" value={typed.value} onInput={search}>
        {found.value.value === null ? "" : `${numberText(found.value.value.total)} found`}
      </Filter>
      <Read of={found.value}>
        {(one) => (
          <>
            <Table rows={one.rows} total={one.total} />
            <Pager offset={offset} limit={LIMIT} total={one.total} of="steps" />
          </>
        )}
      </Read>
    </>
  );
}

function Table({ rows, total }: { rows: PlanStep[]; total: number }) {
  const caption = plural(total, "step");
  return (
    <div class="table" tabIndex={0} role="region" aria-label={caption}>
      <table class="stacked" role="table">
        <caption>{caption}</caption>
        <thead role="rowgroup" class="plain">
          <tr role="row">
            {["Image", "Action", "Because", "Frees", "Digest"].map((title) => (
              <th key={title} scope="col" role="columnheader" class={title === "Frees" ? "n" : undefined}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {rows.map((step) => (
            <Row key={step.step} step={step} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Row({ step }: { step: PlanStep }) {
  return (
    <tr role="row">
      <th scope="row" role="rowheader">
        {namesOf(step).map((one, at) => (
          <span key={one}>
            {at > 0 && ", "}
            <a href={wherePath(step.tags.length ? one : step.digest)}>{one}</a>
          </span>
        ))}
      </th>
      <td role="cell" data-of="Action">
        <strong class="action REMOVE">{step.action === "untag" ? "UNTAG" : "REMOVE"}</strong> {step.kind}
        {step.needs.length > 0 && `, after ${plural(step.needs.length, "step")}`}
      </td>
      <td role="cell" data-of="Because">
        {step.because}
      </td>
      <td role="cell" class="n" data-of="Frees">
        {step.frees ? sizeOr(step.frees, true) : numberText(0)}
      </td>
      <td role="cell" data-of="Digest">
        <code>{step.digest.slice(0, 19)}</code>
      </td>
    </tr>
  );
}

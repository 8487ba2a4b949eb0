// The space of a registry: a treemap, and the same as a table.

import { useSignal, type Signal } from "@preact/signals";
import type { ComponentChild } from "preact";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { commandOf } from "./command";
import type { Node } from "./model";
import { Filter, Table } from "./Table";
import { Treemap } from "./Treemap";
import { has, numberText, sizeText, words } from "./text";
import { below, items, matches, opens, path, placed, sharedOf, type Item, type Place } from "./tree";

const SIZES = ["Frees", "Shared", "Reaches", "Tags"];
const MOST = 200; // rows of a search

/** How a page shows a command. */
type Shown = (command: string) => ComponentChild;

const asCode: Shown = (command) => <code>{command}</code>;

export function Space({ root, command, shown = asCode }: { root: Node; command: string; shown?: Shown }) {
  const top = useMemo(() => placed(root), [root]);
  const place = useSignal<Place>(top);
  const chosen = useSignal("");
  const filter = useSignal("");
  const wanted = words(filter.value);
  const table = useRef<HTMLDivElement>(null);
  const hasFocus = useRef(false);

  function open(to: Place, from = ""): void {
    hasFocus.current = table.current?.contains(document.activeElement) ?? false;
    filter.value = "";
    chosen.value = from;
    place.value = to;
  }

  function up(): void {
    const { parent } = place.value;
    if (parent !== null) open(parent, items(parent).find((one) => one.place === place.value)?.key);
  }

  // A button that had the focus may be gone with its row.
  useLayoutEffect(() => {
    if (!hasFocus.current) return;
    hasFocus.current = false;
    const body = table.current;
    (body?.querySelector<HTMLElement>("button[data-chosen]") ?? body?.querySelector<HTMLElement>("button") ?? body)?.focus();
  });

  const parts = items(place.value);
  const isMatch = (item: Item): boolean =>
    wanted.length === 0 ||
    has(item.label, wanted) ||
    (item.place !== null && [item.place, ...below(item.place)].some((one) => has(one.name, wanted)));
  const found = wanted.length ? matches(place.value, wanted) : null;
  return (
    <div class="live space">
      <Path place={place.value} onOpen={open} />
      <Facts place={place.value} command={command} shown={shown} />
      <Treemap
        place={place.value}
        chosen={chosen}
        isMatch={isMatch}
        onOpen={(item) => item.place !== null && opens(item) && open(item.place)}
        onUp={up}
      />
      <p class="legend">
        <svg width="28" height="14" aria-hidden="true">
          <rect width="28" height="14" class="shared" />
        </svg>{" "}
        hatched: shared, no part frees it alone. Area: what removing a part alone frees.
      </p>
      <Filter label="Filter the names" value={filter.value} onInput={(text) => (filter.value = text)}>
        {found === null ? `${numberText(parts.length)} parts` : `${numberText(found.length)} found`}
      </Filter>
      <div
        ref={table}
        tabIndex={-1}
        onKeyDown={(event) => {
          if (event.key === "Escape" || event.key === "Backspace") {
            event.preventDefault();
            up();
          } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
            if (step(event.currentTarget, event.key === "ArrowDown" ? 1 : -1)) event.preventDefault();
          }
        }}
      >
        {found === null ? (
          <Parts parts={parts} place={place.value} chosen={chosen} onOpen={open} />
        ) : (
          <Found found={found} onOpen={open} />
        )}
      </div>
    </div>
  );
}

/** Move the focus to the next or the last button of a table; false at its ends. */
function step(table: HTMLElement, by: 1 | -1): boolean {
  const buttons = [...table.querySelectorAll<HTMLElement>("tbody button")];
  const at = buttons.indexOf(document.activeElement as HTMLElement);
  const next = at < 0 ? undefined : buttons[at + by];
  next?.focus();
  return next !== undefined;
}

function Path({ place, onOpen }: { place: Place; onOpen: (to: Place) => void }) {
  return (
    <nav aria-label="Where this is">
      <ol class="path">
        {path(place).map((one) => (
          <li key={one.name}>
            {one === place ? (
              <strong aria-current="location">{one.name}</strong>
            ) : (
              <button type="button" onClick={() => onOpen(one)}>
                {one.name}
              </button>
            )}
          </li>
        ))}
      </ol>
    </nav>
  );
}

function Facts({ place, command, shown }: { place: Place; command: string; shown: Shown }) {
  const { node } = place;
  const shared = sharedOf(place) ?? 0;
  const same = commandOf(place, command);
  return (
    <>
      <p role="status" class="facts">
        {node.kind === "registry"
          ? `All: ${sizeText(node.frees)}, ${numberText(node.tags ?? 0)} tags`
          : `Removing ${place.name} alone frees ${sizeText(node.frees)}; it shares ${sizeText(shared)}`}
        {node.kind === "tag" && node.digest && <code> {node.digest}</code>}
      </p>
      {same !== null && (
        <p class="same">
          The same in a terminal: {shown(same)}
        </p>
      )}
    </>
  );
}

interface PartsProps {
  parts: Item[];
  place: Place;
  chosen: Signal<string>;
  onOpen: (to: Place) => void;
}

function Parts({ parts, place, chosen, onOpen }: PartsProps) {
  return (
    <div class="table" tabIndex={0} role="region" aria-label={`Parts of ${place.name}`}>
      <table class="stacked" role="table">
        <caption>{`Parts of ${place.name}, what frees the most first`}</caption>
        <Heads />
        <tbody role="rowgroup">
          {parts.map((item) => (
            <tr
              key={item.key}
              role="row"
              class={item.key === chosen.value ? "chosen" : undefined}
              onMouseEnter={() => (chosen.value = item.key)}
            >
              <th scope="row" role="rowheader">
                {opens(item) && item.place !== null ? (
                  <Open item={item} to={item.place} isChosen={item.key === chosen.value} onOpen={onOpen} />
                ) : (
                  item.label
                )}
              </th>
              <Sizes item={item} />
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

function Open(props: { item: Item; to: Place; isChosen: boolean; onOpen: (to: Place) => void }) {
  return (
    <button type="button" class="open" data-chosen={props.isChosen || undefined} onClick={() => props.onOpen(props.to)}>
      {props.item.label}
    </button>
  );
}

function Heads() {
  return (
    <thead role="rowgroup" class="plain">
      <tr role="row">
        <th scope="col" role="columnheader">
          What
        </th>
        {SIZES.map((title) => (
          <th key={title} scope="col" role="columnheader" class="n">
            {title}
          </th>
        ))}
      </tr>
    </thead>
  );
}

function Sizes({ item }: { item: Item }) {
  const node = item.place?.node;
  const isWhole = node !== undefined && node.kind !== "rest";
  const isShared = item.kind === "shared";
  const sizes = [
    isShared ? "" : sizeText(item.frees),
    isShared ? sizeText(item.frees) : isWhole ? sizeText(sharedOf(item.place) ?? 0) : "",
    isWhole ? sizeText(node.reaches ?? 0) : "",
    isWhole && node.tags ? numberText(node.tags) : "",
  ];
  return (
    <>
      {sizes.map((size, at) => (
        <td key={at} role="cell" class="n" data-of={SIZES[at]}>
          {size}
        </td>
      ))}
    </>
  );
}

function Found({ found, onOpen }: { found: Place[]; onOpen: (to: Place) => void }) {
  const more = found.length > MOST ? `; the first ${numberText(MOST)}` : "";
  return (
    <div class="table" tabIndex={0} role="region" aria-label="Found">
      <table class="stacked" role="table">
        <caption>{`Found, what frees the most first${more}`}</caption>
        <Heads />
        <tbody role="rowgroup">
          {found.slice(0, MOST).map((one, at) => {
            const item: Item = { key: `${at}`, kind: one.node.kind, label: one.name, frees: one.node.frees, place: one };
            const to = opens(item) ? one : (one.parent ?? one);
            return (
              <tr key={at} role="row">
                <th scope="row" role="rowheader">
                  <Open item={item} to={to} isChosen={false} onOpen={onOpen} />
                </th>
                <Sizes item={item} />
              </tr>
            );
          })}
        </tbody>
      </table>
    </div>
  );
}

/** Every tag that the document names, what frees the most first. */
export function Tags({ root }: { root: Node }) {
  const tags = [...below(placed(root))].filter((one) => one.node.kind === "tag");
  tags.sort((one, other) => other.node.frees - one.node.frees || (one.name < other.name ? -1 : 1));
  if (tags.length === 0) return null;
  return (
    <Table
      caption="The tags that free the most"
      columns={[
        { title: "Tag" },
        { title: "Frees if removed", isNumber: true },
        { title: "Shared", isNumber: true },
        { title: "Reaches", isNumber: true },
      ]}
      most={10}
      rows={tags.map((one) => ({
        cells: [
          { text: one.name },
          ...[one.node.frees, sharedOf(one) ?? 0, one.node.reaches ?? 0].map((size) => ({ text: sizeText(size), by: size })),
        ],
      }))}
    />
  );
}

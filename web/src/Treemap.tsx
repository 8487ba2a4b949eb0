// A place as a picture: a list of options for the keyboard and for a screen reader, in the order of the table.

import { useSignal, type Signal } from "@preact/signals";
import { useLayoutEffect, useMemo, useRef } from "preact/hooks";
import { fitted, tiles, type Tile } from "./layout";
import { sizeText } from "./text";
import { opens, type Item, type Place } from "./tree";

const COLORS = 8;

interface Props {
  place: Place;
  /** The key of the item that is chosen; empty for none. */
  chosen: Signal<string>;
  isMatch: (item: Item) => boolean;
  onOpen: (item: Item) => void;
  onUp: () => void;
}

export function Treemap({ place, chosen, isMatch, onOpen, onUp }: Props) {
  const box = useRef<HTMLDivElement>(null);
  const width = useSignal(0);
  useLayoutEffect(() => {
    const element = box.current;
    if (element === null) return undefined;
    width.value = element.clientWidth;
    const watch = new ResizeObserver(() => (width.value = element.clientWidth));
    watch.observe(element);
    return () => watch.disconnect();
  }, []);
  const height = Math.round(Math.min(460, Math.max(240, width.value * 0.5)));
  const drawn = useMemo(() => tiles(place, width.value, height), [place, width.value, height]);
  const at = drawn.findIndex((one) => one.item.key === chosen.value);

  function onKeyDown(event: KeyboardEvent): void {
    const to = moved(event.key, at, drawn.length);
    const tile = drawn[at];
    if (to !== null) chosen.value = drawn[to]?.item.key ?? "";
    else if ((event.key === "Enter" || event.key === " ") && tile) onOpen(tile.item);
    else if (event.key === "Escape" || event.key === "Backspace") onUp();
    else return;
    event.preventDefault();
  }

  return (
    <div
      ref={box}
      class="map"
      role="listbox"
      tabIndex={0}
      aria-label={`Parts of ${place.name} by what they free`}
      aria-activedescendant={at < 0 ? undefined : `tile-${at}`}
      onKeyDown={onKeyDown}
      onFocus={() => {
        if (at < 0) chosen.value = drawn[0]?.item.key ?? "";
      }}
    >
      <svg width={width.value} height={height} viewBox={`0 0 ${width.value} ${height}`} role="presentation">
        <defs>
          <pattern id="shared" width="7" height="7" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
            <rect class="ground" width="7" height="7" />
            <line x1="0" y1="0" x2="0" y2="7" />
          </pattern>
        </defs>
        {drawn.map((tile, place) => (
          <Drawn
            key={tile.item.key}
            tile={tile}
            id={`tile-${place}`}
            color={place % COLORS}
            isChosen={place === at}
            isFaint={!isMatch(tile.item)}
            onChoose={() => (chosen.value = tile.item.key)}
            onOpen={() => onOpen(tile.item)}
          />
        ))}
        <g aria-hidden="true">
          {drawn.map((tile) => (
            <Labels key={tile.item.key} tile={tile} isFaint={!isMatch(tile.item)} />
          ))}
        </g>
        {drawn[at] && <rect class="around" {...boxOf(drawn[at])} />}
      </svg>
      {drawn.length === 0 && width.value > 0 && (
        <div role="option" aria-disabled="true" aria-selected="false" class="none">
          Nothing that removing a part alone frees
        </div>
      )}
    </div>
  );
}

/** The place that a key moves to; null if it moves nowhere. */
function moved(key: string, at: number, length: number): number | null {
  if (length === 0) return null;
  if (key === "ArrowRight" || key === "ArrowDown") return Math.min(length - 1, at + 1);
  if (key === "ArrowLeft" || key === "ArrowUp") return Math.max(0, at - 1);
  if (key === "Home") return 0;
  return key === "End" ? length - 1 : null;
}

interface DrawnProps {
  tile: Tile;
  id: string;
  color: number;
  isChosen: boolean;
  isFaint: boolean;
  onChoose: () => void;
  onOpen: () => void;
}

function Drawn({ tile, id, color, isChosen, isFaint, onChoose, onOpen }: DrawnProps) {
  const { item } = tile;
  const size = sizeText(item.frees);
  const isShared = item.kind === "shared";
  return (
    <g
      id={id}
      role="option"
      aria-selected={isChosen}
      aria-label={`${item.label}, ${isShared ? size : `frees ${size}`}${opens(item) ? ", opens" : ""}`}
      class={`tile${isFaint ? " faint" : ""}${opens(item) ? " opens" : ""}`}
      onMouseEnter={onChoose}
      onClick={onOpen}
    >
      <title>{`${item.label}: ${size}`}</title>
      <rect {...boxOf(tile)} class={isShared ? "shared" : `c${color}`} />
      {tile.within.map((part, at) => (
        <rect key={at} {...boxOf(part)} class={part.isShared ? "part shared" : "part"} />
      ))}
      <rect {...boxOf(tile)} class="edge" />
    </g>
  );
}

/** What is written on a tile, where there is room for it. */
function Labels({ tile, isFaint }: { tile: Tile; isFaint: boolean }) {
  const { item } = tile;
  const label = fitted(shortOf(item), tile.width);
  if (label === "" || tile.height <= 20) return null;
  return (
    <g class={isFaint ? "faint" : undefined}>
      {item.kind !== "tag" && tile.within.map((part, at) => <Within key={at} part={part} tile={tile} />)}
      <text class="name" x={tile.x + 6} y={tile.y + 16}>
        {label}
      </text>
      {tile.height > 38 && tile.width > 60 && (
        <text x={tile.x + 6} y={tile.y + 32} class="size">
          {sizeText(item.frees)}
        </text>
      )}
    </g>
  );
}

/** What tells an item from others of the same place. */
function shortOf(item: Item): string {
  if (item.kind === "layer") return item.label.slice(0, 19);
  return item.kind === "tag" && item.place !== null ? item.place.node.name : item.label;
}

/** The label of a part within a tile, where there is room for it. */
function Within({ part, tile }: { part: Tile["within"][number]; tile: Tile }) {
  const isFirst = part.x === tile.x && part.y === tile.y; // the tile's own label is there
  const top = part.y + (isFirst ? 48 : 16);
  const label = part.isShared ? "" : fitted(part.label, part.width);
  if (label === "" || top + 4 > part.y + part.height) return null;
  return (
    <text x={part.x + 6} y={top}>
      {label}
    </text>
  );
}

function boxOf(frame: { x: number; y: number; width: number; height: number }) {
  const [x, y, width, height] = [frame.x, frame.y, frame.width, frame.height].map((one) => one.toFixed(1));
  return { x, y, width, height } as { x: string; y: string; width: string; height: string };
}

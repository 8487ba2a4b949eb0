// Items → rectangles whose areas are in proportion to what they free.

import { hierarchy, treemap, treemapSquarify } from "d3-hierarchy";
import { items, type Item, type Place } from "./tree";

export interface Frame {
  x: number;
  y: number;
  width: number;
  height: number;
}

/** The rectangle of an item, and of what is within it. */
export interface Tile extends Frame {
  item: Item;
  within: (Frame & { label: string; isShared: boolean })[];
}

interface Weighed {
  item: Item | null;
  children?: Weighed[];
}

const SMALLEST = 25; // px²: what is smaller is drawn with what it is in
const squarish = treemapSquarify.ratio(1);

/** The tiles of a place in a picture of so many pixels, in the order of `items`. What frees nothing has no tile. */
export function tiles(place: Place, width: number, height: number): Tile[] {
  const shown = items(place).filter((one) => one.frees > 0);
  if (shown.length === 0 || width <= 0 || height <= 0) return [];
  const weighed: Weighed = { item: null, children: shown.map(weighedOf) };
  const summed = hierarchy(weighed).sum((one) => (one.children?.length ? 0 : (one.item?.frees ?? 0)));
  const root = treemap<Weighed>().size([width, height]).tile(squarish).round(false)(summed);
  return (root.children ?? []).map((one) => ({
    item: one.data.item as Item,
    ...frame(one),
    within: (one.children ?? [])
      .map((part) => ({
        ...frame(part),
        label: part.data.item?.label ?? "",
        isShared: part.data.item?.kind === "shared",
      }))
      .filter((part) => part.width * part.height >= SMALLEST),
  }));
}

function weighedOf(item: Item): Weighed {
  const within = item.place === null ? [] : items(item.place).filter((one) => one.frees > 0);
  return within.length ? { item, children: within.map((one) => ({ item: one })) } : { item };
}

function frame(one: { x0: number; y0: number; x1: number; y1: number }): Frame {
  return { x: one.x0, y: one.y0, width: one.x1 - one.x0, height: one.y1 - one.y0 };
}

const LETTER = 7.8; // px: a character of a label, on average

/** `text` if it fits into so many pixels, otherwise its end; empty where there is no room for that. */
export function fitted(text: string, width: number): string {
  const room = Math.floor((width - 12) / LETTER);
  if (room < 4) return "";
  return text.length <= room ? text : `\u2026${text.slice(1 - room)}`;
}

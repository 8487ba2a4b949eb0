// The space of a registry as places with whole names, and what is within each: the same list for picture and table.

import type { Kind, Node } from "./model";
import { has, plural } from "./text";

/** A node in its tree. `name` is whole (`shop/web:1.0`). */
export interface Place {
  node: Node;
  parent: Place | null;
  name: string;
  children: Place[];
}

/** A part of a place: a child, or what several children share (`kind` "shared"), or what of a tag is no layer ("other").
 * `frees` is what removing it alone frees, or what is shared. */
export interface Item {
  key: string;
  kind: Kind | "shared" | "other";
  label: string;
  frees: number;
  place: Place | null;
}

const WITHIN: Record<Kind, string> = {
  registry: "namespace",
  namespace: "repository",
  repository: "tag",
  tag: "layer",
  layer: "part",
  rest: "part",
};

/** The tree below `node`. */
export function placed(node: Node, parent: Place | null = null): Place {
  const place: Place = { node, parent, name: "", children: [] };
  place.name = wholeName(node, parent);
  place.children = (node.children ?? []).map((child) => placed(child, place));
  return place;
}

function wholeName(node: Node, parent: Place | null): string {
  switch (node.kind) {
    case "registry":
      return "all";
    case "namespace":
      return node.name ? `${node.name}/` : "(no namespace)";
    case "tag":
      return `${parent?.name ?? ""}:${node.name}`;
    case "rest":
      return plural(node.number ?? 0, `smaller ${WITHIN[parent?.node.kind ?? "rest"]}`);
    default:
      return node.name;
  }
}

/** What is within a place: what frees the most first. */
export function items(place: Place): Item[] {
  const found: Item[] = place.children.map((child, at) => ({
    key: `${at}`,
    kind: child.node.kind,
    label: child.name,
    frees: child.node.frees,
    place: child,
  }));
  const between = place.node.between ?? 0;
  if (between > 0 && found.length > 0) {
    const isTag = place.node.kind === "tag";
    const label = isTag ? "all but layers" : `shared by several ${plural(2, WITHIN[place.node.kind]).slice(2)}`;
    found.push({ key: "between", kind: isTag ? "other" : "shared", label, frees: between, place: null });
  }
  return found.sort((one, other) => other.frees - one.frees);
}

/** Whether there is more to see within an item. */
export function opens(item: Item): boolean {
  return item.place !== null && item.place.children.length > 0;
}

/** The places from the root to `place`. */
export function path(place: Place): Place[] {
  return place.parent === null ? [place] : [...path(place.parent), place];
}

/** Every place below `place`, in the order of the document. */
export function* below(place: Place): Generator<Place> {
  for (const child of place.children) {
    yield child;
    yield* below(child);
  }
}

/** The places below `place` whose whole names, or digests, have all of `wanted`; what frees the most first. */
export function matches(place: Place, wanted: readonly string[]): Place[] {
  return [...below(place)]
    .filter((one) => one.node.kind !== "rest" && has(`${one.name} ${one.node.digest ?? ""}`, wanted))
    .sort((one, other) => other.node.frees - one.node.frees);
}

/** What a place reaches and others reach as well; null where that is not known. */
export function sharedOf(place: Place | null): number | null {
  if (place === null || place.node.kind === "rest") return null;
  return Math.max(0, (place.node.reaches ?? 0) - place.node.frees);
}

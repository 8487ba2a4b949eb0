// What the list of images shows: the words that are searched, the order, a page of rows.

import type { Image } from "./model";

export const COLUMNS = [
  { sort: "repository", title: "Repository", isNumber: false },
  { sort: "name", title: "Tag", isNumber: false },
  { sort: "created", title: "Made", isNumber: false },
  { sort: "pulled", title: "Pulled", isNumber: false },
  { sort: "size", title: "Size", isNumber: true },
  { sort: "frees", title: "Frees", isNumber: true },
  { sort: null, title: "Platforms", isNumber: false },
  { sort: null, title: "Verdict", isNumber: false },
] as const;

export type Sort = "repository" | "name" | "created" | "pulled" | "size" | "frees";

export interface Query {
  words: string;
  sort: Sort;
  isDown: boolean;
}

const SORTS: readonly (string | null)[] = COLUMNS.map((one) => one.sort);

/** The query of an address. */
export function queryOf(search: URLSearchParams): Query {
  const sort = search.get("sort") ?? "repository";
  return {
    words: search.get("q") ?? "",
    sort: SORTS.includes(sort) ? (sort as Sort) : "repository",
    isDown: search.get("desc") === "1",
  };
}

/** The address of a query; what is as at first is left out. */
export function addressOf(query: Query): string {
  const given = new URLSearchParams();
  if (query.words.trim()) given.set("q", query.words.trim());
  if (query.sort !== "repository") given.set("sort", query.sort);
  if (query.isDown) given.set("desc", "1");
  const text = given.toString();
  return text ? `/images?${text}` : "/images";
}

/** Where the API has so many rows from `offset`. */
export function pathOf(query: Query, offset: number, limit: number): string {
  const given = new URLSearchParams({
    q: query.words.trim(),
    sort: query.sort,
    desc: query.isDown ? "1" : "0",
    offset: `${offset}`,
    limit: `${limit}`,
  });
  return `images?${given}`;
}

/** The query after a click on the head of a column: what is newest, largest or frees the most comes first. */
export function sorted(query: Query, sort: Sort): Query {
  if (query.sort === sort) return { ...query, isDown: !query.isDown };
  return { ...query, sort, isDown: sort !== "repository" && sort !== "name" };
}

/** What an image is called in a plan, a hold, a search. */
export function nameOf(image: Pick<Image, "repository" | "tag">): string {
  return `${image.repository}:${image.tag}`;
}

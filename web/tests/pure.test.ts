import { describe, expect, it } from "vitest";
import { commandOf, quoted, repeated } from "../src/command";
import { fitted, tiles } from "../src/layout";
import { escaped, read, type Node } from "../src/model";
import { arranged, next } from "../src/rows";
import { has, plural, sizeText, words } from "../src/text";
import { items, matches, path, placed, sharedOf } from "../src/tree";

const tag = (name: string, frees: number, children: Node[] = []): Node => ({
  kind: "tag",
  name,
  frees,
  reaches: frees + 50,
  between: children.length ? 10 : 0,
  tags: 1,
  children,
});
const layers: Node[] = [
  { kind: "layer", name: "sha256:aa", frees: 60, reaches: 60, tags: 1 },
  { kind: "layer", name: "sha256:bb", frees: 0, reaches: 50, tags: 2 },
];
const web: Node = {
  kind: "repository",
  name: "shop/web",
  frees: 200,
  reaches: 230,
  between: 50,
  tags: 5,
  children: [tag("1.0", 70, layers), tag("1.1", 60), { kind: "rest", name: "", frees: 20, number: 3 }],
};
const shop: Node = { kind: "namespace", name: "shop", frees: 230, reaches: 250, between: 30, tags: 5, children: [web] };
const root = placed({ kind: "registry", name: "", frees: 250, reaches: 250, between: 20, tags: 5, children: [shop] });
const at = (...places: number[]) => places.reduce((place, one) => place.children[one] ?? place, root);

describe("sizes and counts are the command line's", () => {
  it.each([
    [0, "0 B"],
    [999, "999 B"],
    [1000, "1.0 kB"],
    [9949, "9.9 kB"],
    [12_500, "12 kB"],
    [13_500, "14 kB"],
    [184_000_000, "184 MB"],
    [3.2e15, "3200 TB"],
  ])("%d bytes", (size, text) => expect(sizeText(size)).toBe(text));
  it("counts", () => {
    expect([plural(1, "tag"), plural(1234, "tag"), plural(2, "repository")]).toEqual(["1 tag", "1,234 tags", "2 repositories"]);
  });
});

describe("the tree", () => {
  it("has whole names", () => {
    expect([root, at(0), at(0, 0), at(0, 0, 0), at(0, 0, 2)].map((one) => one.name)).toEqual([
      "all",
      "shop/",
      "shop/web",
      "shop/web:1.0",
      "3 smaller tags",
    ]);
    expect(path(at(0, 0)).map((one) => one.name)).toEqual(["all", "shop/", "shop/web"]);
  });
  it("shows what frees the most first, and what is shared among it", () => {
    const found = items(at(0, 0));
    expect(found.map((one) => [one.label, one.frees])).toEqual([
      ["shop/web:1.0", 70],
      ["shop/web:1.1", 60],
      ["shared by several tags", 50],
      ["3 smaller tags", 20],
    ]);
    expect(found.reduce((sum, one) => sum + one.frees, 0)).toBe(web.frees);
  });
  it("has the rest of a tag", () => {
    const found = items(placed(tag("1.0", 70, layers)));
    expect(found.map((one) => one.label)).toEqual(["sha256:aa", "all but layers", "sha256:bb"]);
  });
  it("is searched by every word", () => {
    expect(matches(root, words("WEB 1.1")).map((one) => one.name)).toEqual(["shop/web:1.1"]);
    expect(matches(root, words("sha256:")).map((one) => one.name)).toEqual(["sha256:aa", "sha256:bb"]);
    expect(matches(root, ["smaller"])).toEqual([]);
  });
  it("knows what is shared", () => {
    expect([sharedOf(at(0)), sharedOf(at(0, 0, 2)), sharedOf(null)]).toEqual([20, null, null]);
  });
});

describe("the picture", () => {
  it("has areas in proportion to what is freed", () => {
    const found = tiles(at(0, 0), 400, 200);
    expect(found.map((one) => one.item.frees)).toEqual([70, 60, 50, 20]);
    for (const one of found) expect(one.width * one.height).toBeCloseTo((80_000 * one.item.frees) / 200, 3);
  });
  it("fills its frame, and what is within a tile fills the tile", () => {
    const [found, ...others] = tiles(at(0), 400, 200);
    expect(others).toHaveLength(1);
    const within = found?.within.reduce((sum, one) => sum + one.width * one.height, 0);
    expect(within).toBeCloseTo((80_000 * 200) / 230, 3);
    expect(found?.within.map((one) => one.isShared)).toEqual([false, false, true, false]);
  });
  it("is empty where nothing frees anything", () => {
    expect(tiles(placed(tag("1.0", 0)), 400, 200)).toEqual([]);
    expect(tiles(root, 0, 0)).toEqual([]);
  });
  it("cuts a label at its beginning", () => {
    expect([fitted("abc", 100), fitted("a".repeat(20) + "end", 60), fitted("abc", 20)]).toEqual(["abc", "\u2026aaend", ""]);
  });
});

describe("the commands", () => {
  const report = "dregutil report -o 'r 1.html' -reg https://registry.example --state-dir='/a b' -f policy.yml";
  it("repeat what names the registry", () => {
    expect(repeated(report)).toBe(" -reg https://registry.example --state-dir='/a b'");
    expect(repeated("dregutil report -o r.html")).toBe("");
    expect(repeated("dregutil report -reg")).toBe("");
  });
  it("are those of the places", () => {
    expect([root, at(0), at(0, 0), at(0, 0, 0), at(0, 0, 2), at(0, 0, 0, 0)].map((one) => commandOf(one, "dregutil report"))).toEqual([
      "dregutil du --by namespace",
      "dregutil du 'shop/**'",
      "dregutil du shop/web --by tag",
      "dregutil inspect shop/web:1.0",
      null,
      null,
    ]);
  });
  it("are left out for a name that is not whole, or that no shell reads as it is", () => {
    expect([quoted("a\u2026"), quoted("a\\u202e"), quoted("a'b"), quoted("a b")]).toEqual([null, null, null, "'a b'"]);
  });
});

describe("rows", () => {
  const rows = [["b2", 1], ["b10", 3], ["a", 2]].map(([text, by]) => ({ cells: [{ text: `${text}` }, { text: `${by} B`, by: Number(by) }] }));
  const first = (found: typeof rows) => found.map((one) => one.cells[0]?.text);
  it("are filtered by all words", () => {
    expect(first(arranged(rows, " B  3 ", null))).toEqual(["b10"]);
    expect(has("Shop/Web", words("WEB shop"))).toBe(true);
  });
  it("are sorted by number, and by text with its numbers", () => {
    expect(first(arranged(rows, "", null))).toEqual(["b2", "b10", "a"]);
    expect(first(arranged(rows, "", { column: 0, isDown: false }))).toEqual(["a", "b2", "b10"]);
    expect(first(arranged(rows, "", { column: 1, isDown: true }))).toEqual(["b10", "a", "b2"]);
  });
  it("turn with each click, and come back", () => {
    const one = next(null, 1, true);
    const two = next(one, 1, true);
    expect([one, two, next(two, 1, true)]).toEqual([{ column: 1, isDown: true }, { column: 1, isDown: false }, null]);
    expect(next(two, 0, false)).toEqual({ column: 0, isDown: false });
  });
});

describe("the document", () => {
  it("has escapes for what is not shown", () => {
    expect(escaped("a\u202eb\x1b\n\ud800")).toBe("a\\u202eb\\x1b\\x0a\\ud800");
    expect(read('{"kind": "report", "version": 1, "command": "\\u202e"}')?.command).toBe("\\u202e");
  });
  it("is not read where it is another one", () => {
    expect(read('{"kind": "report", "version": 2}')).toBeNull();
    expect(read('{"kind": "plan", "version": 1}')).toBeNull();
  });
});

import { describe, expect, it } from "vitest";
import { decoded, refusal } from "../src/serve/api";
import { asksForNumber, numberOf } from "../src/serve/confirm";
import { ageText, agoText, announced, dayText, progressText, refusedText, removesText, runText, signed, stateText, timeText } from "../src/serve/format";
import { activeOf } from "../src/serve/jobs";
import type { Job, Run } from "../src/serve/model";
import { addressOf, pathOf, queryOf, sorted } from "../src/serve/query";
import { partOf, planPath, routeOf, titleOf, wherePath } from "../src/serve/route";
import { MOST, NONE, range, toggled, withAll } from "../src/serve/selection";
import { drawn, PAGE, Pages, pagesOf, scaleOf, scrolledTo, topFor, topRow } from "../src/serve/window";

describe("addresses", () => {
  it.each([
    ["/", "week", ""],
    ["/images", "images", ""],
    ["/plans", "plans", ""],
    ["/plans/sha256:aa", "plan", "sha256:aa"],
    ["/plans/sha256%3Aaa", "plan", "sha256:aa"],
    ["/runs/20261126T020000Z-1a2b3", "run", "20261126T020000Z-1a2b3"],
    ["/health/x", "none", "x"],
    ["/nothing", "none", ""],
    ["/runs/a/b", "none", "a"],
    ["/runs/%", "run", "%"],
  ])("%s", (path, screen, id) => expect(routeOf(path)).toMatchObject({ screen, id }));
  it("of images keep every character", () => {
    const name = "shop/web:1.0&of=x y%\u202e";
    const [path = "", search = ""] = wherePath(name).split("?");
    expect(routeOf(path, search).search.get("of")).toBe(name);
    expect(planPath("sha256:aa")).toBe("/plans/sha256:aa");
  });
  it("have titles, and a place in the navigation", () => {
    expect(titleOf(routeOf("/runs/x"))).toBe("Run x");
    expect(titleOf(routeOf("/x"))).toBe("There is no such page");
    expect([partOf("plan"), partOf("run"), partOf("space")]).toEqual(["plans", "runs", "space"]);
  });
});

describe("the query of images", () => {
  const plain = queryOf(new URLSearchParams());
  it("survives in its address", () => {
    for (const query of [plain, { words: "label:team=a&b", sort: "size", isDown: true } as const]) {
      expect(queryOf(new URLSearchParams(addressOf(query).split("?")[1] ?? ""))).toEqual(query);
    }
    expect(addressOf(plain)).toBe("/images");
  });
  it("ignores an order that there is not", () => {
    expect(queryOf(new URLSearchParams("sort=secret&desc=2"))).toEqual({ words: "", sort: "repository", isDown: false });
  });
  it("asks for a page", () => {
    expect(pathOf({ words: " web ", sort: "frees", isDown: true }, 300, 100)).toBe(
      "images?q=web&sort=frees&desc=1&offset=300&limit=100",
    );
  });
  it("is sorted by what is greatest first", () => {
    const bySize = sorted(plain, "size");
    expect(bySize).toMatchObject({ sort: "size", isDown: true });
    expect(sorted(bySize, "size")).toMatchObject({ sort: "size", isDown: false });
    expect(sorted(bySize, "name")).toMatchObject({ sort: "name", isDown: false });
  });
});

describe("the selection", () => {
  it("is toggled, and left as it was", () => {
    const one = toggled(NONE, "a:1");
    expect([...(one ?? [])]).toEqual(["a:1"]);
    expect(toggled(one ?? NONE, "a:1")?.size).toBe(0);
    expect(NONE.size).toBe(0);
  });
  it("is bounded", () => {
    const names = Array.from({ length: MOST }, (_, at) => `a:${at}`);
    const full = withAll(NONE, names);
    expect(full?.size).toBe(MOST);
    expect(withAll(full ?? NONE, ["a:0"])?.size).toBe(MOST);
    expect(toggled(full ?? NONE, "b:0")).toBeNull();
    expect(withAll(NONE, [...names, "b:0"])).toBeNull();
  });
  it("has ranges in both directions", () => {
    expect([range(3, 5), range(5, 3), range(4, 4)]).toEqual([
      { first: 3, end: 6 },
      { first: 3, end: 6 },
      { first: 4, end: 5 },
    ]);
  });
});

describe("the rows on the screen", () => {
  const short = scaleOf(50, 30, 300);
  const long = scaleOf(1_000_000, 30, 600);
  it("begin at the top and end at the end", () => {
    for (const scale of [short, long]) {
      expect(drawn(scale, 0)).toMatchObject({ first: 0, shift: 0 });
      expect(drawn(scale, scale.height - scale.view).end).toBe(scale.total);
      expect(drawn(scale, 1e9).end).toBe(scale.total);
    }
  });
  it("are few, however many there are", () => {
    expect(long.height).toBeLessThanOrEqual(12_000_000);
    for (let at = 0; at < long.height; at += 997_331) {
      const { first, end } = drawn(long, at);
      expect(end - first).toBeLessThanOrEqual(22);
    }
  });
  it("are all reached", () => {
    for (const row of [0, 1, 777_777, 999_979, 999_999]) {
      const top = topFor(long, 0, row);
      const { first, end } = drawn(long, scrolledTo(long, top));
      expect(first <= row && row < end).toBe(true);
    }
  });
  it("move no more than is needed", () => {
    expect(topFor(short, 0, 5)).toBe(0);
    expect(topFor(short, 0, 10)).toBe(1);
    expect(topRow(short, scrolledTo(short, 7))).toBeCloseTo(7);
    expect(topFor(short, scrolledTo(short, 7), 2)).toBe(2);
  });
  it("fit where there are few", () => {
    const few = scaleOf(3, 30, 300);
    expect(few.height).toBe(300);
    expect(drawn(few, 0)).toEqual({ first: 0, end: 3, shift: 0 });
    expect(drawn(scaleOf(0, 30, 300), 0)).toMatchObject({ first: 0, end: 0 });
  });
  it("are read in pages, of which some are kept", () => {
    expect([pagesOf(0, 0), pagesOf(0, 1), pagesOf(99, 101), pagesOf(250, 400)]).toEqual([[], [0], [0, 1], [2, 3]]);
    const pages = new Pages<number>();
    for (let page = 0; page < 100; page += 1) pages.put(page, Array.from({ length: PAGE }, (_, at) => page * PAGE + at));
    expect(pages.size).toBe(40);
    expect([pages.has(0), pages.row(0), pages.row(9999)]).toEqual([false, undefined, 9999]);
  });
});

describe("times, ages and states", () => {
  it("are the command line's", () => {
    expect([ageText(0), ageText(59), ageText(3600), ageText(86400 * 3 + 5), ageText(86400 * 400)]).toEqual([
      "0 s",
      "59 s",
      "1 hour",
      "3 days",
      "13 months",
    ]);
    expect(agoText("2026-11-26T12:00:00Z", Date.parse("2026-11-26T12:05:00Z"))).toBe("5 minutes ago");
    expect([timeText("2026-11-26T12:00:00Z"), timeText(null), dayText("2026-11-26T12:00:00Z")]).toEqual([
      "2026-11-26 12:00 UTC",
      "",
      "2026-11-26",
    ]);
    expect([signed(-1500), signed(20)]).toEqual(["-1.5 kB", "+20 B"]);
  });
  it("of plans", () => {
    expect([removesText(0, 0), removesText(1, 2), removesText(0, 1)]).toEqual([
      "nothing",
      "1 tag and 2 manifests without a tag",
      "1 manifest without a tag",
    ]);
    const approvals = ["2026-11-26T12:00:00Z", "2026-11-27T12:00:00Z"].map((expires) => ({ by: "jo", when: expires, expires }));
    const now = Date.parse("2026-11-26T18:00:00Z");
    const plan = { state: "waiting", approvals, needed: 2, tags: 1, untagged: 0, run: null, why: null } as const;
    expect(stateText(plan, now)).toBe("waits for approval: 1 of 2");
    expect(stateText({ ...plan, tags: 0 }, now)).toBe("nothing to do");
    expect(stateText({ ...plan, tags: 0, state: "superseded" }, now)).toBe("a newer plan takes its place");
    expect(stateText({ ...plan, state: "rejected", why: "bob rejected it: wrong week" })).toBe("bob rejected it: wrong week");
    expect(stateText({ ...plan, state: "failed", why: "it is too large" })).toBe("failed: it is too large");
    expect(stateText({ ...plan, state: "failed", run: "r1", why: "" })).toBe("its run did not end");
    expect(stateText({ ...plan, state: "lapsed" })).toBe("not carried out in time");
    expect(refusedText("it removes 68 tags.")).toContain("refuses this: it removes 68 tags. Whoever");
  });
  it("of runs", () => {
    const run = { undone: false, unfinished: false, partly_undone: true, undoes: null, collected: null } as Run;
    expect(runText(run)).toBe("finished, partly undone");
    expect(runText({ ...run, unfinished: true })).toBe("did not end");
    expect(runText({ ...run, undoes: "r1" })).toBe("puts back r1");
  });
  it("of jobs: what writes comes first", () => {
    const job = (kind: string, state: string): Job => ({ kind, state }) as Job;
    const all = [job("refresh", "running"), job("apply", "done"), job("plan", "waiting"), job("undo", "running")];
    expect(activeOf(all).map((one) => one.kind)).toEqual(["undo", "refresh", "plan"]);
    expect(progressText({ done: 1, total: 2, noun: "tags" })).toBe("1 of 2 tags");
    expect(progressText({ done: 0, total: 0, noun: "" })).toBe("");
    const said = [0, 1, 49, 50, 100].map((done) => announced({ what: "apply", done, total: 100 }));
    expect(said).toEqual(["apply", "apply", "apply: 25 %", "apply: 50 %", "apply: 100 %"]);
  });
});

describe("what the server refuses", () => {
  it("is said in its words", () => {
    const found = refusal(409, '{"error": "it has changed", "advice": "plan again"}');
    expect([found.status, found.message, found.advice]).toEqual([409, "it has changed", "plan again"]);
    expect(refusal(502, "<html>").message).toBe("The server answered with status 502.");
  });
  it("may ask for the number of tags", () => {
    expect(asksForNumber({ message: "this plan removes 60 tags, and more than half of what a has", advice: null })).toBe(true);
    expect(asksForNumber({ message: "it has changed", advice: "plan again" })).toBe(false);
    expect([numberOf("1,248"), numberOf(" 60 "), numberOf(""), numberOf("6e1"), numberOf("-1")]).toEqual([1248, 60, null, null, null]);
  });
  it("is text without characters that are not shown", () => {
    expect(decoded<string[]>('["a\\u202eb", "\\u001b[31m"]')).toEqual(["a\\u202eb", "\\x1b[31m"]);
  });
});

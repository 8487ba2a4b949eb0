// Images: one search over all, and what is selected for a plan.

import { useSignal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { numberText, plural } from "../text";
import type { Refused } from "./api";
import { changes } from "./jobs";
import { ImageGrid } from "./ImageGrid";
import { Listing } from "./listing";
import { Command, Failure, Read, Title, When } from "./parts";
import { addressOf, queryOf, sorted, type Query, type Sort } from "./query";
import { MOST, selection, withAll } from "./selection";
import { SelectionBar } from "./SelectionBar";
import { may, refused, replace, route } from "./state";

const PAUSE = 150; // ms after the last key before the search

const TERMS = [
  ["web 1.4", "both words are in the name or the tag"],
  ["sha256:04853d", "a digest that begins so"],
  ["label:team=web", "has this label; label:team with any value"],
  ["base:alpine", "built on this image of the registry"],
  ["layer:sha256:9e0d\u2026", "has this layer: the whole digest"],
  ["platform:linux/arm64", "for this platform"],
  ["older:30d", "made so long ago"],
  ["larger:1GB", "larger than that"],
  ["is:held", "held by somebody"],
  ["is:remove", "tonight's plan removes it; is:keep: it keeps it"],
] as const;

export function Images() {
  const query = useSignal<Query>(queryOf(route.value.search));
  const { shown, hint } = useListing(query.value);
  const { total } = shown;
  const failure = useSignal<Refused | null>(null);

  function ask(next: Query): void {
    query.value = next;
    replace(addressOf(next));
  }

  async function selectAll(): Promise<void> {
    const found = total.value ?? 0;
    failure.value = null;
    try {
      const all = withAll(selection.value, await shown.names(0, Math.min(found, MOST + 1)));
      if (all !== null) selection.value = all;
      else failure.value = tooMany();
    } catch (error) {
      failure.value = refused(error);
    }
  }

  return (
    <div class="images">
      <Title>Images</Title>
      <Search words={query.value.words} onSearch={(words) => ask({ ...query.value, words })}>
        {hint !== null ? hintText(hint) : total.value === null ? "" : `${plural(total.value, "image")} found`}
      </Search>
      <Failure error={failure.value} />
      {total.value !== null && <Failure error={shown.error.value} />}
      {total.value === null ? (
        <Read of={{ value: null, error: shown.error.value }}>{() => null}</Read>
      ) : (
        <ImageGrid
          listing={shown}
          query={query.value}
          onSort={(sort: Sort) => ask(sorted(query.value, sort))}
          onTooMany={() => (failure.value = tooMany())}
        />
      )}
      {may("planner") && (total.value !== null || selection.value.size > 0) && (
        <SelectionBar
          found={hint === null ? total.value : null}
          onAll={() => {
            if ((total.value ?? 0) > MOST) failure.value = tooMany();
            else void selectAll();
          }}
        />
      )}
      <p class="quiet">
        {shown.read.value !== null && (
          <>
            As read <When when={shown.read.value} />.
          </>
        )}
        {shown.unread.value > 0 &&
          ` The contents of ${plural(shown.unread.value, "tag")} are not known: the others free at most what is shown.`}
      </p>
      <Command command={shown.command.value} />
    </div>
  );
}

function tooMany(): Refused {
  return {
    name: "Refused",
    status: 413,
    message: `At most ${numberText(MOST)} images can be selected for one plan.`,
    advice: "Search for fewer, or write a policy that removes them.",
  };
}

function hintText({ message, advice }: Refused): string {
  return advice === null ? message : `${message}: ${advice}`;
}

interface Found {
  shown: Listing;
  hint: Refused | null;
}

/** The rows of a query. Until the first of them are there, those of the last query stay; so they do while a term is half
 * typed, and `hint` says what is missing. */
function useListing(query: Query): Found {
  const last = useRef<Listing | null>(null);
  const times = changes.images.value;
  const listing = useMemo(() => {
    const made = new Listing(query);
    const before = last.current;
    const isSame = before !== null && addressOf(before.query) === addressOf(query);
    made.need(isSame ? before.first : 0, isSame ? before.end : 1);
    return made;
  }, [query.words.trim(), query.sort, query.isDown, times]);
  useEffect(() => () => listing.stop(), [listing]);
  const isThere = listing.total.value !== null || listing.error.value !== null;
  const hint = listing.total.value === null && listing.error.value?.status === 400 ? listing.error.value : null;
  const before = last.current;
  if (before === null || (isThere && (hint === null || before.total.value === null))) last.current = listing;
  const shown = last.current ?? listing;
  return { shown, hint: shown === listing ? null : hint };
}

interface SearchProps {
  words: string;
  onSearch: (words: string) => void;
  children: string;
}

function Search({ words, onSearch, children }: SearchProps) {
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  return (
    <>
      <p class="filter search">
        <input
          type="search"
          aria-label="Search the images"
          placeholder="name, tag, sha256:…, older:30d, larger:1GB, is:held"
          spellcheck={false}
          autocomplete="off"
          defaultValue={words}
          onInput={(event) => {
            const text = event.currentTarget.value;
            clearTimeout(timer.current);
            timer.current = setTimeout(() => onSearch(text), PAUSE);
          }}
          onKeyDown={(event) => {
            if (event.key !== "Enter") return;
            clearTimeout(timer.current);
            onSearch(event.currentTarget.value);
            document.querySelector<HTMLElement>("[role=grid]")?.focus();
          }}
        />
        <span role="status">{children}</span>
      </p>
      <details class="terms">
        <summary>What can be searched</summary>
        <dl>
          {TERMS.map(([term, what]) => (
            <div key={term}>
              <dt>
                <code>{term}</code>
              </dt>
              <dd>{what}</dd>
            </div>
          ))}
        </dl>
      </details>
    </>
  );
}

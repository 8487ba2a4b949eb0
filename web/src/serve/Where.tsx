// Where is my image: what became of a tag, a digest or a layer, and putting it back.

import { useSignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { numberText } from "../text";
import type { Refused } from "./api";
import { CanComeBack } from "./CanComeBack";
import { Following } from "./Following";
import { timeText } from "./format";
import { HoldDialog } from "./HoldDialog";
import { changed, jobs } from "./jobs";
import type { Job, Timeline, TimelineEvent, WhyRow } from "./model";
import { Command, Dialog, Failure, Read, Title, When } from "./parts";
import { runPath, wherePath } from "./route";
import { commandFor, go, may, route, session, start, useReading } from "./state";

export function Where() {
  const of = route.value.search.get("of") ?? "";
  const found = useReading<Timeline>(of ? `timeline?of=${encodeURIComponent(of)}` : null, ["images", "runs", "report"]);
  return (
    <>
      <Title>Where is my image</Title>
      <form
        class="filter"
        role="search"
        onSubmit={(event) => {
          event.preventDefault();
          const text = event.currentTarget.querySelector("input")?.value.trim() ?? "";
          if (text === of) changed("images"); // what is asked again is read again
          else if (text) go(wherePath(text));
        }}
      >
        <input
          key={of}
          type="search"
          aria-label="A tag, a digest or a layer"
          placeholder="shop/web:1.0 or sha256:…"
          spellcheck={false}
          autocomplete="off"
          defaultValue={of}
        />
        <button type="submit">Find</button>
      </form>
      {of === "" ? (
        <>
          <p class="quiet">Name a tag, a digest or a layer to see when it came, moved, was pulled, was removed, and who has it.</p>
          <CanComeBack />
          <Command command={commandFor("undo --list")} />
        </>
      ) : (
        <Read of={found.value}>{(one) => <Shown key={one.of} found={one} />}</Read>
      )}
      <Command command={found.value.value?.command ?? null} />
    </>
  );
}

function Shown({ found }: { found: Timeline }) {
  const failure = useSignal<Refused | null>(null);
  const job = useSignal<Job | null>(null);
  const asked = useSignal<"undo" | "hold" | null>(null);
  const gone = isGone(found) && session.value?.images !== null; // without the index it is not known
  useEffect(() => {
    failure.value = null; // it was of what is no longer so
    if (jobs.value.get(job.value?.id ?? "")?.state === "failed") job.value = null;
  }, [found.undo?.run, gone]);

  async function putBack(): Promise<void> {
    asked.value = null;
    const { undo } = found;
    if (undo === null) return;
    job.value = await start(`runs/${encodeURIComponent(undo.run)}/undo`, { images: [undo.image] }, failure);
  }

  async function end(image: string): Promise<void> {
    job.value = await start("holds/end", { image }, failure);
  }

  return (
    <>
      <h2>
        <bdi>{found.of}</bdi>
      </h2>
      {found.digest !== null && found.digest !== found.of && (
        <p>
          Digest <a href={wherePath(found.digest)}><code>{found.digest}</code></a>
        </p>
      )}
      <Failure error={failure.value} />
      {job.value !== null && <Following job={job.value} />}
      <p class="actions">
        {found.undo !== null && may("approver") && (
          <button type="button" class="main" onClick={() => (asked.value = "undo")}>
            Put it back…
          </button>
        )}
        {found.kind !== "layer" && !gone && may("planner") && (
          <button type="button" onClick={() => (asked.value = "hold")}>
            Hold…
          </button>
        )}
      </p>
      {found.undo !== null && <Command command={found.undo.command} what="To put it back in a terminal" />}
      <Holds found={found} onEnd={(image) => void end(image)} />
      <h3>What happened</h3>
      {found.events.length === 0 ? <p>Nothing is known of it.</p> : <Events events={found.events} />}
      {found.notes.map((one) => (
        <p key={one} class="quiet">
          {one}
        </p>
      ))}
      <Holders found={found} />
      {found.kind === "tag" && !gone && session.value?.policy && <Why image={found.of} />}
      {asked.value === "undo" && found.undo !== null && (
        <Dialog title="Put this image back?" onClose={() => (asked.value = null)}>
          <p>
            <bdi>{found.undo.image}</bdi>, removed by the run {found.undo.run}, gets its tags again, if the registry still has it.
          </p>
          <form method="dialog" class="actions">
            <button type="button" class="main" onClick={() => void putBack()}>
              Put it back
            </button>
            <button type="submit">Cancel</button>
          </form>
        </Dialog>
      )}
      {asked.value === "hold" && (
        <HoldDialog image={found.of} onStarted={(one) => (job.value = one)} onClose={() => (asked.value = null)} />
      )}
    </>
  );
}

/** Whether no tag has it any more, so that there is nothing to hold. */
export function isGone(found: Pick<Timeline, "kind" | "digest" | "undo" | "holders">): boolean {
  if (found.kind === "tag") return found.digest === null;
  return found.undo !== null && found.holders.length === 0;
}

const DONE_BY_PEOPLE: readonly string[] = ["removed", "undone", "held"];

function who(event: TimelineEvent) {
  if (event.by === null || !DONE_BY_PEOPLE.includes(event.what)) return null;
  return (
    <>
      by <bdi>{event.by}</bdi>{" "}
    </>
  );
}

/** The text of an event without the word that is shown before it. */
export function restOf({ what, text }: Pick<TimelineEvent, "what" | "text">): string {
  return text === what ? "" : text.startsWith(`${what}, `) ? text.slice(what.length + 2) : text;
}

function Events({ events }: { events: TimelineEvent[] }) {
  return (
    <ol class="timeline">
      {events.map((one, at) => (
        <li key={at} class={one.what}>
          <When when={one.when} />
          {one.until !== null && timeText(one.until) !== timeText(one.when) && (
            <>
              {" to "}
              <When when={one.until} />
            </>
          )}{" "}
          <strong>{one.what}</strong> {who(one)}
          <span class="text">{restOf(one)}</span>
          {one.run !== null && (
            <>
              {" "}
              <a href={runPath(one.run)}>run {one.run}</a>
            </>
          )}
        </li>
      ))}
    </ol>
  );
}

function Holders({ found }: { found: Timeline }) {
  if (found.holders.length === 0) return null;
  return (
    <>
      <h3>Who has it</h3>
      <ul class="names">
        {found.holders.map((one) => (
          <li key={`${one.repository}:${one.tag}`}>
            <a href={wherePath(`${one.repository}:${one.tag}`)}>{`${one.repository}:${one.tag}`}</a>
          </li>
        ))}
      </ul>
      {found.more_holders > 0 && <p>and {numberText(found.more_holders)} more</p>}
    </>
  );
}

function Holds({ found, onEnd }: { found: Timeline; onEnd: (image: string) => void }) {
  if (found.holds.length === 0) return null;
  return (
    <ul>
      {found.holds.map((one, at) => (
        <li key={at}>
          <span class="badge">held</span> <bdi>{one.image}</bdi>{" "}
          {one.until === null ? (
            "without an end"
          ) : (
            <>
              until <When when={one.until} />
            </>
          )}
          {one.by && (
            <>
              , by <bdi>{one.by}</bdi>
            </>
          )}
          {one.undo !== null && (
            <>
              , put back by the run <a href={runPath(one.undo)}>{one.undo}</a>
            </>
          )}
          {one.because && <>: {one.because}</>}{" "}
          {may("planner") && (
            <button type="button" class="small" aria-label={`End the hold of ${one.image}`} onClick={() => onEnd(one.image)}>
              End the hold
            </button>
          )}
        </li>
      ))}
    </ul>
  );
}

/** What the policy says of a tag; asked for by a button, because it takes a moment. */
function Why({ image }: { image: string }) {
  const isAsked = useSignal(false);
  const found = useReading<{ rows: WhyRow[] }>(isAsked.value ? `why?image=${encodeURIComponent(image)}` : null, ["images", "report"]);
  if (!isAsked.value) {
    return (
      <p>
        <button type="button" onClick={() => (isAsked.value = true)}>
          Why it stays, or goes
        </button>
      </p>
    );
  }
  return (
    <>
      <h3>Why it stays, or goes</h3>
      <Read of={found.value}>
        {({ rows }) => (
          <>
            <p>
              <strong class={`action ${rows[0]?.decision === "keep" ? "KEEP" : "REMOVE"}`}>{decision(rows)}</strong>
            </p>
            <ul>
              {rows.map((one, at) => (
                <li key={at}>
                  {one.keeps ? "keeps it" : "does not keep it"}: <bdi>{one.what}</bdi>
                  {one.policy !== null && <> ({one.policy})</>}
                  {one.text && `: ${one.text}`}
                </li>
              ))}
            </ul>
          </>
        )}
      </Read>
    </>
  );
}

function decision(rows: readonly WhyRow[]): string {
  const { decision: found } = rows[0] ?? {};
  return found === undefined ? "No policy decides about it" : found === "follow" ? "As what it belongs to" : found.toUpperCase();
}

// The header of every screen: the registry, the screens, who looks, what runs.

import { useSignal } from "@preact/signals";
import { Help } from "../Help";
import type { Refused } from "./api";
import { agoText, progressText } from "./format";
import { active, jobs } from "./jobs";
import { isLive } from "./events";
import type { Job, Session } from "./model";
import { Failure, Stop } from "./parts";
import { partOf, SCREENS } from "./route";
import { may, route, start } from "./state";

const KEYS = [
  ["/", "to the search or the filter of the screen"],
  ["↑ ↓, Page ↑ ↓, Home, End", "to another row of the images; in the picture, to another part"],
  ["Space", "select the image, or no longer"],
  ["Shift + ↑ ↓", "select all on the way"],
  ["Enter", "open what is chosen: of an image, where it is"],
  ["Escape, Backspace", "in the picture, back to what it is in; in a search, clear it"],
  ["Tab", "to the next link, table or button"],
  ["?", "this list"],
] as const;

export function Header({ session }: { session: Session }) {
  const here = partOf(route.value.screen);
  const failure = useSignal<Refused | null>(null);
  return (
    <header class="top">
      <p class="registry">{session.registry}</p>
      <nav aria-label="Screens">
        <ul class="screens">
          {SCREENS.map((one) => (
            <li key={one.path}>
              <a href={one.path} aria-current={one.screen === here ? "page" : undefined}>
                {one.title}
              </a>
            </li>
          ))}
        </ul>
      </nav>
      <div class="now">
        <Now session={session} />
        {may("planner") && (
          <button type="button" class="small" onClick={() => void start("refresh", { full: false }, failure)}>
            Refresh
          </button>
        )}
        <span class="who">
          {session.user} ({highest(session)})
        </span>
        <Help keys={KEYS} />
      </div>
      <Failure error={failure.value} />
    </header>
  );
}

/** What runs now, else when the registry was read. */
function Now({ session }: { session: Session }) {
  const [first, ...more] = active.value;
  const read = session.read === null ? "not read yet" : `read ${agoText(session.read, Date.now())}`;
  const failed = lastFailed([...jobs.value.values()]);
  return (
    <div class="job">
      <span role="status">
        {first === undefined ? read : `${first.what}: ${first.state === "waiting" ? "waits" : "runs"}`}
        {more.length > 0 && `, ${more.length} more`}
        {first === undefined && failed !== null && `; failed: ${failed.what}: ${failed.message ?? ""}`}
      </span>
      {first !== undefined && (
        <>
          {" "}
          <progress aria-label={first.what} {...(first.total > 0 ? { max: first.total, value: first.done } : {})} />{" "}
          {progressText(first)} <Stop job={first} />
        </>
      )}
      {!isLive.value && <span class="quiet"> (no live connection)</span>}
    </div>
  );
}

/** The job that ended last, if it failed. */
function lastFailed(all: readonly Job[]): Job | null {
  const ended = all.filter((one) => one.ended !== null);
  ended.sort((one, other) => Date.parse(other.ended ?? "") - Date.parse(one.ended ?? ""));
  return ended[0]?.state === "failed" ? ended[0] : null;
}

function highest(session: Session): string {
  return (["approver", "planner", "viewer"] as const).find((one) => session.roles.includes(one)) ?? "no role";
}

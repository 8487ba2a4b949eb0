// The header of every screen: the registry, the screens, who looks, what runs.

import { useSignal, type Signal } from "@preact/signals";
import { Help } from "../Help";
import type { Refused } from "./api";
import { agoText, progressText } from "./format";
import { active, jobs, lastFailed } from "./jobs";
import { isLive } from "./events";
import type { Job, Session } from "./model";
import { Command, Dialog, Failure, JobFailure, Stop } from "./parts";
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
      <Now session={session} failure={failure} />
      <div class="now">
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
      {session.store_problem !== null && (
        <p class="alarm" role="status">
          {session.store_problem}. Nothing can be decided until it answers.
        </p>
      )}
    </header>
  );
}

interface NowProps {
  session: Session;
  failure: Signal<Refused | null>;
}

/** What runs now, else when the registry was read: a line that is always there, so that nothing moves. */
function Now({ session, failure }: NowProps) {
  const isAsked = useSignal(false);
  const [first, ...more] = active.value;
  const read = session.read === null ? "not read yet" : `read ${agoText(session.read, Date.now())}`;
  const failed = first === undefined ? lastFailed([...jobs.value.values()]) : null;
  const running = first && `${first.what}: ${first.state === "waiting" ? "waiting" : "running"}${more.length ? `, ${more.length} more` : ""}`;
  return (
    <div class="job">
      <span role="status" class="what">
        {running ?? read}
        {failed !== null && (
          <>
            ; <strong class="failed">failed: {failed.what}</strong>
          </>
        )}
      </span>
      {failed !== null && (
        <button type="button" class="small" onClick={() => (isAsked.value = true)}>
          Why it failed
        </button>
      )}
      {first !== undefined && (
        <>
          <progress aria-label={first.what} {...(first.total > 0 ? { max: first.total, value: first.done } : {})} />
          <span class="how">{progressText(first)}</span>
          <Stop job={first} failure={failure} />
        </>
      )}
      {!isLive.value && <span class="quiet">(no live connection)</span>}
      {isAsked.value && failed !== null && <WhyFailed job={failed} onClose={() => (isAsked.value = false)} />}
    </div>
  );
}

function WhyFailed({ job, onClose }: { job: Job; onClose: () => void }) {
  return (
    <Dialog title="Why it failed" onClose={onClose}>
      <JobFailure job={job} />
      <Command command={job.command} />
      <form method="dialog">
        <button type="submit">Close</button>
      </form>
    </Dialog>
  );
}

function highest(session: Session): string {
  return (["approver", "planner", "viewer"] as const).find((one) => session.roles.includes(one)) ?? "no role";
}

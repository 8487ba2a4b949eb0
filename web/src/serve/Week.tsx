// This week: the numbers, the one thing to do first, the last runs.

import { numberText, plural, sizeText } from "../text";
import { ageText, agoText, isEmpty, isOpen, removesText, sizeOr, signed } from "./format";
import type { PlanSummary, Report, Run, Week as Numbers } from "./model";
import { Command, Copy, Read, Title } from "./parts";
import { planPath, runPath } from "./route";
import { RunTable } from "./Runs";
import { commandFor, useReading } from "./state";

export function Week() {
  const report = useReading<Report>("report", ["report"]);
  const runs = useReading<{ total: number; runs: Run[] }>("runs?offset=0&limit=5", ["runs"]);
  const plans = useReading<{ plans: PlanSummary[] }>("plans", ["plans"]);
  return (
    <>
      <Title>This week</Title>
      {plans.value.value !== null && <Waiting plans={plans.value.value.plans} />}
      <Read of={report.value}>
        {(found) => (
          <>
            <Alarm alarm={found.week.alarm} />
            <Cards week={found.week} made={found.made} />
            {found.notes.map((one) => (
              <p key={one} class="quiet">
                {one}
              </p>
            ))}
          </>
        )}
      </Read>
      <h2>Recent runs</h2>
      <Read of={runs.value}>
        {(found) => (found.runs.length ? <RunTable runs={found.runs} caption="Recent runs" isTitled /> : <p>None is recorded.</p>)}
      </Read>
      <Command command={commandFor("report -o report.html")} />
    </>
  );
}

/** The plans that somebody has to do something about. */
function Waiting({ plans }: { plans: readonly PlanSummary[] }) {
  const open = plans.filter((one) => isOpen(one) && !isEmpty(one));
  return (
    <>
      <WaitingFor plans={open.filter((one) => one.state !== "approved")} what="for approval" />
      <WaitingFor plans={open.filter((one) => one.state === "approved")} what="to be carried out" />
    </>
  );
}

function WaitingFor({ plans, what }: { plans: readonly PlanSummary[]; what: string }) {
  const [first, ...more] = plans;
  if (first === undefined) return null;
  if (more.length > 0) {
    return (
      <p class="to-do">
        <a href="/plans">
          {numberText(plans.length)} plans wait {what}
        </a>
      </p>
    );
  }
  return (
    <p class="to-do">
      <a href={planPath(first.sum)}>1 plan waits {what}</a>: {removesText(first.tags, first.untagged)}, {sizeOr(first.frees, first.exact)}
    </p>
  );
}

function Alarm({ alarm }: { alarm: Numbers["alarm"] }) {
  if (alarm === null) return null;
  return (
    <div class="alarm" role="alert">
      <strong>To do:</strong> {alarm.what} {alarm.command && <Copy command={alarm.command} />}
    </div>
  );
}

interface CardProps {
  name: string;
  value: string;
  notes: (string | null)[];
  href?: string;
  isBad?: boolean;
}

function Cards({ week, made }: { week: Numbers; made: string }) {
  return <dl class="cards">{cards(week, Date.parse(made)).map((one) => <Card key={one.name} {...one} />)}</dl>;
}

function Card({ name, value, notes, href, isBad }: CardProps) {
  return (
    <div class={isBad ? "card bad" : "card"}>
      <dt>{name}</dt>
      <dd class="value">{href ? <a href={href}>{value}</a> : value}</dd>
      {notes.filter(Boolean).map((one) => (
        <dd key={one} class="note">
          {one}
        </dd>
      ))}
    </div>
  );
}

/** The numbers of a week, as they are shown. `now` is when they were made, in ms. */
export function cards(week: Numbers, now: number): CardProps[] {
  return [storedCard(week), ...lastCards(week, now), pendingCard(week, now), brokenCard(week), listsCard(week)];
}

function storedCard(week: Numbers): CardProps {
  const { growth } = week;
  return {
    name: "Stored",
    value: `${week.exact ? "" : "at least "}${sizeText(week.stored)}`,
    href: "/space",
    notes: [
      growth === null ? "growth: not known before a second report" : `${signed(growth.bytes)} since ${growth.since.slice(0, 10)}`,
      `${plural(week.tags, "tag")} in ${week.repositories === 1 ? "1 repository" : `${numberText(week.repositories)} repositories`}`,
    ],
  };
}

function lastCards(week: Numbers, now: number): CardProps[] {
  const last = week.last_run;
  if (last === null) {
    return [
      { name: "Last run", value: "none", notes: ["no run is recorded"] },
      { name: "Freed by the last run", value: "nothing", notes: [] },
    ];
  }
  const how = last.failed ? `${plural(last.failed, "step")} failed` : null;
  const freed = last.collected === null ? "once the registry collects its garbage" : "collected";
  return [
    {
      name: "Last run",
      value: last.result,
      href: runPath(last.run),
      isBad: last.failed > 0 || last.result !== "finished",
      notes: [how, last.undone ? "undone" : null, `${agoText(last.when, now)}, ${plural(last.tags, "tag")} removed`],
    },
    { name: last.collected === null ? "The last run frees" : "Freed by the last run", value: sizeOr(last.frees, last.exact), notes: [last.undone ? "nothing: it is undone" : freed] },
  ];
}

function pendingCard(week: Numbers, now: number): CardProps {
  const { pending } = week;
  if (pending.runs === 0) return { name: "Waits for collection", value: "nothing", notes: ["that is recorded"] };
  return {
    name: "Waits for collection",
    value: `at most ${sizeText(pending.bytes)}`,
    notes: [
      `${plural(pending.tags, "tag")} of ${plural(pending.runs, "run")}, the oldest ${agoText(pending.oldest, now)}`,
      "undo holds until the registry collects its garbage",
    ],
  };
}

function brokenCard(week: Numbers): CardProps {
  if (week.broken === null) return { name: "Broken", value: "not checked", href: "/health", notes: [] };
  const value = week.broken ? plural(week.broken, "image") : "nothing";
  return { name: "Broken", value, href: "/health", isBad: week.broken > 0, notes: [] };
}

function listsCard(week: Numbers): CardProps {
  const stale = week.lists.filter((one) => one.stale);
  return {
    name: "Lists of images in use",
    value: stale.length ? `${stale.length} out of date` : week.lists.length ? "in time" : "none",
    isBad: stale.length > 0,
    notes: stale.map((one) => `${one.name}: ${ageText(one.age_seconds)} old`),
  };
}

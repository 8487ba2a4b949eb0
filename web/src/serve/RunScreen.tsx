// A run: its steps, how far it is, and putting back what it removed.

import { useSignal, type Signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { quoted } from "../command";
import { numberText, plural } from "../text";
import type { Refused } from "./api";
import { Following } from "./Following";
import { runText, sizeOr } from "./format";
import { active, changed, isWriting } from "./jobs";
import type { Job, Run, RunDetail, Step } from "./model";
import { Pager } from "./Pager";
import { Command, Dialog, Failure, Read, Title, When } from "./parts";
import { runPath, wherePath } from "./route";
import { commandFor, may, start, useReading } from "./state";

const LIMIT = 100;
const LOOKED_AT = 3_000; // ms

export function RunScreen({ run }: { run: string }) {
  const offset = useSignal(0);
  const detail = useReading<RunDetail>(`runs/${encodeURIComponent(run)}?offset=${offset.value}&limit=${LIMIT}`, ["runs"]);
  const isAtWork = (detail.value.value?.progress ?? null) !== null;
  useEffect(() => {
    if (!isAtWork) return undefined;
    const timer = setInterval(() => changed("runs"), LOOKED_AT); // it may be of a process that this server did not start
    return () => clearInterval(timer);
  }, [isAtWork]);
  return (
    <>
      <Title>Run {run}</Title>
      <Read of={detail.value}>{(found) => <Shown found={found} offset={offset} />}</Read>
      {detail.value.value !== null && <Commands found={detail.value.value} />}
    </>
  );
}

function Commands({ found: { run, command, can_undo, can_resume } }: { found: RunDetail }) {
  const what = can_resume ? "To resume it in a terminal" : can_undo && !run.unfinished ? "To put it back in a terminal" : null;
  return (
    <>
      <Command command={commandFor(`history ${quoted(run.run)}`)} />
      {what !== null && <Command command={command} what={what} />}
    </>
  );
}

function Shown({ found, offset }: { found: RunDetail; offset: Signal<number> }) {
  const { run } = found;
  const chosen = useSignal<ReadonlySet<string>>(new Set());
  const failure = useSignal<Refused | null>(null);
  const job = useSignal<Job | null>(null);
  const asked = useSignal<"all" | "chosen" | "resume" | null>(null);
  // At most one job writes at a time: it is of this run, if this run is at work.
  const running = found.progress !== null ? active.value.find(isWriting) : undefined;

  async function act(): Promise<void> {
    const what = asked.value;
    asked.value = null;
    const images = what === "chosen" ? [...chosen.value] : null;
    const at = `runs/${encodeURIComponent(run.run)}`;
    job.value =
      what === "resume" ? await start(`${at}/resume`, {}, failure) : await start(`${at}/undo`, { images }, failure);
    if (job.value !== null) chosen.value = new Set();
  }

  return (
    <>
      <Facts found={found} />
      {found.progress !== null && running === undefined && <RunProgress progress={found.progress} />}
      <Failure error={failure.value} />
      {(job.value ?? running) && <Following job={(job.value ?? running) as Job} />}
      {may("approver") && (
        <p class="actions">
          {found.can_resume && (
            <button type="button" class="main" onClick={() => (asked.value = "resume")}>
              Resume it
            </button>
          )}
          {found.can_undo && (
            <>
              <button type="button" onClick={() => (asked.value = "all")}>
                Put everything back
              </button>
              <button type="button" disabled={chosen.value.size === 0} onClick={() => (asked.value = "chosen")}>
                Put {numberText(chosen.value.size)} chosen back
              </button>
            </>
          )}
        </p>
      )}
      {run.partly_undone && <PartlyBack run={run.run} />}
      <Steps found={found} chosen={chosen} offset={offset} canChoose={found.can_undo && may("approver")} />
      {asked.value !== null && (
        <Dialog title={asked.value === "resume" ? "Resume this run?" : "Put back what this run removed?"} onClose={() => (asked.value = null)}>
          <p>
            {asked.value === "resume" && "What it began is finished: what is no longer as it was planned stays."}
            {asked.value === "all" && `Everything that ${run.run} removed, and that the registry still has, gets its tags again.`}
            {asked.value === "chosen" && `${plural(chosen.value.size, "image")}, if the registry still has them, get their tags again.`}
          </p>
          {asked.value === "chosen" && <ul class="names">{[...chosen.value].slice(0, 100).map((one) => <li key={one}>{one}</li>)}</ul>}
          <form method="dialog" class="actions">
            <button type="button" class="main" onClick={() => void act()}>
              {asked.value === "resume" ? "Resume" : "Put back"}
            </button>
            <button type="submit">Cancel</button>
          </form>
        </Dialog>
      )}
    </>
  );
}

/** Which undo put a part of a run back; the steps of the run do not say it. */
function PartlyBack({ run }: { run: string }) {
  const runs = useReading<{ total: number; runs: Run[] }>("runs?offset=0&limit=50", ["runs"]);
  const undos = runs.value.value?.runs.filter((one) => one.undoes === run) ?? [];
  return (
    <p>
      Partly put back: see{" "}
      {undos.length === 0 ? (
        <>
          the undo among the <a href="/runs">runs</a>
        </>
      ) : (
        undos.map((one, at) => (
          <span key={one.run}>
            {at > 0 && ", "}the undo run <a href={runPath(one.run)}>{one.run}</a>
          </span>
        ))
      )}
      .
    </p>
  );
}

function RunProgress({ progress }: { progress: { done: number; total: number } }) {
  return (
    <p class="progress">
      <progress aria-label="Steps of this run" max={progress.total} value={progress.done} />
      <span aria-live="polite">
        {numberText(progress.done)} of {plural(progress.total, "step")}
      </span>
    </p>
  );
}

function Facts({ found: { run } }: { found: RunDetail }) {
  const by = [run.by, run.host].filter(Boolean).join("@");
  return (
    <dl class="facts-of">
      <div>
        <dt>State</dt>
        <dd>{runText(run)}</dd>
      </div>
      <div>
        <dt>When</dt>
        <dd>
          <When when={run.when} /> {by && `by ${by}`}
        </dd>
      </div>
      <div>
        <dt>Command</dt>
        <dd>
          <code>{run.command}</code>
        </dd>
      </div>
      {run.planned_by && (
        <div>
          <dt>Planned by</dt>
          <dd>{run.planned_by}</dd>
        </div>
      )}
      {run.approved_by && run.approved_by.length > 0 && (
        <div>
          <dt>Approved by</dt>
          <dd>{run.approved_by.join(", ")}</dd>
        </div>
      )}
      {run.undoes === null ? (
        <div>
          <dt>Removed</dt>
          <dd>
            {plural(run.removed, "tag")}, {plural(run.digests, "manifest")}
            {run.reclaimable_bytes !== null && `; frees ${sizeOr(run.reclaimable_bytes, run.exact)}`}
          </dd>
        </div>
      ) : (
        <div>
          <dt>Puts back</dt>
          <dd>
            <a href={runPath(run.undoes)}>{run.undoes}</a>
          </dd>
        </div>
      )}
      {run.collected !== null && (
        <div>
          <dt>Collected</dt>
          <dd>
            <When when={run.collected} />: its garbage is gone
          </dd>
        </div>
      )}
    </dl>
  );
}

interface StepsProps {
  found: RunDetail;
  chosen: Signal<ReadonlySet<string>>;
  offset: Signal<number>;
  canChoose: boolean;
}

/** The images of a step, as a person names them. */
export function namesOf(step: Pick<Step, "repository" | "tags" | "digest">): string[] {
  return step.tags.length ? step.tags.map((tag) => `${step.repository}:${tag}`) : [`${step.repository}@${step.digest}`];
}

function Steps({ found, chosen, offset, canChoose }: StepsProps) {
  const caption = `${plural(found.total, "step")}`;
  return (
    <>
      <div class="table" tabIndex={0} role="region" aria-label={caption}>
        <table class="stacked" role="table">
          <caption>{caption}</caption>
          <thead role="rowgroup" class="plain">
            <tr role="row">
              {["Image", "Result", "Because", "Digest"].map((title) => (
                <th key={title} scope="col" role="columnheader">
                  {title}
                </th>
              ))}
            </tr>
          </thead>
          <tbody role="rowgroup">
            {found.steps.map((step, at) => (
              <StepRow key={at} step={step} chosen={chosen} canChoose={canChoose && step.result === "removed"} />
            ))}
          </tbody>
        </table>
      </div>
      <Pager offset={offset} limit={LIMIT} total={found.total} of="steps" />
    </>
  );
}

function StepRow({ step, chosen, canChoose }: { step: Step; chosen: Signal<ReadonlySet<string>>; canChoose: boolean }) {
  const names = namesOf(step);
  const isChosen = names.every((one) => chosen.value.has(one));
  function choose(): void {
    const next = new Set(chosen.value);
    for (const one of names) {
      if (isChosen) next.delete(one);
      else next.add(one);
    }
    chosen.value = next;
  }
  return (
    <tr role="row">
      <th scope="row" role="rowheader">
        {canChoose && step.tags.length > 0 && (
          <input type="checkbox" aria-label={`Choose ${names.join(", ")}`} checked={isChosen} onChange={choose} />
        )}{" "}
        {names.map((one, at) => (
          <span key={one}>
            {at > 0 && ", "}
            <a href={wherePath(step.tags.length ? one : step.digest)}>{one}</a>
          </span>
        ))}
      </th>
      <td role="cell" data-of="Result">
        {step.result === "failed" ? <strong class="action REMOVE">failed</strong> : step.result}
        {step.why && `: ${step.why}`}
      </td>
      <td role="cell" data-of="Because">
        {step.because ?? ""}
      </td>
      <td role="cell" data-of="Digest">
        <code>{step.digest.slice(0, 19)}</code>
      </td>
    </tr>
  );
}

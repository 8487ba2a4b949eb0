// The runs: what each removed, and what became of it.

import { useSignal } from "@preact/signals";
import { numberText, plural } from "../text";
import { runText, sizeOr } from "./format";
import { active, isWriting } from "./jobs";
import type { Run } from "./model";
import { Pager } from "./Pager";
import { Command, Progress, Read, Title, When } from "./parts";
import { runPath } from "./route";
import { commandFor, useReading } from "./state";

const LIMIT = 50;

export function Runs() {
  const offset = useSignal(0);
  const runs = useReading<{ total: number; runs: Run[] }>(`runs?offset=${offset.value}&limit=${LIMIT}`, ["runs"]);
  const now = active.value.filter(isWriting);
  return (
    <>
      <Title>Runs</Title>
      {now.map((job) => (
        <Progress key={job.id} job={job} />
      ))}
      <Read of={runs.value}>
        {(found) =>
          found.total === 0 ? (
            <p>No run is recorded.</p>
          ) : (
            <>
              <RunTable runs={found.runs} caption={`${plural(found.total, "run")}${found.total > 1 ? ", the newest first" : ""}`} />
              <Pager offset={offset} limit={LIMIT} total={found.total} of="runs" />
            </>
          )
        }
      </Read>
      <Command command={commandFor("history")} />
    </>
  );
}

const COLUMNS = ["Run", "When", "Removed", "Frees", "By", "State", "Command"];

const HEADS: Record<string, string> = { Removed: "n", Frees: "n", Command: "line" };

export function RunTable({ runs, caption, isTitled = false }: { runs: Run[]; caption: string; isTitled?: boolean }) {
  return (
    <div class="table" tabIndex={0} role="region" aria-label={caption}>
      <table class="stacked words" role="table">
        <caption class={isTitled ? "unseen" : undefined}>{caption}</caption>
        <thead role="rowgroup" class="plain">
          <tr role="row">
            {COLUMNS.map((title) => (
              <th key={title} scope="col" role="columnheader" class={HEADS[title]}>
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {runs.map((run) => (
            <RunRow key={run.run} run={run} />
          ))}
        </tbody>
      </table>
    </div>
  );
}

/** What became of a run; an undo leads to what it put back. */
export function State({ run }: { run: Run }) {
  if (run.unfinished) return <strong class="action REMOVE">{runText(run)}</strong>;
  if (run.undoes === null) return <>{runText(run)}</>;
  return (
    <>
      puts back <a href={runPath(run.undoes)}>{run.undoes}</a>
    </>
  );
}

function RunRow({ run }: { run: Run }) {
  const by = [run.by, run.host].filter(Boolean).join("@");
  return (
    <tr role="row">
      <th scope="row" role="rowheader">
        <a href={runPath(run.run)}>{run.run}</a>
      </th>
      <td role="cell" data-of="When">
        <When when={run.when} />
      </td>
      <td role="cell" class="n" data-of="Removed">
        {run.undoes === null ? numberText(run.removed) : ""}
      </td>
      <td role="cell" class="n" data-of="Frees">
        {run.undoes === null ? sizeOr(run.reclaimable_bytes, run.exact) : ""}
      </td>
      <td role="cell" data-of="By">
        {by}
      </td>
      <td role="cell" data-of="State">
        <State run={run} />
      </td>
      <td role="cell" class="line" data-of="Command">
        <code class="one-line" title={run.command}>
          {run.command}
        </code>
      </td>
    </tr>
  );
}

// Health: what is wrong, and the command that mends it or shows more.

import { useSignal } from "@preact/signals";
import { plural } from "../text";
import type { Refused } from "./api";
import { Following } from "./Following";
import type { Finding, Job, Report } from "./model";
import { Command, Copy, Failure, Read, Title, When } from "./parts";
import { commandFor, may, start, useReading } from "./state";

const HOW = {
  registry: "Every tag and index was read.",
  storage: "The registry's own storage was read.",
  records: "Not checked since the last reading; these come from the records.",
};

export function Health() {
  const report = useReading<Report>("report", ["report"]);
  const failure = useSignal<Refused | null>(null);
  const job = useSignal<Job | null>(null);
  return (
    <>
      <Title>Health</Title>
      {may("planner") && (
        <p class="actions">
          <button type="button" onClick={() => void start("check", {}, failure).then((one) => (job.value = one))}>
            Check now
          </button>
        </p>
      )}
      <Failure error={failure.value} />
      {job.value !== null && <Following job={job.value} />}
      <Read of={report.value}>
        {({ health, made }) => (
          <>
            <p class="quiet">
              {HOW[health.checked]} As of <When when={made} />.
              {health.checked === "records" && may("planner") && " Check now reads every tag and index."}
            </p>
            {health.findings.length === 0 ? <p>{health.checked === "records" ? "The records show nothing that is wrong." : "Nothing was found."}</p> : <Findings findings={health.findings} />}
            {health.left_out > 0 && <p>and {plural(health.left_out, "finding")} more</p>}
          </>
        )}
      </Read>
      <Command command={commandFor("doctor")} />
    </>
  );
}

function Findings({ findings }: { findings: Finding[] }) {
  const caption = plural(findings.length, "finding");
  return (
    <div class="table" tabIndex={0} role="region" aria-label={caption}>
      <table class="stacked" role="table">
        <caption>{caption}</caption>
        <thead role="rowgroup" class="plain">
          <tr role="row">
            {["What", "Found", "Command"].map((title) => (
              <th key={title} scope="col" role="columnheader">
                {title}
              </th>
            ))}
          </tr>
        </thead>
        <tbody role="rowgroup">
          {findings.map((one, at) => (
            <tr key={at} role="row">
              <th scope="row" role="rowheader">
                {one.broken && <span class="badge bad">broken</span>} {one.check}
              </th>
              <td role="cell" data-of="Found">
                {one.found}
              </td>
              <td role="cell" data-of="Command">
                {one.command !== null && <Copy command={one.command} />}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

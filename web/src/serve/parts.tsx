// What several screens have: a command to copy, what failed, how far a job is, a dialog.

import { useSignal, type Signal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import type { Refused } from "./api";
import { agoText, progressText, timeText } from "./format";
import { active, failedReading, isActive, isWriting, jobs } from "./jobs";
import type { Job } from "./model";
import { may, notice, start, type Reading } from "./state";

/** The command that shows or does the same, and a button that copies it. */
export function Command({ command, what = "The same in a terminal" }: { command: string | null; what?: string }) {
  if (!command) return null;
  return (
    <p class="same">
      {what}: <Copy command={command} />
    </p>
  );
}

export function Copy({ command }: { command: string }) {
  const done = useSignal(false);
  async function copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(command);
      done.value = true;
      notice.value = "Copied.";
    } catch {
      notice.value = "The browser does not let the page copy: select the command instead.";
    }
  }
  return (
    <span class="copy">
      <code>{command}</code>{" "}
      <button type="button" class="small" aria-label={`${done.value ? "Copied" : "Copy"} ${command}`} onClick={() => void copy()} onBlur={() => (done.value = false)}>
        {done.value ? "Copied" : "Copy"}
      </button>
    </span>
  );
}

/** What the API refused, and what it advises. */
export function Failure({ error }: { error: Refused | null }) {
  if (error === null) return null;
  return (
    <div class="alarm" role="alert">
      <strong>{error.message}</strong>
      {error.advice && <p>{error.advice}</p>}
    </div>
  );
}

/** What was read, or why it is not there: it is still read, it is not made yet, it failed. */
export function Read<Answer>({ of, children }: { of: Reading<Answer>; children: (value: Answer) => ComponentChildren }) {
  const { value, error } = of;
  if (value !== null) {
    return (
      <>
        <Failure error={error} />
        {children(value)}
      </>
    );
  }
  if (error === null) return <p class="quiet" role="status">Loading…</p>;
  if (error.status !== 503) return <Failure error={error} />;
  const failed = failedReading([...jobs.value.values()]);
  if (failed !== null) {
    return (
      <>
        <JobFailure job={failed} />
        {may("planner") && <p>Refresh, at the top, tries it again.</p>}
      </>
    );
  }
  return (
    <div class="pending" role="status">
      <p>{error.message}</p>
      {error.advice && <p class="quiet">{error.advice}</p>}
      {active.value.map((job) => <Progress key={job.id} job={job} />)}
    </div>
  );
}

/** Why a job failed, and what to do. */
export function JobFailure({ job }: { job: Job }) {
  return (
    <div class="alarm" role="alert">
      <strong>{job.what} failed:</strong> {job.message ?? "it does not say why"}
      {job.advice && <p>{job.advice}</p>}
    </div>
  );
}

/** How far a job is, or how it ended. */
export function Progress({ job }: { job: Job }) {
  const how = job.state === "waiting" ? "waiting" : progressText(job);
  const id = useId();
  return (
    <div class="progress">
      <span id={id}>{job.what}</span>
      {isActive(job) ? (
        <>
          <progress aria-labelledby={id} {...(job.total > 0 ? { max: job.total, value: job.done } : {})} />
          <span>{how}</span>
          <Stop job={job} />
        </>
      ) : (
        <span>{job.state === "failed" ? `failed: ${job.message ?? "it does not say why"}` : job.message ? `done: ${job.message}` : "done"}</span>
      )}
      {job.state === "failed" && job.advice && <p>{job.advice}</p>}
    </div>
  );
}

/** A button that ends a job in good order, as Ctrl-C does; for who may. It shows a refusal, unless `failure` takes it. */
export function Stop({ job, failure: elsewhere }: { job: Job; failure?: Signal<Refused | null> }) {
  const own = useSignal<Refused | null>(null);
  const failure = elsewhere ?? own;
  if (!may(isWriting(job) ? "approver" : "planner")) return null;
  return (
    <>
      <button type="button" class="small" aria-label={`Stop: ${job.what}`} onClick={() => void start(`jobs/${encodeURIComponent(job.id)}/cancel`, {}, failure)}>
        Stop
      </button>
      <Failure error={own.value} />
    </>
  );
}

/** A time, and how long ago it was. */
export function When({ when }: { when: string | null }) {
  if (when === null) return null;
  return (
    <time dateTime={when} title={agoText(when, Date.now())}>
      {timeText(when)}
    </time>
  );
}

interface DialogProps {
  title: string;
  onClose: () => void;
  children: ComponentChildren;
}

/** A dialog that is open for as long as it is drawn; Escape closes it. */
export function Dialog({ title, onClose, children }: DialogProps) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus();
  }, []);
  return (
    <dialog ref={dialog} aria-labelledby={id} onClose={onClose}>
      <h2 id={id}>{title}</h2>
      {children}
    </dialog>
  );
}

/** The heading of a screen, which has the focus when the screen is opened. */
export function Title({ children }: { children: ComponentChildren }) {
  return (
    <h1 id="title" tabIndex={-1}>
      {children}
    </h1>
  );
}

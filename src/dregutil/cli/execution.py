"""Carries out a plan: confirmation, brake, lock, record, apply, report. Shared by all commands that remove."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from dregutil.cli.consent import agreed, is_on_terminal
from dregutil.cli.interrupt import stop_on_signals
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import BrakeError, JournalError, PlanRefusedError
from dregutil.journal.record import RunRecord
from dregutil.oci.names import Repository
from dregutil.plan.cleanup import Proposal
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Result, RunResult
from dregutil.report.removal import (
    dangling_lines,
    going_text,
    left_lines,
    plan_lines,
    question,
    removed_lines,
    removed_steps,
    signature_tags,
    summary_lines,
    tag_lines,
)
from dregutil.report.terminal import width_of
from dregutil.session.sync import Session

__all__ = ["INTERRUPTED", "Undertaking", "carry_out", "tell_unfinished", "warn_of_state"]

INTERRUPTED = 130


@dataclass(frozen=True)
class Undertaking:
    """A plan to carry out, with its context.

    `earlier`: the record of an interrupted run of this plan. `reviewed`: the user named the plan's checksum. `saved`:
    the plan comes from a file. `deadline` is on the clock of `time.monotonic`: no step starts after it, and the rest
    is dropped. `shown` replaces the plan before the question; `proposal` is that of a cleanup. `on_result` gets the
    result before it is shown.
    """

    plan: Plan
    unmatched: int = 0
    seconds: float | None = None
    earlier: RunRecord | None = None
    reviewed: bool = False
    saved: bool = False
    deadline: float | None = None
    shown: tuple[str, ...] = ()
    proposal: Proposal | None = None
    on_result: Callable[[RunResult], None] | None = None

    @property
    def rest(self) -> Plan:
        """The plan; of an interrupted run, the steps that are left."""
        if self.earlier is None:
            return self.plan
        steps = tuple(step for step in self.plan.steps if step.number not in self.earlier.outcomes)
        reclaim = replace(self.plan.reclaim, reclaimable_bytes=max(0, sum(step.frees for step in steps)), exact=False)
        return replace(self.plan, steps=steps, reclaim=reclaim)

    @property
    def is_over(self) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and time.monotonic() >= self.deadline


def carry_out(args: argparse.Namespace, settings: Settings, registry: Session, work: Undertaking) -> int:
    """Ask, apply, record, report; returns the exit code. Raises DregutilError before anything is sent, such as
    BrakeError."""
    if not _agreed_to(args, settings, registry, work):
        note(settings, "nothing was removed")
        return 0
    run = "" if work.earlier is None else work.earlier.run  # other processes may carry it out at the same time
    with registry.lock(run=run), stop_on_signals() as stop:
        tell_unfinished(settings, registry, work)
        if work.earlier is not None:
            result = registry.resume(work.earlier.run, stop=stop)
        else:
            result = registry.apply(
                work.proposal or work.plan, confirm_tags=work.plan.removed_tags, stop=stop, ends_at=work.deadline
            )
    if work.on_result is not None:
        work.on_result(result)
    return _report(args, settings, work, result)


def warn_of_state(registry: Session) -> None:
    """Warn if the record for `undo` may be lost with this machine or container."""
    why = registry.why_records_are_short_lived()
    if why:
        sys.stderr.write(
            f"dregutil: warning: {why}: the record for `undo` may be lost with it\n"
            "  name a persistent folder with --state-dir (DREGUTIL_STATE_DIR)\n"
        )


def _agreed_to(args: argparse.Namespace, settings: Settings, registry: Session, work: Undertaking) -> bool:
    is_reviewed = work.reviewed and args.yes_remove is None  # a number that is given must be the right one
    braked = () if is_reviewed or work.earlier is not None else registry.braked(work.plan)
    asks = is_on_terminal() and args.yes_remove is None and bool(braked or not args.yes)
    if asks:
        if work.rest is not work.plan:
            done = len(work.plan.steps) - len(work.rest.steps)
            note(settings, f"{done:,} of {len(work.plan.steps):,} steps are done; the others:")
        sys.stderr.write(f"PLAN, nothing is removed yet · {settings.address.name}\n")
        sys.stderr.writelines(f"{line}\n" for line in work.shown or _plan_lines(settings, work))
    warn_of_state(registry)
    if braked:
        return _lets_through(args, settings, work.plan, braked, asks=asks)
    return agreed(question(work.rest, settings.address.name)) if asks else True


def _plan_lines(settings: Settings, work: Undertaking) -> Iterable[str]:
    return plan_lines(
        work.rest,
        unmatched=work.unmatched,
        undo=settings.advised("undo"),
        seconds=work.seconds,
        width=width_of(sys.stderr),
        is_saved=work.saved or work.earlier is not None,
    )


def _lets_through(
    args: argparse.Namespace, settings: Settings, plan: Plan, braked: tuple[Repository, ...], *, asks: bool
) -> bool:
    number = plan.removed_tags
    counted = f" ({going_text(plan.steps)})" if signature_tags(plan.steps) else ""
    if asks:
        where = f"{_named(braked)} in {settings.address.name}"
        sys.stderr.write(f"This removes most of {where}. Type the number of tags to remove, {number}{counted}: ")
        sys.stderr.flush()
        return sys.stdin.readline().strip() == str(number)
    if args.yes_remove == number:
        return True
    given = "" if args.yes_remove is None else f", not {args.yes_remove}"
    raise BrakeError(
        f"this plan removes {number} tags{counted}{given}, and more than half of what {_named(braked)} has: "
        "nothing was removed",
        advice=f"review it with --dry-run; to remove it anyway, add --yes-remove {number}",
    )


def _named(repositories: tuple[Repository, ...]) -> str:
    shown = ", ".join(repositories[:3])
    return shown if len(repositories) <= 3 else f"{shown} and {len(repositories) - 3} more"


def tell_unfinished(settings: Settings, registry: Session, work: Undertaking) -> None:
    """Name the interrupted runs on this registry."""
    own = "" if work.earlier is None else work.earlier.run
    for header, how in registry.interrupted():
        if header.run != own:
            note(settings, f"the run {header.run} was interrupted; {settings.advised(how)} continues it")


def _report(args: argparse.Namespace, settings: Settings, work: Undertaking, result: RunResult) -> int:
    run = result.id
    is_saved = work.saved or work.earlier is not None
    summary = summary_lines(work.plan, result, run=run, advised=settings.advised, is_saved=is_saved)
    tags = tag_lines(result, undo=settings.advised(f"undo {run}"))
    if result.ran_out_of_time:
        left = sum(outcome.result is Result.LEFT for outcome in result.outcomes)
        note(settings, f"--max-time is over: {left:,} of {len(work.plan.steps):,} steps are left for the next run")
        lines = [*tags, *dangling_lines(work.plan), *summary]
    else:
        lines = [*left_lines(result), *tags, *dangling_lines(work.plan), *summary]
    for line in lines:
        note(settings, line)
    removed = removed_steps(result)
    objects: list[dict[str, object]] = [
        {"repository": step.repository, "digest": step.digest, "tags": list(step.tags), "other_tags": []}
        for step in removed
    ]
    emit(settings, objects, removed_lines(removed, width=width_of(sys.stdout)))
    count(settings, "removed digests", len(removed))
    return _exit_code(args, settings, work, run, result)


def _exit_code(args: argparse.Namespace, settings: Settings, work: Undertaking, run: str, result: RunResult) -> int:
    done = result.of(Result.REMOVED) or result.of(Result.GONE)
    if result.error is not None:
        if done or result.lost:
            advice = result.error.advice
            if run and not isinstance(result.error, JournalError):  # a full disk needs room first
                advice = f"{settings.advised(f'apply --resume {run}')} continues it"
            sys.stderr.write(f"dregutil: {result.error.message}\n  {advice}\n")
            return PARTIAL
        raise result.error
    if result.interrupted:
        return INTERRUPTED
    if result.of(Result.FAILED):
        return PARTIAL if done else 1
    if result.unmended or result.broken or result.still_listed:
        return PARTIAL
    if work.saved and len(result.of(Result.LEFT)) == len(result.outcomes):
        raise PlanRefusedError(
            "none of the plan's steps applies any more: nothing was removed",
            advice="make the plan again with --plan-out",
        )
    return PARTIAL if args.strict and (result.of(Result.LEFT) or result.vanished) else 0

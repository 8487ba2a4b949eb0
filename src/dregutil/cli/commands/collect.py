"""`collect`: runs the registry's own garbage collector, and compares what it frees with what was predicted."""

from __future__ import annotations

import argparse
import shlex
import sys

from dregutil.cli.consent import agreed, check_consent
from dregutil.cli.execution import INTERRUPTED
from dregutil.cli.interrupt import stop_on_signals
from dregutil.cli.opened import opened
from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.errors import RefusedError, UsageError, escaped
from dregutil.plan.collection import CollectionPlan
from dregutil.report.collection import (
    collection_object,
    final_lines,
    freed_lines,
    plan_object,
    predicted_lines,
    problem_lines,
)
from dregutil.report.units import plural, size_text
from dregutil.session.results import CollectionRun

__all__ = ["collect"]

_FIRST = "interrupted: the collector is sent SIGINT; what it freed is compared when it has ended"
_SECOND = "still waiting for the collector; another signal ends dregutil at once, and the collector may go on"


def collect(args: argparse.Namespace, settings: Settings) -> int:
    if settings.storage is None:
        raise UsageError("no storage was named", advice="name the registry's own storage with --storage PATH")
    check_consent(args, "--dry-run shows what would be freed; -y collects without asking")
    with opened(settings) as registry, registry.lock():
        plan = registry.plan_collection(
            args.collector_command, keep_undo=args.keep_undo, assume_read_only=args.assume_read_only
        )
        for line in final_lines(plan) if args.dry_run or not plan.refusals else ():
            note(settings, line)
        if not plan.is_running and (args.dry_run or not plan.refusals):
            note(settings, f"nothing listens at {settings.address.name}: the registry counts as stopped")
        if args.dry_run:
            emit(settings, [plan_object(plan)], predicted_lines(plan))
        for refusal in plan.refusals:
            raise RefusedError(f"{refusal.why}; nothing was collected", advice=refusal.advice)
        if args.dry_run:
            return 0
        if not args.yes and not agreed(_question(settings, plan)):
            note(settings, "nothing was collected")
            return 0
        with stop_on_signals(_FIRST, _SECOND) as stop:
            run = registry.collect(plan, stop=stop)
    return _report(settings, run)


def _question(settings: Settings, plan: CollectionPlan) -> str:
    up_to = "" if plan.is_exact else "up to "
    what = f"{up_to}{plural(plan.blobs, 'blob')} ({size_text(plan.size)})"
    return f"Run `{shlex.join(plan.command.words)}`, which frees {what} of {settings.address.name}?"


def _report(settings: Settings, run: CollectionRun) -> int:
    emit(settings, [collection_object(run)], freed_lines(run))
    for why, advice in problem_lines(run):
        sys.stderr.write(f"dregutil: {escaped(why)}\n  {escaped(advice)}\n")
    if run.plan.is_running and run.comparison is not None and run.comparison.freed:
        note(settings, "restart the registry before it takes pushes: its cache may name what is gone")
    if run.is_as_predicted:
        return 0
    damaged = run.comparison is None or run.comparison.broken or run.comparison.taken or run.comparison.broken_untagged
    return INTERRUPTED if run.exit.interrupted and not damaged else 1

"""`apply`: carries out a saved plan, or resumes an interrupted run."""

from __future__ import annotations

import argparse
import sys
from itertools import chain
from pathlib import Path

from dregutil.cli.consent import check_consent
from dregutil.cli.execution import Undertaking, carry_out
from dregutil.cli.opened import opened
from dregutil.cli.output import count, emit, note
from dregutil.cli.recorded import recorded
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.storage import read_stored, storage_code
from dregutil.errors import PlanRefusedError, UsageError
from dregutil.plan.file import read_plan
from dregutil.plan.model import Plan
from dregutil.report.removal import brake_lines, plan_lines, plan_objects
from dregutil.report.runs import damage_text
from dregutil.report.terminal import width_of
from dregutil.session.removal import damaged_error
from dregutil.session.sync import Session

__all__ = ["apply"]


def apply(args: argparse.Namespace, settings: Settings) -> int:
    if (args.plan is None) == (args.resume is None):
        raise UsageError("apply needs a plan file or --resume RUN", advice="`dregutil history` lists the runs")
    if args.dry_run and args.resume is not None:
        raise UsageError("--dry-run is for a saved plan", advice="`dregutil history RUN` shows what is left of a run")
    if not args.dry_run:
        check_consent(args, "--dry-run shows what would go; -y removes without asking")
    if args.resume is not None:
        return _resume(args, settings)
    plan, sum_ = read_plan(Path(args.plan))
    _check_is_named(plan, settings, "plan")
    with opened(settings) as registry:
        registry.check_is_own(plan.registry, "plan")
        _check_expected(args.expect, sum_)
        if args.dry_run:
            return _show(args, settings, registry, plan)
        if plan.steps:
            work = Undertaking(plan, reviewed=args.expect is not None, saved=True)
            return _carry_out(args, settings, registry, work)
    note(settings, "the plan removes nothing")
    emit(settings, [], [])
    count(settings, "removed digests", 0)
    return 0


def _show(args: argparse.Namespace, settings: Settings, registry: Session, plan: Plan) -> int:
    now = registry.still_planned(plan)
    head = f"DRY RUN, nothing is removed · {settings.address.name} · checked again just now"
    lines = plan_lines(now, undo=settings.advised("undo"), width=width_of(sys.stdout), is_saved=True)
    emit(settings, plan_objects(now), chain([head], lines, brake_lines(now)))
    if plan.steps and not now.steps:
        raise PlanRefusedError("none of the plan's steps applies any more", advice="make the plan again")
    return PARTIAL if args.strict and len(now.steps) < len(plan.steps) else 0


def _resume(args: argparse.Namespace, settings: Settings) -> int:
    if settings.registry is None:
        with recorded(settings) as records:
            named = records.runs.get(args.resume)
        if not named.plan.registry:
            raise damaged_error(named, settings.advised)
        _check_is_named(named.plan, settings, "run")
    with opened(settings) as registry:
        record = registry.to_resume(args.resume)
        if record is None:
            note(settings, f"{registry.run(args.resume).run} has nothing left to do")
            return 0
        if record.damaged:
            note(settings, damage_text(record))
        code = _carry_out(args, settings, registry, Undertaking(record.plan, earlier=record))
        return max(code, PARTIAL if record.damaged else 0)


def _carry_out(args: argparse.Namespace, settings: Settings, registry: Session, work: Undertaking) -> int:
    stored = read_stored(registry, settings)
    return max(carry_out(args, settings, registry, work), storage_code(stored))


def _check_is_named(plan: Plan, settings: Settings, what: str) -> None:
    if settings.registry is None:
        raise UsageError(
            f"no registry was named, and the {what} is for {plan.registry}",
            advice=f"add -reg {plan.registry} if that is the one: a file never chooses where credentials go",
        )


def _check_expected(expected: str | None, sum_: str) -> None:
    if expected is not None and expected not in (sum_, sum_.partition(":")[2]):
        raise PlanRefusedError(
            f"the plan is {sum_}, not the expected one", advice="review it again; nothing was removed"
        )

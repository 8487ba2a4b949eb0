"""`plans`: what waits in the shared store for people to approve it."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime

from dregutil.cli.approving import stored_plans
from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.journal.actor import user_name
from dregutil.plan.file import decode_plan
from dregutil.report.removal import brake_lines, plan_lines, plan_objects, policy_source_lines
from dregutil.report.stored_plans import (
    refusal_of,
    short_sum,
    stored_plan_object,
    stored_plan_pairs,
    stored_plan_row,
)
from dregutil.report.terminal import width_of
from dregutil.report.text import column_lines, pair_lines
from dregutil.report.units import plural
from dregutil.store.plans import Plans, StoredPlan

__all__ = ["plans"]

_MOST_SHOWN = 50


def plans(args: argparse.Namespace, settings: Settings) -> int:
    if (args.action == "list") != (args.sum is None):
        what = "takes no SUM" if args.action == "list" else "needs the SUM of a plan"
        raise UsageError(f"plans {args.action} {what}", advice="`dregutil plans` lists the plans that wait")
    if args.because and args.action != "reject":
        raise UsageError("--because is for `plans reject`")
    with stored_plans(settings) as found:
        if args.action == "list":
            _list(args, settings, found)
        elif args.action == "show":
            _show(args, settings, found)
        elif args.action == "approve":
            _tell(settings, found.approve(found.find(args.sum).sum, user_name()))
        else:
            _tell(settings, found.reject(found.find(args.sum).sum, user_name(), args.because or ""))
    return 0


def _list(args: argparse.Namespace, settings: Settings, found: Plans) -> None:
    registry = None if settings.registry is None else settings.registry.key
    listed = found.all(registry=registry, is_open=not args.all)
    if not listed:
        note(settings, "there are no plans" if args.all else "no plan waits; --all lists those that ended, too")
    now = datetime.now(UTC)
    lines = column_lines([stored_plan_row(one, now) for one in listed], width=width_of(sys.stdout)) if listed else ()
    emit(settings, [stored_plan_object(one) for one in listed], lines)


def _show(args: argparse.Namespace, settings: Settings, found: Plans) -> None:
    stored = found.find(args.sum)
    plan, _ = decode_plan(found.body(stored.sum).splitlines(keepends=True))
    width = width_of(sys.stdout)
    lines = [
        *pair_lines(list(stored_plan_pairs(stored, refusal_of(found.stays(stored.sum))))),
        "",
        *plan_lines(
            plan,
            undo=settings.advised("undo"),
            width=width,
            is_saved=True,
            most=None if args.details else _MOST_SHOWN,
        ),
        *brake_lines(plan),
        *policy_source_lines(plan, datetime.now(UTC)),
    ]
    emit(settings, [{"plan": stored.sum, **one} for one in plan_objects(plan)], lines)


def _tell(settings: Settings, plan: StoredPlan) -> None:
    missing = plan.needed - len(plan.approved_by)
    said = {
        "approved": f"approved: a worker carries it out; it removes {plural(plan.tags, 'tag')}",
        "waiting": f"{plural(missing, 'approval')} missing",
        "rejected": "rejected: it will not run",
    }
    note(settings, f"the plan {short_sum(plan.sum)}: {said.get(plan.state, plan.state)}")
    emit(settings, [stored_plan_object(plan)], ())

"""`plan show` and `plan diff`: saved plans, for review. Nothing is read from a registry."""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from pathlib import Path

from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.oci.names import registry_key
from dregutil.plan.diff import plan_changes
from dregutil.plan.file import read_plan
from dregutil.report.plan_diff import change_lines, change_objects
from dregutil.report.removal import brake_lines, plan_lines, plan_objects, policy_source_lines
from dregutil.report.terminal import width_of
from dregutil.report.units import age_text

__all__ = ["plan_command"]

_MOST_SHOWN = 50


def plan_command(args: argparse.Namespace, settings: Settings) -> int:
    wanted = {"show": 1, "diff": 2}[args.action]
    if len(args.file) != wanted:
        raise UsageError(
            f"plan {args.action} needs {'one plan' if wanted == 1 else 'two plans'}, not {len(args.file)}",
            advice="dregutil plan show FILE, or dregutil plan diff OLD NEW",
        )
    return _show(args, settings) if args.action == "show" else _diff(args, settings)


def _show(args: argparse.Namespace, settings: Settings) -> int:
    plan, sum_ = read_plan(Path(args.file[0]))
    age = age_text((datetime.now(UTC) - plan.made_at).total_seconds())
    note(settings, f"{sum_}")
    lines = [
        f"PLAN for {plan.registry} · made {plan.made_at:%Y-%m-%d %H:%M} UTC, {age} ago · {plan.command}",
        *plan_lines(
            plan,
            undo=settings.advised("undo"),
            width=width_of(sys.stdout),
            is_saved=True,
            most=None if args.details else _MOST_SHOWN,
        ),
        *brake_lines(plan),
        *policy_source_lines(plan, datetime.now(UTC)),
    ]
    emit(settings, plan_objects(plan), lines)
    return 0


def _diff(args: argparse.Namespace, settings: Settings) -> int:
    (old, _), (new, _) = (read_plan(Path(name)) for name in args.file)
    if registry_key(old.registry) != registry_key(new.registry):
        raise UsageError(f"the plans are for different registries: {old.registry} and {new.registry}")
    changes = plan_changes(old, new)
    emit(settings, change_objects(changes), change_lines(old, new, changes, width=width_of(sys.stdout)))
    return 0

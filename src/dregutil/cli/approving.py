"""Plans that wait in the shared store for people to approve them."""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from dregutil.cli.named_store import HOW_TO_NAME, opened_store
from dregutil.cli.output import emit, note
from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.journal.actor import user_name
from dregutil.plan.model import Plan
from dregutil.report.stored_plans import short_sum, stored_plan_object
from dregutil.store.plans import Plans

__all__ = ["check_approving", "put_for_approval", "stored_plans"]


def check_approving(args: argparse.Namespace, settings: Settings) -> None:
    """Raises UsageError for options that do not go with --approve."""
    if not args.approve:
        if args.approvals is not None:
            raise UsageError("--approvals is for --approve")
        return
    if settings.store is None:
        raise UsageError(
            "--approve needs a shared store, where the plan waits",
            advice=HOW_TO_NAME,
        )
    if args.approvals is not None and args.approvals < 1:
        raise UsageError(f"--approvals {args.approvals}: at least one person approves a plan")
    for option in ("dry_run", "plan_out", "max_time"):
        if getattr(args, option, None):
            name = f"--{option.replace('_', '-')}"
            raise UsageError(f"--approve and {name} do not go together", advice="give one of them")


@contextmanager
def stored_plans(settings: Settings) -> Iterator[Plans]:
    """The plans of the store that was named. Raises UsageError if there is none, and StoreError."""
    with opened_store(settings) as database:
        yield Plans(database)


def put_for_approval(
    args: argparse.Namespace, settings: Settings, plan: Plan, lines: Iterable[str], stays: bytes | None = None
) -> None:
    """Put a plan into the store, and say which command approves it, after `lines` that show it. `stays`: what its
    policy keeps, for pages. Raises StoreError."""
    for line in lines:
        note(settings, line)
    if not plan.steps:
        note(settings, "nothing to remove")
        emit(settings, [], [])
        return
    with stored_plans(settings) as plans:
        found = plans.add(plan, made_by=user_name(), needed=args.approvals or 1, stays=stays)
    people = "" if found.needed == 1 else f" of {found.needed} people"
    approve = settings.advised(f"plans approve {short_sum(found.sum)}")
    note(
        settings,
        f"the plan waits for approval{people} until {found.expires:%Y-%m-%d %H:%M} UTC: {approve}, "
        "and a worker carries it out",
    )
    emit(settings, [stored_plan_object(found)], [found.sum])

"""`apply`: carries out a saved plan, or goes on with a run that was cut off."""

from __future__ import annotations

import argparse
from pathlib import Path

from dregutil.cli.execution import Undertaking, carry_out
from dregutil.cli.output import count, note
from dregutil.cli.settings import Settings
from dregutil.errors import JournalError, NotFoundError, PlanRefusedError, RefusedError, UsageError
from dregutil.inventory import Inventory
from dregutil.plan import Plan
from dregutil.planfile import decode_plan
from dregutil.runs import RunStore

__all__ = ["apply"]


def apply(args: argparse.Namespace, settings: Settings) -> int:
    if (args.plan is None) == (args.resume is None):
        raise UsageError("apply takes a plan's file or --resume RUN", advice="`dregutil history` lists the runs")
    store = RunStore(settings.state_dir)
    inventory = Inventory()
    if settings.cache is not None:
        inventory = settings.cache.read() or inventory
    indexes = store.known_indexes(settings.address.identity)
    if args.resume is not None:
        record = store.get(args.resume)
        _check_registry(record.plan, settings, "run")
        if record.undoes:
            raise UsageError(f"{record.run} is an undo", advice=f"`dregutil undo {record.undoes}` goes on with it")
        undos = store.undos(record.run, record.plan.registry)
        if undos:
            raise RefusedError(
                f"{record.run} was undone, at least in part, by {undos[-1].run}",
                advice=f"`dregutil undo {record.run}` puts back the rest; then plan the removal anew",
            )
        if record.missing_steps and record.intents:
            raise JournalError(
                f"the record of {record.run} is damaged: some of its steps cannot be read",
                advice=f"`dregutil undo {record.run}` puts back what it removed",
            )
        if record.missing_steps:
            raise NotFoundError(f"{record.run} was cut off before it had begun: nothing was changed by it")
        if not record.is_unfinished:
            note(settings, f"{record.run} has nothing left to do")
            return 0
        work = Undertaking(record.plan, inventory, indexes=indexes, earlier=record)
        return carry_out(args, settings, work)
    plan, sum_ = _read(Path(args.plan))
    _check_registry(plan, settings, "plan")
    _check_expected(args.expect, sum_)
    if not plan.steps:
        note(settings, "the plan removes nothing")
        count(settings, "removed digests", 0)
        return 0
    return carry_out(
        args, settings, Undertaking(plan, inventory, indexes=indexes, reviewed=args.expect is not None, saved=True)
    )


def _read(path: Path) -> tuple[Plan, str]:
    try:
        with path.open("rb") as file:
            return decode_plan(file)
    except OSError as error:
        raise UsageError(f"the plan {path} cannot be read: {error.strerror or error}") from error


def _check_registry(plan: Plan, settings: Settings, what: str) -> None:
    if plan.registry != settings.address.identity:
        raise PlanRefusedError(
            f"the {what} is for {plan.registry}, and -reg names {settings.address.identity}",
            advice=f"name the {what}'s own registry with -reg",
        )


def _check_expected(expected: str | None, sum_: str) -> None:
    if expected is not None and expected not in (sum_, sum_.partition(":")[2]):
        raise PlanRefusedError(
            f"the plan is {sum_}, not the expected one", advice="review it again; nothing was removed"
        )

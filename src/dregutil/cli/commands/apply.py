"""`apply`: carries out a saved plan, or goes on with a run that was cut off."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dregutil.cli.contents import seen_before
from dregutil.cli.execution import Undertaking, carry_out
from dregutil.cli.output import count, emit, note
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.cli.storage import storage_code, stored_registry
from dregutil.errors import DamagedRecordError, NotFoundError, PlanRefusedError, RefusedError, UsageError
from dregutil.files import bounded_lines
from dregutil.inventory.known import Known
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, registry_key
from dregutil.plan.file import decode_plan
from dregutil.plan.model import Plan
from dregutil.report.runs import damage_text

__all__ = ["apply"]

_LONGEST_PLAN = 8 << 30  # bytes: ten million steps


def apply(args: argparse.Namespace, settings: Settings) -> int:
    if (args.plan is None) == (args.resume is None):
        raise UsageError("apply takes a plan's file or --resume RUN", advice="`dregutil history` lists the runs")
    store = RunStore(settings.state_dir)
    work = _saved(args, settings) if args.resume is None else _cut_off(args.resume, settings, store)
    if work is None:
        return 0
    stored = stored_registry(settings)
    inventory = Inventory()
    if settings.cache is not None:
        inventory = settings.cache.read() or inventory
    with seen_before(settings) as seen:
        known = Known(inventory.as_mapping(), _known_indexes(settings, store, work.plan), seen)
        if stored is not None:
            known = known.with_indexes_of(stored)
        code = carry_out(args, settings, replace(work, inventory=inventory, known=known))
    is_damaged = work.earlier is not None and work.earlier.damaged
    return max(code, storage_code(settings), PARTIAL if is_damaged else 0)


def _known_indexes(settings: Settings, store: RunStore, plan: Plan) -> Mapping[Repository, frozenset[Digest]]:
    """The indexes that no tag may name any more: from earlier runs, and, where the plan takes what has no tag, whatever
    lost its last tag by now."""
    found = dict(RunHistory(store, settings.address.identity).known_indexes())
    if plan.removed_untagged:
        sightings = TagHistory(settings.state_dir, settings.address.identity)
        for name in plan.repositories:
            found[name] = found.get(name, frozenset()) | sightings.untagged(name).keys()
    return found


def _saved(args: argparse.Namespace, settings: Settings) -> Undertaking | None:
    """The plan of a file; None where it removes nothing."""
    plan, sum_ = _read(Path(args.plan))
    _check_registry(plan, settings, "plan")
    _check_expected(args.expect, sum_)
    if plan.steps:
        return Undertaking(plan, reviewed=args.expect is not None, saved=True)
    note(settings, "the plan removes nothing")
    emit(settings, [], [])
    count(settings, "removed digests", 0)
    return None


def _cut_off(run: str, settings: Settings, store: RunStore) -> Undertaking | None:
    """A run that is to be taken up; None where nothing of it is left to do."""
    record = store.get(run)
    if not record.plan.registry:
        raise _damaged(record, settings)
    _check_registry(record.plan, settings, "run")
    if record.undoes:
        how = settings.advised(f"undo {record.undoes}")
        raise UsageError(f"{record.run} is an undo", advice=f"{how} goes on with it")
    undos = RunHistory(store, record.plan.registry).undos_of(record.run)
    if undos:
        raise RefusedError(
            f"{record.run} was undone, at least in part, by {undos[-1].run}",
            advice=f"{settings.advised(f'undo {record.run}')} puts back the rest; then plan the removal anew",
        )
    if record.missing_steps and record.intents:
        raise _damaged(record, settings)
    if record.missing_steps:
        raise NotFoundError(f"{record.run} was cut off before it had begun: nothing was changed by it")
    if record.damaged:
        note(settings, damage_text(record))
    if record.is_unfinished:
        return Undertaking(record.plan, earlier=record)
    note(settings, f"{record.run} has nothing left to do")
    return None


def _damaged(record: RunRecord, settings: Settings) -> DamagedRecordError:
    return DamagedRecordError(
        f"the record of {record.run} is damaged: some of its steps cannot be read",
        advice=f"{settings.advised(f'undo {record.run}')} puts back what it removed",
    )


def _read(path: Path) -> tuple[Plan, str]:
    try:
        with path.open("rb") as file:
            return decode_plan(bounded_lines(file, _LONGEST_PLAN))
    except OSError as error:
        raise UsageError(
            f"the plan {path} cannot be read: {error.strerror or error}",
            advice="name a file that --plan-out wrote, or with --resume a run of `dregutil history`",
        ) from error


def _check_registry(plan: Plan, settings: Settings, what: str) -> None:
    if settings.registry is None:
        raise UsageError(
            f"no registry was named, and the {what} is for {plan.registry}",
            advice=f"add -reg {plan.registry} if that is the one: a file never chooses where credentials go",
        )
    if registry_key(plan.registry) != settings.address.key:
        raise PlanRefusedError(
            f"the {what} is for {plan.registry}, and -reg names {settings.address.identity}",
            advice=f"name the {what}'s own registry with -reg",
        )


def _check_expected(expected: str | None, sum_: str) -> None:
    if expected is not None and expected not in (sum_, sum_.partition(":")[2]):
        raise PlanRefusedError(
            f"the plan is {sum_}, not the expected one", advice="review it again; nothing was removed"
        )

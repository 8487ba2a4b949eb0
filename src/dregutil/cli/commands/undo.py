"""`undo`: puts back what a run removed, as far as the registry still has the layers."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from dregutil.apply.clearing import UNCLEAR_ADVICE, unclear_text
from dregutil.apply.undo.plan import UndoEntry, UndoPlan, plan_undo
from dregutil.apply.undo.run import UndoResult, UndoRun, apply_undo
from dregutil.cli.connection import connect_options
from dregutil.cli.execution import INTERRUPTED, agreed, meter_for, warn_of_state
from dregutil.cli.interrupt import run_to_end
from dregutil.cli.other_names import other_name_advice
from dregutil.cli.output import emit, note, plural
from dregutil.cli.repositories import PARTIAL
from dregutil.cli.settings import Settings
from dregutil.errors import DregutilError, JournalError, NotFoundError, PlanRefusedError, UsageError
from dregutil.inventory.tags import Inventory
from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, Tag, registry_key
from dregutil.plan.model import Plan
from dregutil.registry import connect, connect_writable
from dregutil.report.progress import Meter
from dregutil.report.removal import lost_when_cut_off_line
from dregutil.report.runs import damage_text
from dregutil.report.text import column_lines

__all__ = ["undo"]


def undo(args: argparse.Namespace, settings: Settings) -> int:
    store = RunStore(settings.state_dir)
    record = _record(args, settings, store)
    with store.lock(record.plan.registry):
        with meter_for(settings) as meter:
            meter.begin("manifests looked at", len({intent.manifest.digest for intent in record.intents}))
            plan = asyncio.run(_look(settings, record, meter))
        needed = [entry for entry in plan.entries if entry.may_come_back]
        lost = [entry for entry in plan.entries if entry.lost or entry.unread]
        is_partial = bool(lost or plan.lost or record.damaged)
        _tell(settings, record, plan)
        if args.dry_run:
            emit(settings, [_object(entry, "would be restored") for entry in needed], _lines(needed))
            return PARTIAL if is_partial else 0
        if not plan.is_needed:
            note(settings, "nothing can be put back" if lost else "nothing to put back")
            if not is_partial:
                _mark_undone(settings, store, record)
            emit(settings, [], [])
            return PARTIAL if is_partial else 0
        if not args.yes and not agreed(_question(settings, needed)):
            note(settings, "nothing was put back")
            return 0
        result, stopped = _put_back(settings, store, record, plan)
    _update_cache(settings, result)
    code = _report(settings, record, result, stopped=stopped)
    return PARTIAL if (record.damaged or plan.lost) and not code else code


def _question(settings: Settings, needed: Sequence[UndoEntry]) -> str:
    tags, manifests = sum(len(entry.tags) for entry in needed), sum(not entry.is_there for entry in needed)
    what = plural(manifests, "manifest") + (f" ({plural(tags, 'tag')})" if tags else "")
    return f"Put back {what if manifests else plural(tags, 'tag')} in {settings.address.name}?"


def _record(args: argparse.Namespace, settings: Settings, store: RunStore) -> RunRecord:
    registry = settings.address.identity
    found = RunHistory(store, registry).to_be_undone() if args.run is None else store.get(args.run)
    if found is None:
        raise NotFoundError(
            f"no removal of {registry} is recorded that is not undone",
            advice=other_name_advice(settings, store, "undo") or "`dregutil history` lists the runs",
        )
    if not found.plan.registry:  # the line that names it is damaged; -reg does
        found = replace(found, plan=replace(found.plan, registry=registry))
    if registry_key(found.plan.registry) != settings.address.key:
        raise PlanRefusedError(
            f"the run is of {found.plan.registry}, and -reg names {registry}",
            advice="name the run's own registry with -reg",
        )
    if found.undoes:
        raise UsageError(f"{found.run} is an undo itself", advice="remove again what it put back")
    return found


def _mark_undone(settings: Settings, store: RunStore, record: RunRecord) -> None:
    """Note that all of it is there, as after an undo that was cut off at its end: `undo` then takes the run before."""
    registry = record.plan.registry
    if any(not header.is_unfinished for header in RunHistory(store, registry).undos_of(record.run)):
        return
    with suppress(JournalError):
        now = datetime.now(UTC)
        journal = store.begin(Plan(registry, now, settings.command, ()), now, undoes=record.run)
        if not journal.close(now):
            store.mark_ended(journal)


async def _look(settings: Settings, record: RunRecord, meter: Meter) -> UndoPlan:
    async with connect(settings.address, connect_options(settings)) as registry:
        return await plan_undo(registry, record, on_looked=meter.count)


def _tell(settings: Settings, record: RunRecord, plan: UndoPlan) -> None:
    note(settings, f"{record.run}: {record.plan.command}")
    if record.damaged:
        note(settings, f"{damage_text(record)}; what only stood there does not come back")
    for entry in plan.entries:
        if entry.lost or entry.unread:
            what = "cannot come back" if entry.lost else "left, to be tried again"
            names = ", ".join(entry.tags) or "no tags"
            why = entry.lost or entry.unread
            note(settings, f"{what}: {entry.repository} {entry.manifest.digest.short} ({names}): {why}")
        for tag in entry.moved:
            note(settings, f"left alone: {entry.repository}:{tag} names something else now")
    for one in plan.lost:
        note(settings, lost_when_cut_off_line(one))


def _put_back(settings: Settings, store: RunStore, record: RunRecord, plan: UndoPlan) -> tuple[UndoRun, bool]:
    warn_of_state(settings)
    now = datetime.now(UTC)
    nothing = Plan(record.plan.registry, now, settings.command, ())
    journal = store.begin(nothing, now, undoes=record.run)
    stopped = False
    finished: datetime | None = None
    try:

        async def work(stop: asyncio.Event) -> UndoRun:
            nonlocal stopped
            async with connect_writable(settings.address, connect_options(settings)) as registry:
                found = await apply_undo(registry, plan, recorder=journal, stop=stop, on_put=meter.count)
            stopped = stop.is_set()
            return found

        with meter_for(settings) as meter:
            meter.begin("manifests put back", sum(entry.may_come_back for entry in plan.entries))
            result = run_to_end(work)
        if not (stopped or result.is_open or result.of(UndoResult.FAILED)):
            finished = datetime.now(UTC)
    finally:
        if not journal.close(finished) and finished is not None:
            store.mark_ended(journal)
    return result, stopped


def _report(settings: Settings, record: RunRecord, result: UndoRun, *, stopped: bool) -> int:
    restored = result.of(UndoResult.RESTORED)
    for entry, found, why in result.entries:
        if found in (UndoResult.LOST, UndoResult.FAILED) and not entry.lost:
            note(settings, f"{found}: {entry.repository} {entry.manifest.digest.short}: {why}")
    for repository, tag in result.moved:
        note(settings, f"left alone: {repository}:{tag} names something else now")
    for repository, tag, digest in result.repaired:
        note(settings, f"{repository}:{tag} was copied from a tag of the interrupted run, and names {digest.short} now")
    for repository, tag, candidates in result.unclear:
        note(settings, unclear_text(repository, tag, candidates))
    if result.unclear:
        note(settings, UNCLEAR_ADVICE)
    tags = sum(len(entry.tags) for entry in restored) - len(result.moved)
    manifests = sum(not entry.is_there for entry in restored)  # a removal may have taken the tags alone
    note(settings, f"put back {plural(tags, 'tag')} and {plural(manifests, 'manifest')}")
    emit(settings, [_object(entry, UndoResult.RESTORED) for entry in restored], _lines(restored))
    if stopped or result.is_open:
        note(settings, f"unfinished: {settings.advised(f'undo {record.run}')} goes on with it")
    if result.error is not None:
        if restored:
            sys.stderr.write(f"dregutil: {result.error.message}\n  {result.error.advice}\n")
            return PARTIAL
        raise result.error
    if stopped:
        return INTERRUPTED
    return PARTIAL if result.is_open or result.of(UndoResult.LOST) or result.of(UndoResult.FAILED) else 0


def _object(entry: UndoEntry, result: str) -> dict[str, object]:
    return {
        "repository": entry.repository,
        "digest": entry.manifest.digest,
        "tags": list(entry.tags),
        "result": result,
    }


def _lines(entries: tuple[UndoEntry, ...] | list[UndoEntry]) -> list[str]:
    rows = [(entry.repository, entry.manifest.digest, ", ".join(entry.tags)) for entry in entries]
    return [line.rstrip() for line in column_lines(rows)] if rows else []


def _update_cache(settings: Settings, result: UndoRun) -> None:
    if settings.cache is not None:
        with suppress(OSError, DregutilError):
            settings.cache.update(lambda known: _with_restored(known, result))


def _with_restored(known: Inventory, result: UndoRun) -> dict[Repository, dict[Tag, Digest]]:
    found: dict[Repository, dict[Tag, Digest]] = {}
    for entry in result.of(UndoResult.RESTORED):
        tags = found.setdefault(entry.repository, {**known.tags(entry.repository)})
        tags.update(dict.fromkeys(entry.tags, entry.manifest.digest))
    return found

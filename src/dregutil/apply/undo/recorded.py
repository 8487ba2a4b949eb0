"""An undo under its own record: begun before anything is put, and closed as finished only where nothing is left.

Writes the journal, and to the registry through `apply_undo`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

from dregutil.apply.undo.plan import UndoPlan
from dregutil.apply.undo.run import UndoResult, UndoRun, apply_undo
from dregutil.errors import JournalError
from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.oci.names import Reference
from dregutil.plan.model import Plan
from dregutil.registry.reader import Registry

__all__ = ["mark_undone", "undo_recorded"]


async def undo_recorded(
    registry: Registry,
    record: RunRecord,
    plan: UndoPlan,
    store: RunStore,
    *,
    command: str,
    on_put: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
) -> UndoRun:
    """Put back what `plan` found of the run `record`. The caller holds the store's lock.

    Raises JournalError where nothing can be recorded; what fails later is in the result.
    """
    stop = stop or asyncio.Event()
    journal = store.begin(_nothing(record, command), datetime.now(UTC), undoes=record.run, images=plan.images)
    finished: datetime | None = None
    try:
        result = await apply_undo(registry, plan, recorder=journal, stop=stop, on_put=on_put)
        result = replace(result, interrupted=stop.is_set() and result.error is None, id=journal.run)
        if not (result.interrupted or result.is_open or result.of(UndoResult.FAILED)):
            finished = datetime.now(UTC)
    finally:
        if not journal.close(finished) and finished is not None:
            store.mark_ended(journal)
    return result


def mark_undone(store: RunStore, record: RunRecord, images: Sequence[Reference] = (), *, command: str) -> None:
    """Note that all of a run, or all of `images`, is there, as after an undo that was cut off at its end: `undo` then
    takes the run before.

    Where that cannot be noted, the next undo looks again.
    """
    named = {str(image) for image in images}
    undos = RunHistory(store, record.plan.registry).undos_of(record.run)
    whole = [set(header.images) for header in undos if not header.is_unfinished]
    if any(not others or (named and named <= others) for others in whole):
        return
    with suppress(JournalError):
        now = datetime.now(UTC)
        journal = store.begin(_nothing(record, command), now, undoes=record.run, images=images)
        if not journal.close(now):
            store.mark_ended(journal)


def _nothing(record: RunRecord, command: str) -> Plan:
    """An undo has no steps of its own."""
    return Plan(record.plan.registry, datetime.now(UTC), command, ())

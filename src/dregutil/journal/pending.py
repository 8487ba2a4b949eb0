"""What recorded runs removed, was not put back, and is not known to be collected. Reads the records only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from dregutil.errors import JournalError
from dregutil.journal.collections import Collections, collected_by
from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import Removed, collected_runs

__all__ = ["PendingRun", "known_collected", "pending_runs"]


@dataclass(frozen=True, slots=True)
class PendingRun:
    """A run of which something waits for the collector: how many tags, and how many bytes at most."""

    run: str
    started: datetime
    tags: int
    bytes: int


def known_collected(history: RunHistory) -> Mapping[str, datetime]:
    """The runs whose garbage is known to be collected, and since when: because `dregutil collect` did it, or an undo
    found it so. Raises JournalError if the state folder cannot be read."""
    undos: list[RunRecord] = []
    for header in history.headers():
        if header.undoes:
            with suppress(JournalError):
                undos.append(history.store.read(header))
    recorded, _ = Collections(history.store.folder).read(history.registry)
    certain = {run: found.since for run, found in collected_by(recorded).items() if not found.maybe}
    return {**collected_runs(undos), **certain}


def pending_runs(history: RunHistory, collected: Mapping[str, datetime]) -> Iterator[PendingRun]:
    """The runs that wait for the collector, the newest first. One that was collected, and those before it, do not.
    Raises JournalError."""
    for record, left in history.not_undone():
        if record.run in collected:
            return
        tags = sum(len(intent.tags) for intents in left.values() for intent in intents)
        yield PendingRun(record.run, record.started, tags, _bytes_of(record, left))


def _bytes_of(record: RunRecord, left: Removed) -> int:
    """The bytes that wait, by the run's own figures: at most, because some blobs may be in use again."""
    places = {(name, intent.manifest.digest) for name, intents in left.items() for intent in intents}
    steps = record.plan.steps
    if record.is_whole and all((step.repository, step.digest) in places for step in steps):
        return record.plan.reclaim.reclaimable_bytes
    return sum(step.frees for step in steps if (step.repository, step.digest) in places)

"""What the runs of the last 14 days did to tags: which ones they removed, and what `undo` put back."""

from __future__ import annotations

from collections.abc import Iterator, Set
from contextlib import suppress
from datetime import datetime
from itertools import chain

from dregutil.errors import DregutilError, JournalError
from dregutil.journal.reader import read_journal
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import removed_by, undone_by
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Result
from dregutil.retention.holds import HELD_FOR

__all__ = ["recently_taken"]


def recently_taken(store: RunStore, registry: str, now: datetime) -> Set[tuple[Repository, Tag, Digest]]:
    """The tags that runs on a registry (its identity) removed from a digest in the last 14 days, and that no `undo` has
    put back since. Records that cannot be read are left out.

    Raises JournalError if the state folder cannot be read.
    """
    taken: set[tuple[Repository, Tag, Digest]] = set()
    for header in store.headers(registry):  # oldest first
        if header.started < now - HELD_FOR:
            continue
        try:
            record = read_journal(header.folder)
        except JournalError:
            continue
        if not header.undoes:
            taken |= _taken(record)
        for repository, digest, tags in _put_back(store, record):
            taken -= {(repository, tag, digest) for tag in tags}
    return taken


def _put_back(store: RunStore, undo: RunRecord) -> Iterator[tuple[Repository, Digest, tuple[Tag, ...]]]:
    """What an undo recorded as put back, and the rest of its run: an interrupted undo may not have recorded it."""
    noted = {(repository, digest): (tags, why) for repository, digest, tags, why in undo.restored}
    if undo.undoes:
        with suppress(DregutilError):  # the run may be pruned
            run = store.get(undo.undoes)
            intents = run.intents
            if undo.images:
                intents = tuple(chain.from_iterable(undone_by(undo, removed_by(run)).values()))
            for intent in intents:
                noted.setdefault((intent.repository, intent.manifest.digest), (intent.tags, ""))
    return ((repository, digest, tags) for (repository, digest), (tags, why) in noted.items() if not why)


def _taken(record: RunRecord) -> set[tuple[Repository, Tag, Digest]]:
    return {
        (step.repository, tag, step.digest)
        for step in record.plan.steps
        if (settled := record.outcomes.get(step.number)) is not None and settled.result is Result.REMOVED
        for tag in step.tags
    }

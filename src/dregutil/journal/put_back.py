"""What undos put back in the last 14 days, as holds.

They come from the undos' own records: the first line of a record, which names the run, is on the disk before anything
is put, so that no kill loses a hold.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress
from datetime import datetime

from dregutil.errors import NotFoundError
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import removed_by, undone_by, units
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository
from dregutil.retention.holds import HELD_FOR, Hold

__all__ = ["put_back_holds"]


def put_back_holds(store: RunStore, registry: str, now: datetime) -> Iterator[Hold]:
    """A hold for each image that undos on a registry (its identity) put back, or were about to, the newest first.

    Raises JournalError if the state folder, or the record of an undo, cannot be read.
    """
    for header in reversed(store.headers(registry)):
        if header.started >= now - HELD_FOR and (header.undoes or header.is_damaged) and not header.is_newer:
            undo = store.get(header.run)
            if undo.undoes or undo.restored:
                yield from _holds_of(undo, store)


def _holds_of(undo: RunRecord, store: RunStore) -> Iterator[Hold]:
    until = undo.started + HELD_FOR
    failed = {(repository, digest) for repository, digest, _, why in undo.restored if why}
    seen: set[tuple[Repository, Digest]] = set()
    run = _run_of(undo, store)
    for repository, intents in (undone_by(undo, removed_by(run)) if run is not None else {}).items():
        there = [intent for intent in intents if (repository, intent.manifest.digest) not in failed]
        for image, company in units(repository, there):
            digest = image.manifest.digest
            yield Hold(
                repository, undo.started, None, digest, until, run=undo.run, tags=image.tags, company=tuple(company)
            )
            seen.update((repository, one) for one in (digest, *company))
    yield from _noted(undo, seen | failed)


def _noted(undo: RunRecord, seen: Iterable[tuple[Repository, Digest]]) -> Iterator[Hold]:
    """What only the undo itself recorded: its run was pruned, or the line that names it is damaged."""
    known = set(seen)
    for repository, digest, tags, why in undo.restored:
        if not why and (repository, digest) not in known:
            yield Hold(repository, undo.started, None, digest, undo.started + HELD_FOR, run=undo.run, tags=tags)


def _run_of(undo: RunRecord, store: RunStore) -> RunRecord | None:
    """The run that an undo put back; None if its record was pruned."""
    with suppress(NotFoundError):
        return store.get(undo.undoes) if undo.undoes else None
    return None

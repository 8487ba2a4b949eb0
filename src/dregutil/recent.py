"""What the runs of the last days did to tags: which ones they took, and what `undo` put back."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dregutil.errors import JournalError
from dregutil.outcome import Result
from dregutil.record import RunRecord, read_journal
from dregutil.reference import Digest, Repository, Tag
from dregutil.runs import RunStore

__all__ = ["HELD_FOR", "Recent", "recent_runs"]

HELD_FOR = timedelta(days=14)


@dataclass(frozen=True, slots=True)
class Recent:
    """`taken`: tags that a run took from a digest, and that no `undo` put back since. `put_back`: what an `undo` put
    back, and when that began."""

    taken: Set[tuple[Repository, Tag, Digest]] = frozenset()
    put_back: Mapping[tuple[Repository, Digest], datetime] = field(default_factory=dict)


def recent_runs(store: RunStore, registry: str, now: datetime) -> Recent:
    """What runs on a registry did in the last 14 days. A record that cannot be read tells nothing. Raises JournalError
    where the state folder cannot be read."""
    taken: set[tuple[Repository, Tag, Digest]] = set()
    put_back: dict[tuple[Repository, Digest], datetime] = {}
    for header in store.headers(registry):
        if header.started < now - HELD_FOR:
            continue
        try:
            record = read_journal(header.folder)
        except JournalError:
            continue
        if not header.undoes:
            taken |= _taken(record)
        for repository, digest, tags, why in record.restored:
            if not why:
                put_back[repository, digest] = record.started
                taken -= {(repository, tag, digest) for tag in tags}
    return Recent(taken, put_back)


def _taken(record: RunRecord) -> set[tuple[Repository, Tag, Digest]]:
    return {
        (step.repository, tag, step.digest)
        for step in record.plan.steps
        if (settled := record.outcomes.get(step.number)) is not None and settled.result is Result.REMOVED
        for tag in step.tags
    }

"""What earlier runs and readings on this machine know of a registry: by default a removal is planned with it.

An index that no tag names any more is invisible to the API, and still needs its children.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from dregutil.content_database import ContentDatabase
from dregutil.folders import contents_file, state_folder
from dregutil.reference import Digest, Repository
from dregutil.runs import RunStore

__all__ = ["remembered_indexes", "remembered_parents"]


def remembered_indexes(registry: str) -> Mapping[Repository, frozenset[Digest]]:
    """The indexes that the runs recorded for a registry (its identity) saw. Raises JournalError."""
    return RunStore(state_folder()).known_indexes(registry)


def remembered_parents(digests: Collection[Digest]) -> Collection[Digest]:
    """The indexes that were ever seen above `digests`, in whatever registry. Raises CacheError."""
    path = contents_file()
    if not path.exists():
        return ()
    with ContentDatabase.open(path) as database:
        return database.indexes_above(digests)

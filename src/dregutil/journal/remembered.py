"""What this machine knows about a registry from earlier runs and reads. By default a removal is planned with it.

The API does not show an index that no tag names, yet such an index needs its children.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from dregutil.errors import CacheError
from dregutil.files import contents_file, state_folder
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.known import Known
from dregutil.inventory.tags import Inventory
from dregutil.journal.history import RunHistory
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository

__all__ = ["remembered", "remembered_indexes", "remembered_manifests"]


@contextmanager
def remembered(registry: str, inventory: Inventory | None = None) -> Iterator[Known]:
    """What the records and the content database of this machine know of a registry (its identity), with the tags of
    `inventory`. Raises JournalError and CacheError."""
    tags = {} if inventory is None else inventory.as_mapping()
    with remembered_manifests() as seen:
        yield Known(tags, remembered_indexes(registry), seen)


def remembered_indexes(registry: str) -> Mapping[Repository, frozenset[Digest]]:
    """The indexes that the runs recorded for a registry (its identity) saw. Raises JournalError."""
    return RunHistory(RunStore(state_folder()), registry).known_indexes()


@contextmanager
def remembered_manifests() -> Iterator[KnownManifests]:
    """The manifests that were ever read, from any registry. Raises CacheError if a content database is there and cannot
    be used."""
    path = contents_file()
    with ExitStack() as stack:
        try:
            database = ContentDatabase.open(path)
        except CacheError:
            if path.exists():
                raise
            database = ContentDatabase.private()
        yield KnownManifests(stack.enter_context(database))

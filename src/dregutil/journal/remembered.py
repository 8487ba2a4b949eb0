"""What earlier runs and readings on this machine know of a registry: by default a removal is planned with it.

An index that no tag names any more is invisible to the API, and still needs its children.
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
from dregutil.journal.store import RunStore
from dregutil.oci.names import Digest, Repository

__all__ = ["remembered", "remembered_indexes", "remembered_manifests"]


@contextmanager
def remembered(registry: str, inventory: Inventory | None = None) -> Iterator[Known]:
    """What this machine's records and content database know of a registry (its identity), and the tags of `inventory`.
    Raises JournalError and CacheError."""
    tags = {} if inventory is None else inventory.as_mapping()
    with remembered_manifests() as seen:
        yield Known(tags, remembered_indexes(registry), seen)


def remembered_indexes(registry: str) -> Mapping[Repository, frozenset[Digest]]:
    """The indexes that the runs recorded for a registry (its identity) saw. Raises JournalError."""
    return RunStore(state_folder()).known_indexes(registry)


@contextmanager
def remembered_manifests() -> Iterator[KnownManifests]:
    """What was ever read, in whatever registry. Raises CacheError where there is something, and it cannot be used."""
    path = contents_file()
    with ExitStack() as stack:
        try:
            database = ContentDatabase.open(path)
        except CacheError:
            if path.exists():
                raise
            database = ContentDatabase.private()
        yield KnownManifests(stack.enter_context(database))

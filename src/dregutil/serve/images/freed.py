"""What removing each tag alone frees, from what was read before: the registry is not asked."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.referrer_lists import ReferrerLists
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository
from dregutil.serve.images.schema import UNKNOWN

__all__ = ["freed_by_tags"]

_Place = tuple[Repository, Digest]


def freed_by_tags(database: ContentDatabase, inventory: Inventory, registry: str) -> array[int]:
    """The bytes of each tag, in the order of repositories and tags; UNKNOWN of one whose contents were not read.
    `registry` is its identity. Raises CacheError."""
    found = _freed(database, inventory, registry)
    with database.guarded():
        for pragma in ("cache_size = -8192", "temp.cache_size = -2048", "shrink_memory"):
            database.connection.execute(f"PRAGMA {pragma}")  # what measured needs memory no longer
    return found


def _freed(database: ContentDatabase, inventory: Inventory, registry: str) -> array[int]:
    usage = DiskUsage(database, inventory.keyed())
    unread = {*usage.missing()}
    _add_referrers(usage, database, ReferrerLists(database, registry))
    rows = usage.measure("tag").rows("name")
    found = array("q")
    measured = next(rows, None)
    for repository in inventory.repositories:
        for tag, digest in sorted(inventory.tags(repository).items()):
            if measured is None or (measured.repository, measured.tag) != (repository, tag):
                found.append(UNKNOWN)
                continue
            found.append(UNKNOWN if (repository, digest) in unread else measured.unique)
            measured = next(rows, None)
    return found


def _add_referrers(usage: DiskUsage, database: ContentDatabase, lists: ReferrerLists) -> None:
    """Count what the registry's referrers API listed when it was last asked."""
    if lists.has_no_api:
        return
    places: Iterable[_Place] = usage.reached()
    seen: set[_Place] = set()
    while True:
        listed = [(*place, referrer) for place in places for referrer in lists.recall(place) or ()]
        usage.add_referrers(listed)
        new = {(repository, referrer) for repository, _, referrer in listed} - seen
        if not new:
            return
        seen |= new
        places = [(repository, digest) for repository, one in sorted(new) for digest in _below(database, one)]


def _below(database: ContentDatabase, digest: Digest) -> Iterator[Digest]:
    """A manifest, and those below it."""
    manifest = database.manifest(digest)
    if manifest is not None:
        yield digest
        for child in manifest.children:
            yield from _below(database, child.digest)

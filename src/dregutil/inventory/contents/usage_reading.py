"""What disk usage asks a registry for, beside manifests: referrers that no tag names, and layers kept elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import takewhile

from dregutil.errors import DregutilError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.oci.names import Digest, Repository
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["read_foreign_sizes", "read_referrers"]

Place = tuple[Repository, Digest]
ReadContents = Callable[[Collection[Place]], Awaitable[Mapping[Digest, DregutilError]]]


async def read_referrers(
    registry: Registry, database: ContentDatabase, usage: DiskUsage, read_contents: ReadContents
) -> tuple[Mapping[Place, DregutilError], Mapping[Digest, DregutilError]]:
    """Count what refers to what tags reach, and what refers to that, where the registry has the referrers API.

    Returns the places whose referrers could not be listed, and the referrers that could not be read, each with why.
    """
    places: Iterable[Place] = usage.reached()
    seen: set[Place] = set()
    unlisted: dict[Place, DregutilError] = {}
    unreadable: dict[Digest, DregutilError] = {}
    while True:
        found, failed = await _listed(registry, places)
        unlisted.update(failed)
        new = {(repository, referrer) for repository, _, referrer in found} - seen
        unread = await read_contents(sorted(new))
        unreadable.update(unread)
        usage.add_referrers(place for place in found if place[2] not in unread)
        if not new:
            return unlisted, unreadable
        seen |= new
        places = [(repository, digest) for repository, one in sorted(new) for digest in _below(database, one)]


async def read_foreign_sizes(registry: Registry, layers: Sequence[Place]) -> Mapping[Digest, int]:
    """The sizes in bytes of layers that a registry need not have, of those that it has."""
    found: dict[Digest, int] = {}

    async def ask(place: Place) -> None:
        repository, digest = place
        if digest not in found and (size := await registry.blob_size(repository, digest)) is not None:
            found[digest] = size

    await for_each(layers, ask)
    return found


def _below(database: ContentDatabase, digest: Digest) -> Iterator[Digest]:
    """A manifest, and those below it."""
    manifest = database.manifest(digest)
    if manifest is not None:
        yield digest
        for child in manifest.children:
            yield from _below(database, child.digest)


async def _listed(
    registry: Registry, places: Iterable[Place]
) -> tuple[Sequence[tuple[Repository, Digest, Digest]], Mapping[Place, DregutilError]]:
    """What the registry lists for each of `places`, with that; and why it could not be asked for some of them."""
    found: list[tuple[Repository, Digest, Digest]] = []
    failed: dict[Place, DregutilError] = {}

    async def ask(place: Place) -> None:
        try:
            listed = await registry.referrers(*place)
        except DregutilError as error:
            if await ends_all(registry, error):
                raise
            failed[place] = error
        else:
            found.extend((*place, referrer.digest) for referrer in listed or ())

    await for_each(takewhile(lambda _: registry.has_referrers is not False, places), ask)
    return found, failed

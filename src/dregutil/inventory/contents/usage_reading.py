"""What disk usage asks a registry for, beside manifests: referrers that no tag names, and layers kept elsewhere."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, takewhile

from dregutil.errors import AccessError, DregutilError, UnreachableError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.disk_usage import DiskUsage
from dregutil.inventory.contents.referrer_lists import ReferrerLists
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.registry.pull_counts import reading_counts
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["ManifestsRead", "ReferrersRead", "read_foreign_sizes", "read_manifests", "read_referrers"]

_KEPT_AT_ONCE = 500  # manifests in a transaction of the content database

Place = tuple[Repository, Digest]
ReadContents = Callable[[Collection[Place]], Awaitable[Mapping[Digest, DregutilError]]]
Connect = Callable[[], AbstractAsyncContextManager[Registry]]


@dataclass(frozen=True, slots=True)
class ReferrersRead:
    """What was read of referrers. `unlisted`: the places whose referrers could not be listed, `unreadable`: the
    referrers that could not be read, each with why. `unasked`: why the registry could not be asked for some of them;
    None if it was, or did not need to be."""

    unlisted: Mapping[Place, DregutilError] = field(default_factory=dict)
    unreadable: Mapping[Digest, DregutilError] = field(default_factory=dict)
    unasked: DregutilError | None = None


async def read_referrers(
    connect: Connect, lists: ReferrerLists, database: ContentDatabase, usage: DiskUsage, read_contents: ReadContents
) -> ReferrersRead:
    """Count what refers to what tags reach, and what refers to that, where the registry has the referrers API.

    The registry is asked only for what `lists` do not recall: if they recall everything, it is not connected.
    """
    places: Iterable[Place] = usage.reached()
    seen: set[Place] = set()
    unlisted: dict[Place, DregutilError] = {}
    unreadable: dict[Digest, DregutilError] = {}
    while not lists.has_no_api:
        found, failed, unasked = await _listed(connect, lists, places)
        unlisted.update(failed)
        new = {(repository, referrer) for repository, _, referrer in found} - seen
        unread = await read_contents(sorted(new))
        unreadable.update(unread)
        usage.add_referrers(place for place in found if place[2] not in unread)
        if not new or unasked is not None:
            return ReferrersRead(unlisted, unreadable, unasked)
        seen |= new
        places = [(repository, digest) for repository, one in sorted(new) for digest in _below(database, one)]
    return ReferrersRead()


@dataclass(frozen=True, slots=True)
class ManifestsRead:
    """`absent`: those that the registry does not have, `unread`: those that it was not asked for, because that
    `counts_pulls`, or that could not be read."""

    absent: Set[Place] = frozenset()
    unread: Set[Place] = frozenset()
    counts_pulls: bool = False


async def read_manifests(connect: Connect, database: ContentDatabase, places: Iterable[Place]) -> ManifestsRead:
    """Read the manifests that were never read into the content database, without what is below them; none of them where
    a GET counts as a pull. Raises UnreachableError and LoginError."""
    missing = [place for place in places if database.manifest(place[1]) is None]
    if not missing:
        return ManifestsRead()
    absent: set[Place] = set()
    unread: set[Place] = set()
    found: list[Manifest] = []
    async with connect() as registry:
        if reading_counts(registry):
            return ManifestsRead(unread=frozenset(missing), counts_pulls=True)

        async def read(place: Place) -> None:
            try:
                manifest = await registry.manifest(*place)
            except DregutilError as error:
                if await ends_all(registry, error):
                    raise
                unread.add(place)
                return
            if manifest is None:
                absent.add(place)
                return
            found.append(manifest)
            if len(found) >= _KEPT_AT_ONCE:
                kept, found[:] = list(found), []
                database.add(kept)

        try:
            await for_each(missing, read)
        finally:
            database.add(found)
    return ManifestsRead(absent, unread)


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
    connect: Connect, lists: ReferrerLists, places: Iterable[Place]
) -> tuple[Sequence[tuple[Repository, Digest, Digest]], Mapping[Place, DregutilError], DregutilError | None]:
    """What the registry lists for each of `places`, with that; why it could not be asked for some of them; and why for
    all that are not recalled, if it does not answer at all."""
    found: list[tuple[Repository, Digest, Digest]] = []
    failed: dict[Place, DregutilError] = {}
    asked = _unknown(lists, places, found)
    first = next(asked, None)
    if first is None:
        return found, failed, None

    async def ask(registry: Registry, place: Place) -> None:
        try:
            listed = await registry.referrers(*place)
        except DregutilError as error:
            if await ends_all(registry, error):
                raise
            failed[place] = error
        else:
            if registry.has_referrers:
                lists.remember(place, [referrer.digest for referrer in listed or ()])
            found.extend((*place, referrer.digest) for referrer in listed or ())

    try:
        async with connect() as registry:
            waiting = takewhile(lambda _: registry.has_referrers is not False, chain([first], asked))
            try:
                await for_each(waiting, partial(ask, registry))
            finally:
                lists.write(has_api=registry.has_referrers)
    except (AccessError, UnreachableError) as error:
        return found, failed, error
    return found, failed, None


def _unknown(
    lists: ReferrerLists, places: Iterable[Place], found: list[tuple[Repository, Digest, Digest]]
) -> Iterator[Place]:
    """The places whose lists are not known; what the others list is added to `found`."""
    for place in places:
        referrers = lists.recall(place)
        if referrers is None:
            yield place
        else:
            found.extend((*place, referrer) for referrer in referrers)

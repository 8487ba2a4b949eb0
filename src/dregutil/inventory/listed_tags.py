"""The tags of a repository: with their digests where the registry's service lists them, else the names alone.

A service's list may be stale, or leave something out. So it is compared with the first page of the registry's own list,
which was requested anyway, and where they differ it is not used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from dregutil.errors import DregutilError, NoListingError
from dregutil.oci.listing import Listing, difference
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.native.services import unnamed_service
from dregutil.registry.reader import Registry

__all__ = ["ListedTags", "WayToTags", "way_to_tags"]

_WORTH_ASKING = 100  # tags that one request may save from being resolved one by one


@dataclass(frozen=True, slots=True)
class WayToTags:
    """How the tags of a registry are read whose service has an API. `service` names that API.

    `repository` is the one that was tried; None if none is known. `requests`: how many its list took, with the one that
    it is compared with; `otherwise`: how many the distribution API takes at least. `refusal`: why that is used instead.
    `setting`: what the user has to name before that API can be used; `requests` is then about what it would take.
    """

    service: str
    repository: Repository | None = None
    requests: int = 0
    otherwise: int = 0
    refusal: str = ""
    setting: str = ""


async def way_to_tags(registry: Registry, repository: Repository | None) -> WayToTags | None:
    """Try `repository`; None if the registry has no service that is known. Raises nothing of the registry's."""
    native = registry.native
    if native is None:
        return None
    await native.discover()
    if (service := native.service) is None:
        return await _way_if_named(registry, repository)
    if repository is None:
        return WayToTags(service.name)
    listed, before = ListedTags(registry), native.sent
    try:
        tags = await listed.read(repository)
    except DregutilError as error:
        return WayToTags(service.name, repository, refusal=error.message)
    refusal = listed.doubted.get(repository) or listed.refused.get(repository, "")
    return WayToTags(service.name, repository, 1 + native.sent - before, 1 + len(tags), refusal)


async def _way_if_named(registry: Registry, repository: Repository | None) -> WayToTags | None:
    """The way of a service whose API the user has to name; None if the registry is of none."""
    missing = unnamed_service(registry.evidence)
    if missing is None:
        return None
    way = WayToTags(missing.name, setting=missing.setting)
    if repository is None:
        return way
    try:
        number = len(await registry.tags(repository))
    except DregutilError as error:
        return replace(way, repository=repository, refusal=error.message)
    return replace(way, repository=repository, requests=missing.requests(number), otherwise=1 + number)


class ListedTags:
    """`listings` are those that were used, `doubted` says of others how they differ, `refused` why there are none.

    `for_policy`: a policy is applied to the tags. It counts them ("the last ten"), so one whose manifest is gone would
    take the place of one that is there: a list that may have such tags is not used.
    """

    def __init__(self, registry: Registry, *, for_policy: bool = False) -> None:
        self.listings: dict[Repository, Listing] = {}
        self.doubted: dict[Repository, str] = {}
        self.refused: dict[Repository, str] = {}
        self._registry = registry
        self._for_policy = for_policy

    async def read(self, repository: Repository) -> Mapping[Tag, Digest] | Sequence[Tag]:
        """The tags with their digests, or only their names, which have to be resolved. Raises as `Registry.tags`."""
        async with aclosing(self._registry.tag_pages(repository)) as pages:
            first, is_whole = await _first(pages)
            listing = await self._agreed(repository, first, is_whole=is_whole)
            return listing.tags if listing is not None else await _all(first, pages)

    async def _agreed(self, repository: Repository, names: Sequence[Tag], *, is_whole: bool) -> Listing | None:
        """What the service lists, if it agrees with a page of the registry's list; None if it does not, or lists
        nothing."""
        native = self._registry.native
        if native is not None and len(names) >= _WORTH_ASKING:
            await native.discover()
        if native is None or native.service is None:
            return None
        try:
            listing = await native.listing(repository)
        except NoListingError as error:
            self.refused[repository] = error.message
            return None
        if listing.may_dangle and self._for_policy:
            self.refused[repository] = f"{native.service.name} may list tags whose manifest is gone"
            return None
        why = difference(listing, names, is_whole=is_whole)
        if why and listing.is_complete:
            # A tag may have come or gone between the two requests.
            async with aclosing(self._registry.tag_pages(repository)) as pages:
                names, is_whole = await _first(pages)
            why = difference(listing, names, is_whole=is_whole)
        if why:
            self.doubted[repository] = f"{native.service.name} and the registry differ about {repository}: {why}"
            return None
        self.listings[repository] = listing
        return listing


async def _first(pages: AsyncGenerator[tuple[Sequence[Tag], bool], None]) -> tuple[Sequence[Tag], bool]:
    """The first page, and whether it is the only one; an empty one if there is none."""
    try:
        return await anext(pages)
    except StopAsyncIteration:
        return (), True


async def _all(first: Sequence[Tag], rest: AsyncGenerator[tuple[Sequence[Tag], bool], None]) -> Sequence[Tag]:
    """All tags, each once."""
    found = dict.fromkeys(first)
    async for names, _ in rest:
        found.update(dict.fromkeys(names))
    return tuple(found)

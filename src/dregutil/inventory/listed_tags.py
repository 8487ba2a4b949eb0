"""The tags of a repository: with their digests where the registry's service lists them, else the names alone.

A service's list may be stale, or leave something out. So it is compared with the first page of the registry's own list,
which was requested anyway, and where they differ it is not used.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing

from dregutil.errors import NoListingError
from dregutil.oci.listing import Listing, difference
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.reader import Registry

__all__ = ["ListedTags"]


class ListedTags:
    """`listings` are those that were used, `doubted` says of the others that were read how they differ."""

    def __init__(self, registry: Registry) -> None:
        self.listings: dict[Repository, Listing] = {}
        self.doubted: dict[Repository, str] = {}
        self._registry = registry

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
        if native is None or native.service is None:
            return None
        try:
            listing = await native.listing(repository)
        except NoListingError:
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

"""What a registry's service lists without a tag: no list of the distribution API shows it."""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass

from dregutil.errors import NoListingError
from dregutil.oci.names import Digest, Repository
from dregutil.registry.reader import Registry

__all__ = ["ListedUntagged", "with_untagged"]


@dataclass(frozen=True, slots=True)
class ListedUntagged:
    """How many manifests have no tag, and are in no index that was read.

    `size` is in bytes, as the service counts: each with its layers, which others may share. Of `unsized` ones it does
    not say it. `repositories` were listed.
    """

    manifests: int = 0
    size: int = 0
    unsized: int = 0
    repositories: int = 0


async def with_untagged(
    before: ListedUntagged | None, registry: Registry, repository: Repository, known: Set[Digest]
) -> ListedUntagged | None:
    """`before`, with what the service lists of a repository beside what is `known`; `before` itself where it lists
    nothing, or not all. Raises nothing of the registry's."""
    native = registry.native
    if native is None or native.service is None:
        return before
    try:
        listing = await native.listing(repository)
    except NoListingError:
        return before
    if not listing.has_untagged or not listing.is_complete:
        return before
    sizes = [entry.size for entry in listing.entries if not entry.tags and entry.digest not in known]
    found = before or ListedUntagged()
    return ListedUntagged(
        found.manifests + len(sizes),
        found.size + sum(size for size in sizes if size is not None),
        found.unsized + sizes.count(None),
        found.repositories + 1,
    )

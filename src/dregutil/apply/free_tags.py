"""Whether a tag names nothing, so that it may be put: one answer is not believed."""

from __future__ import annotations

from dregutil.oci.names import Repository, Tag
from dregutil.registry.reader import Registry
from dregutil.registry.values import Resolved

__all__ = ["is_free", "look_twice"]


async def look_twice(registry: Registry, repository: Repository, tag: Tag) -> Resolved | None:
    """What a tag names; None where two requests deny it: a replica behind one address may lag. Raises DregutilError."""
    for _ in range(2):
        found = await registry.look_for(repository, tag)
        if found is not None:
            return found
    return None


async def is_free(registry: Registry, repository: Repository, tag: Tag) -> bool:
    """Whether a tag names nothing, asked twice. Raises DregutilError."""
    return await look_twice(registry, repository, tag) is None

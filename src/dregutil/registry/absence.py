"""Something counts as absent only if two reads in a row do not find it.

Several replicas may answer at one address, and one of them may not have what was just pushed. So no decision follows
from a single "not found".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import TypeVar

from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.reader import Registry
from dregutil.registry.values import Resolved

__all__ = ["denied_again", "denied_twice", "find_twice", "manifest_of"]

_PAUSE = 1.0  # seconds between the two reads
_Thing = TypeVar("_Thing")


async def denied_twice(
    things: Collection[_Thing], read: Callable[[Collection[_Thing]], Awaitable[Collection[_Thing]]]
) -> Collection[_Thing]:
    """Those of `things` that two reads do not find. `read` returns those of its argument that it does not find.

    The second read follows after a second, with what the first one did not find, if there is anything. Raises what
    `read` raises.
    """
    return await denied_again(await read(things), read)


async def denied_again(
    denied: Collection[_Thing], read: Callable[[Collection[_Thing]], Awaitable[Collection[_Thing]]]
) -> Collection[_Thing]:
    """The second half of `denied_twice`, after a first read elsewhere did not find `denied`."""
    if not denied:
        return denied
    await asyncio.sleep(_PAUSE)
    return await read(denied)


async def find_twice(registry: Registry, repository: Repository, tag: Tag) -> Resolved | None:
    """The manifest that a tag names; None if two requests in immediate succession do not find it. Raises DregutilError.

    For a tag that is about to be put: a pause would leave time for another push.
    """
    for _ in range(2):
        found = await registry.find(repository, tag)
        if found is not None:
            return found
    return None


async def manifest_of(
    registry: Registry, repository: Repository, digest: Digest, tags: Mapping[Tag, Digest]
) -> Manifest | None:
    """The manifest of `digest`; where the registry has none, what one of `tags` that is on it names.

    Some servers keep a manifest by its tag when its digest is deleted. Raises as `Registry.manifest` does.
    """
    found = await registry.manifest(repository, digest)
    if found is None and (tag := next((tag for tag, on in tags.items() if on == digest), None)) is not None:
        found = await registry.manifest(repository, tag)
    return found if found is None or found.digest == digest else None

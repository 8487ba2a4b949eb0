"""Something counts as absent only if two reads in a row do not find it.

Several replicas may answer at one address, and one of them may not have what was just pushed. So no decision follows
from a single "not found".
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from dregutil.oci.names import Repository, Tag
from dregutil.registry.reader import Registry
from dregutil.registry.values import Resolved

__all__ = ["denied_again", "denied_twice", "find_twice"]

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

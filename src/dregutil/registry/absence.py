"""When something counts as absent: only when two readings in a row deny it.

Several replicas may answer behind one address, and one of them may not have heard yet of what was pushed. One "not
found" is therefore never believed where a decision follows from it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import TypeVar

from dregutil.oci.names import Repository, Tag
from dregutil.registry.reader import Registry
from dregutil.registry.values import Resolved

__all__ = ["denied_again", "denied_twice", "look_twice"]

_PAUSE = 1.0  # seconds between two readings
_Thing = TypeVar("_Thing")


async def denied_twice(
    things: Collection[_Thing], read: Callable[[Collection[_Thing]], Awaitable[Collection[_Thing]]]
) -> Collection[_Thing]:
    """Those of `things` that two readings deny. `read` returns what it denies of those that it is given.

    The second reading follows after a second, is given only what the first one denied, and is left out where that is
    nothing. Raises what `read` raises.
    """
    return await denied_again(await read(things), read)


async def denied_again(
    denied: Collection[_Thing], read: Callable[[Collection[_Thing]], Awaitable[Collection[_Thing]]]
) -> Collection[_Thing]:
    """The second half of `denied_twice`, where the first reading was made elsewhere and denied `denied`."""
    if not denied:
        return denied
    await asyncio.sleep(_PAUSE)
    return await read(denied)


async def look_twice(registry: Registry, repository: Repository, tag: Tag) -> Resolved | None:
    """What a tag names; None where two requests, one right after the other, deny it. Raises DregutilError.

    For a tag that is about to be put: waiting longer would leave more time for somebody to push it.
    """
    for _ in range(2):
        found = await registry.look_for(repository, tag)
        if found is not None:
            return found
    return None

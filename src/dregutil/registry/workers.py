"""A fixed number of workers over an iterator: no task for each item, and no write in flight is cancelled."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sized
from typing import TypeVar

__all__ = ["for_each", "gather_all"]

_Item = TypeVar("_Item")


async def for_each(items: Iterable[_Item], act: Callable[[_Item], Awaitable[object]], *, at_once: int = 32) -> None:
    """Run `act` over `items`. After a failure no other item begins; the others in flight end, then it is raised."""
    waiting = iter(items)
    failed = False

    async def work() -> None:
        nonlocal failed
        for item in waiting:
            if failed:
                return
            try:
                await act(item)
            except BaseException:
                failed = True
                raise

    if isinstance(items, Sized):
        at_once = min(at_once, len(items))
    if at_once == 1:
        await work()
    elif at_once:
        await gather_all(work() for _ in range(at_once))


async def gather_all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Wait for all, then raise the first error."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result

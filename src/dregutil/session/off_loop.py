"""A question that may wait for a store, asked by the tasks of an event loop: it goes on meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

from dregutil.errors import StoreError

__all__ = ["OffLoop"]

T = TypeVar("T")


class OffLoop(Generic[T]):
    """Asks `question` in a thread, never twice at a time.

    An answer is of a question that began after it was wanted. A store that was found to be away is so for all who wait:
    each of them asking it anew would take that many times as long.
    """

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._asking: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """The answer. Raises StoreError if the store is away, and what `question` raises."""
        while self._asking is not None and not self._asking.done():
            earlier = self._asking
            await asyncio.wait((earlier,))
            if not earlier.cancelled() and isinstance(error := earlier.exception(), StoreError):
                raise error
        self._asking = asyncio.create_task(asyncio.to_thread(self._question))
        self._asking.add_done_callback(_look_at)
        return await asyncio.shield(self._asking)


def _look_at(task: asyncio.Task[T]) -> None:
    """Who asked may be gone: then nobody else looks at its error."""
    if not task.cancelled():
        task.exception()

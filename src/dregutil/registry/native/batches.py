"""Collects what is asked for at the same time into one request, for services that delete many at once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Generic, TypeVar

__all__ = ["Batches"]

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")

_WINDOW = 0.02  # seconds: what comes later begins another batch


class Batches(Generic[_Key, _Item]):
    """Sends items of one key together: at most `most`, and those that are asked for within 20 ms.

    `send` returns for each item whether it was carried out, or the error to raise for it alone. An item is sent once,
    and a batch that has begun is not cancelled by one who waits for it.
    """

    def __init__(
        self,
        send: Callable[[_Key, Sequence[_Item]], Awaitable[Mapping[_Item, bool | Exception]]],
        *,
        most: int,
        missing: Callable[[_Key, _Item], Exception],
        window: float = _WINDOW,
    ) -> None:
        """`missing` makes the error for an item that the outcome of `send` does not have."""
        self._send = send
        self._most = most
        self._missing = missing
        self._window = window
        self._open: dict[_Key, _Batch[_Item]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, key: _Key, item: _Item) -> bool:
        """Have an item sent with the others; whether it was carried out. Raises what `send` has for it, or raises."""
        batch = self._open.get(key)
        if batch is None:
            batch = self._open[key] = _Batch()
            task = asyncio.create_task(self._run(key, batch))
            self._running.add(task)  # a task that nothing refers to may be collected
            task.add_done_callback(self._running.discard)
        waiting: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        batch.items.setdefault(item, []).append(waiting)
        if len(batch.items) >= self._most:
            self._close(key, batch)
        return await waiting

    def _close(self, key: _Key, batch: _Batch[_Item]) -> None:
        batch.is_closed.set()
        if self._open.get(key) is batch:
            del self._open[key]

    async def _run(self, key: _Key, batch: _Batch[_Item]) -> None:
        try:
            async with asyncio.timeout(self._window):
                await batch.is_closed.wait()
        except TimeoutError:
            pass
        self._close(key, batch)
        batch.drop_cancelled()
        if not batch.items:
            return
        try:
            outcomes = await self._send(key, tuple(batch.items))
        except Exception as error:  # noqa: BLE001 - it is raised to each who waits
            batch.settle(dict.fromkeys(batch.items, error))
        except BaseException:
            batch.settle({item: self._missing(key, item) for item in batch.items})
            raise
        else:
            batch.settle({item: outcomes.get(item, self._missing(key, item)) for item in batch.items})


class _Batch(Generic[_Item]):
    def __init__(self) -> None:
        self.items: dict[_Item, list[asyncio.Future[bool]]] = {}
        self.is_closed = asyncio.Event()

    def drop_cancelled(self) -> None:
        """Drop the items whose callers were all cancelled."""
        self.items = {item: waiting for item, waiting in self.items.items() if not all(one.done() for one in waiting)}

    def settle(self, outcomes: Mapping[_Item, bool | Exception]) -> None:
        for item, waiting in self.items.items():
            outcome = outcomes[item]
            for one in waiting:
                if one.done():
                    continue
                if isinstance(outcome, bool):
                    one.set_result(outcome)
                else:
                    one.set_exception(outcome)

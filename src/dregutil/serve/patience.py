"""Closes connections on which no request arrives: whoever holds many open keeps nobody else out."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from aiohttp import web

__all__ = ["Patience"]

_LOOKED_EVERY = 2.0  # seconds
_MOST_CONNECTIONS = 1024
_SHARE = 2  # of the files that this process may have open: processes, records and the index need the others


class Patience:
    """`seconds`: within this time a connection must have sent the head of its request, and have taken its answer."""

    def __init__(self, seconds: float = 40.0) -> None:
        files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self._most = _MOST_CONNECTIONS if files == resource.RLIM_INFINITY else min(_MOST_CONNECTIONS, files // _SHARE)
        self._seconds = seconds
        self._busy: dict[object, int] = {}
        self._idle_since: dict[object, float] = {}

    @contextmanager
    def busy(self, request: web.Request) -> Iterator[None]:
        """While a request is being answered, its connection is left alone."""
        self._busy[request.protocol] = self._busy.get(request.protocol, 0) + 1
        try:
            yield
        finally:
            self._busy[request.protocol] -= 1
            if not self._busy[request.protocol]:
                del self._busy[request.protocol]
            self._idle_since.pop(request.protocol, None)

    async def watch(self, connections: Callable[[], Iterable[object]]) -> None:
        """Close what is slow, until this task is cancelled."""
        while True:
            self.look(list(connections()), time.monotonic())
            await asyncio.sleep(min(_LOOKED_EVERY, self._seconds / 4))

    def look(self, connections: list[object], now: float) -> None:
        """Close what has been idle for too long at `now`, and of too many connections those that are idle."""
        idle = {one: self._idle_since.get(one, now) for one in connections if one not in self._busy}
        self._idle_since = idle
        too_many = len(connections) > self._most
        for one, since in idle.items():
            transport = getattr(one, "transport", None)
            if transport is not None and (too_many or now - since >= self._seconds):
                transport.abort()

"""A limit of points in a minute, kept by the client: each request costs some. Nothing is sent that would be refused."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable

__all__ = ["Points"]

_WINDOW = 60.0  # seconds
_LARGE = 0.9  # of the points: clocks and other clients of the same login


class Points:
    """Spends at most `most` points, less a reserve, in any minute. First come, first served."""

    def __init__(
        self,
        most: int,
        *,
        now: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self._most = int(most * _LARGE)
        self._now = now
        self._sleep = sleep
        self._spent: deque[tuple[float, int]] = deque()
        self._sum = 0
        self._turn = asyncio.Lock()

    async def spend(self, points: int) -> None:
        """Return once a request that costs `points` may be sent."""
        async with self._turn:
            while True:
                now = self._now()
                while self._spent and now - self._spent[0][0] >= _WINDOW:
                    self._sum -= self._spent.popleft()[1]
                if self._sum + points <= self._most or not self._spent:
                    break
                await self._sleep(self._spent[0][0] + _WINDOW - now)
            self._spent.append((now, points))
            self._sum += points

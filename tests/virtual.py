"""An event loop whose clock jumps, so that waiting for minutes takes no time; and servers with rate limits on that
clock."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

_Result = TypeVar("_Result")


class _Jumping(selectors.SelectSelector):
    """Never waits: the clock of the loop advances instead."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        if timeout is None:
            raise AssertionError("all wait, and nothing is under way")
        self.now += max(timeout, 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """Its `time` begins at 0, and advances only when every task waits for it."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now


def run_virtually(work: Coroutine[Any, Any, _Result]) -> _Result:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)


class Bucket:
    """A server that accepts `rate` requests per second, and `burst` at once."""

    def __init__(self, rate: float, burst: float) -> None:
        self.rate = rate
        self.burst = self.tokens = burst
        self.at = 0.0

    def lets_through(self, now: float) -> bool:
        self.tokens = min(self.burst, self.tokens + (now - self.at) * self.rate)
        self.at = now
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True

    def wait(self, now: float) -> float:
        """Seconds until the next request is accepted."""
        return (1 - self.tokens) / self.rate


class Window:
    """A server that resets its count every `seconds`, and accepts `most` requests in each interval."""

    def __init__(self, most: int, seconds: float = 1.0) -> None:
        self.most = most
        self.seconds = seconds
        self.window = -1
        self.number = 0

    def lets_through(self, now: float) -> bool:
        window = int(now / self.seconds)
        if window != self.window:
            self.window, self.number = window, 0
        self.number += 1
        return self.number <= self.most

    def wait(self, now: float) -> float:
        return (self.window + 1) * self.seconds - now

"""When a request may be sent again, and after how long; how many may be under way. Pure but for the futures."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

__all__ = ["MOST_ATTEMPTS", "Gate", "Pace", "is_temporary", "retry_after", "wait_before"]

MOST_ATTEMPTS = 6
_TEMPORARY = frozenset((429, 502, 503, 504))
_LONGEST_WAIT = 60.0  # seconds: no server makes us wait longer for one try
_FIRST_WAIT = 0.25
_RECOVERY = 1.0  # seconds within which many refusals count as one


def is_temporary(status: int) -> bool:
    """Whether a GET or HEAD that was answered so may be sent again."""
    return status in _TEMPORARY


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds that a Retry-After header asks for (RFC 9110 §10.2.3: seconds or a date), capped; None for none."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_WAIT)
    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), _LONGEST_WAIT)


def wait_before(attempt: int, asked: float | None) -> float:
    """Seconds before the try after `attempt` (from 0): what the server asked for, else growing; with jitter."""
    longest = _FIRST_WAIT * 2**attempt
    if asked is not None:
        return asked + random.uniform(0, min(longest, 1.0))  # noqa: S311 - jitter, no secret
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, no secret


class Pace:
    """How long exchanges take, in seconds: a mean that follows the newest ones."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        self.seconds = seconds if not self.seconds else 0.95 * self.seconds + 0.05 * seconds


class Gate:
    """How many requests may be under way: falls by half when the server pushes back, climbs one by one again."""

    def __init__(self, most: int) -> None:
        self.most = max(1, most)
        self.limit = self.most
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._since_change = 0
        self._fell_at = float("-inf")

    async def enter(self) -> None:
        while self._under_way >= self.limit:
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except BaseException:
                self._waiting = deque(other for other in self._waiting if other is not waiter)
                self._wake()
                raise
        self._under_way += 1

    def leave(self) -> None:
        self._under_way -= 1
        self._wake()

    def pushed_back(self, now: float) -> None:
        """The server refused for load at `now` (seconds of a monotonic clock)."""
        if now - self._fell_at >= _RECOVERY:
            self._fell_at = now
            self.limit = max(1, self.limit // 2)
            self._since_change = 0

    def went_well(self) -> None:
        if self.limit < self.most:
            self._since_change += 1
            if self._since_change >= 2 * self.limit:
                self._since_change = 0
                self.limit += 1

    def _wake(self) -> None:
        free = self.limit - self._under_way
        while free > 0 and self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1

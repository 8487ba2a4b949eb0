"""How many requests at once, and how many a second, a registry accepts: learned from what it refuses (429, 503).

One connection can already be too fast, so the rate is learned first. At the first refusal, the number of requests that
succeeded in the last second is the first guess; it is doubled until the server refuses again. From a little below the
limit thus found, the rate follows a cubic curve as in TCP CUBIC: fast back to just below the limit, slow around it, and
faster the longer nothing is refused. The closer a new limit is to the one before, the longer the rate stays below it.
If the server never refuses anything, only the number of requests at once is limited.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable

from dregutil.registry.http.shared_pace import SharedPace, shared_pace

__all__ = ["PATIENCE", "Gate", "Throttle", "shared_gate"]

PATIENCE = 120.0  # seconds without any success before giving up: twice the window of a limit per minute

_MARGIN = 0.1  # the part of the rate by which it drops below the limit
_UNLIMITED = 4.0  # times the limit: a server that accepts so much no longer has that limit
_DOUBLE_IN, _DOUBLE_AFTER = 0.5, 4  # seconds and successes, while the limit is searched for
_FIRST_RECOVERY, _LONGEST_RECOVERY = 1.0, 30.0  # seconds until the rate is back at the limit
_REQUESTS_A_RECOVERY = 20.0  # at least: a slow server is not tested again after each request
_HOLDS_A_RECOVERY = 8.0  # at least: refusals may cost only a small part of the time
_CLOSE = 0.08  # limits that differ by a smaller part are the same
_FIRST_HOLD, _LONGEST_HOLD = 0.05, 10.0  # seconds without requests, doubled while nothing succeeds
_SLOWEST, _FIRST_GUESS = 0.05, 1.0  # requests a second, at least
_TICK = 1e-6  # seconds: the resolution of timers
_CATCH_UP = 0.01  # seconds of a timer's delay that are made up for
_MANY_LOST = 3  # connections lost in a second, and more than answers: too many at once


class Throttle:
    """The current limits. Pure: times are seconds on one monotonic clock, and are passed in."""

    def __init__(self, most: int, *, jitter: Callable[[], float] = random.random) -> None:
        """At most `most` requests at once. `jitter` gives numbers from 0 to 1, so that programs do not keep in step."""
        self.most = max(1, most)
        self.limit = self.most  # requests at once
        self.is_limited = False  # the rate is limited
        self.is_probing = False  # no success since the last refusal: one request at a time
        self._jitter = jitter
        self._ceiling = 0.0  # requests a second at which the server refused
        self._recovery = _FIRST_RECOVERY
        self._is_searching = False  # the ceiling is a first guess
        self._slowed_at = float("-inf")
        self._refused_since: float | None = None
        self._hold = _FIRST_HOLD
        self._held_until = self._next_at = float("-inf")
        self._proven = self.most  # requests at once that worked before
        self._since_wider = 0
        self._second_ends = float("-inf")
        self._successes = self._successes_before = self._successes_since = 0
        self._losses = 0

    def rate(self, now: float) -> float:
        """The most requests a second that may be sent now."""
        if not self.is_limited:
            return float("inf")
        since = now - max(self._slowed_at, min(now, self._held_until))
        if self._is_searching:
            doubled: float = min(since / _DOUBLE_IN, self._successes_since / _DOUBLE_AFTER, 60.0)
            return (1 - _MARGIN) * self._ceiling * math.exp2(doubled)
        climbed = since / max(self._recovery, _REQUESTS_A_RECOVERY / self._ceiling) - 1
        return self._ceiling * (1 + _MARGIN * climbed**3)

    def next_send_at(self, now: float) -> float:
        """When the rate allows the next request: a time up to `now` means at once."""
        if self._is_unlimited(now):
            self.is_limited = self._is_searching = False
            self._ceiling, self._recovery = 0.0, _FIRST_RECOVERY
        return max(self._next_at, self._held_until) if self.is_limited else now

    def _is_unlimited(self, now: float) -> bool:
        """Whether the limit is gone: the rate is far above it, and no longer what holds requests back."""
        if not self.is_limited or self.is_probing or self._successes_since < _REQUESTS_A_RECOVERY:
            return False
        # During the search the rate grows with what succeeds, so it is compared with that.
        return self.rate(now) >= _UNLIMITED * (self._recent_successes(now) if self._is_searching else self._ceiling)

    def sent(self, now: float) -> None:
        """A request is sent."""
        if self.is_limited:
            is_late = now - self._next_at <= _CATCH_UP  # only because its timer was
            self._next_at = (self._next_at if is_late else now) + 1 / self.rate(now)

    @property
    def at_once(self) -> int:
        """How many requests may be in flight now."""
        return 1 if self.is_probing else self.limit

    def succeeded(self, sent_at: float, now: float) -> None:
        """A request that was sent at `sent_at` was answered."""
        if now >= self._second_ends:
            self._next_second(now)
        self._successes += 1
        if self._refused_since is not None and sent_at >= self._slowed_at:
            self._refused_since = None
            self.is_probing = False
            self._hold = _FIRST_HOLD
        self._successes_since += 1
        if self.limit < self.most:
            self._widen(now)

    def pushed_back(self, sent_at: float, now: float, asked: float | None = None) -> None:
        """The server refused a request because of its load; `asked` is its Retry-After in seconds, if it sent one.

        Refusals of requests that were in flight at the first refusal are ignored.
        """
        is_news = sent_at >= self._slowed_at
        if is_news:
            self._slow_down(now, asked or 0.0)
        if asked is not None:
            self._held_until = max(self._held_until, now + asked + self._jitter() * min(asked / 10, 1.0))
        elif is_news:
            hold = min(max(self._hold, 1 / self._ceiling), _LONGEST_HOLD)
            self._held_until = max(self._held_until, now + hold * (1 + self._jitter() / 10))

    def _slow_down(self, now: float, asked: float) -> None:
        """Fewer requests, at a lower rate; without a success since the last time the rate is not to blame."""
        if self._refused_since is None:
            self._refused_since = now
            self._learn(now, min(_HOLDS_A_RECOVERY * asked, _LONGEST_RECOVERY))
            self.is_limited = True
            self._proven = max(1, self.limit - 1)
            self.limit = max(1, self.limit // 2)
        else:
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self.is_probing = True
        self._slowed_at = now
        self._successes_since = self._since_wider = 0

    def connection_lost(self, sent_at: float, now: float) -> None:
        """A connection was lost or timed out. Many in a second mean too many connections for the server."""
        if now >= self._second_ends:
            self._next_second(now)
        self._losses += 1
        if self._losses >= _MANY_LOST and self._losses > self._recent_successes(now) and sent_at >= self._slowed_at:
            self._slowed_at = now
            self._proven = max(1, self.limit - 1)
            self.limit = max(1, self.limit // 2)
            self._losses = self._since_wider = 0

    def is_hopeless(self, now: float, patience: float) -> bool:
        """Whether nothing has succeeded for `patience` seconds."""
        return self._refused_since is not None and now - self._refused_since > patience

    def _learn(self, now: float, least_recovery: float) -> None:
        """Estimate the limit from the current rate and what succeeded."""
        before, rate = self._ceiling, self.rate(now)
        through = max(self._recent_successes(now), self._successes_since / max(1.0, now - self._slowed_at))
        least = rate * (0.5 if self._is_searching else 1 - _MARGIN) if before else _FIRST_GUESS
        self._ceiling = max(_SLOWEST, min(rate, max(through, least)))
        self._is_searching = not before
        if abs(self._ceiling - before) <= _CLOSE * before:
            self._recovery = min(max(2 * self._recovery, least_recovery), _LONGEST_RECOVERY)
        else:
            self._recovery = max(self._recovery / 2, _FIRST_RECOVERY, least_recovery / 2)

    def _widen(self, now: float) -> None:
        """One more request at once: soon, up to what worked before; beyond that only after a recovery."""
        self._since_wider += 1
        if self._since_wider >= 2 * self.limit and (
            self.limit < self._proven or now - self._slowed_at > self._recovery
        ):
            self._since_wider = 0
            self.limit += 1
            self._proven = max(self._proven, self.limit)

    def _next_second(self, now: float) -> None:
        self._successes_before = self._successes if now < self._second_ends + 1 else 0
        self._successes = self._losses = 0
        self._second_ends = now + 1

    def _recent_successes(self, now: float) -> int:
        """How many requests succeeded in the last second."""
        if now >= self._second_ends:
            self._next_second(now)
        return self._successes + round(self._successes_before * min(1.0, self._second_ends - now))


class Gate:
    """Lets requests pass as `throttle` allows: first come, first served, urgent ones first."""

    def __init__(self, most: int, pace: SharedPace | None = None) -> None:
        """`pace` is one that other processes share."""
        self.throttle = Throttle(most)
        self._pace = pace
        self._under_way = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, *, urgent: bool = False, refused: bool = False) -> None:
        """Wait until a request may be sent. Those that the server has refused go first, the latest at the head, so that
        they do not starve; then urgent ones, for which others wait."""
        throttle = self.throttle
        is_first = not self._urgent and (urgent or refused or not self._waiting)
        if is_first and not self._is_limited and self._under_way < throttle.limit:
            self._under_way += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        queue = self._urgent if urgent or refused else self._waiting
        if refused:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self._release()
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():
                self._under_way -= 1  # it may be sent, and will not be
            elif waiter in queue:
                queue.remove(waiter)
            self._release()
            raise

    def leave(self) -> None:
        self._under_way -= 1
        if self._urgent or self._waiting:
            self._release()

    def _release(self) -> None:
        """Let requests pass; if only the rate forbids the next one, set a timer for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (queue := self._urgent or self._waiting) and self._under_way < self.throttle.at_once:
            if self._is_limited and self._must_wait():
                return
            waiter = queue.popleft()
            if not waiter.done():
                if self._is_limited:
                    self._sent(asyncio.get_running_loop().time())
                self._under_way += 1
                waiter.set_result(None)

    @property
    def _is_limited(self) -> bool:
        return self.throttle.is_limited or self._pace is not None

    def _sent(self, now: float) -> None:
        self.throttle.sent(now)
        if self._pace is not None:
            self._pace.sent(now)

    def _must_wait(self) -> bool:
        """Whether it is too early for the next request; if so, a timer is set."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = self.throttle.next_send_at(now)
        if self._pace is not None and (paced := self._pace.next_send_at(now)) > max(due, now + _TICK):
            due = self._pace.wait_until(paced)
            self._timer = loop.call_at(max(due, now + _TICK), self._release)
            return True
        if due <= now + _TICK:
            return False
        self._timer = loop.call_at(due, self._release)
        return True


def shared_gate(most: int) -> Gate:
    """A gate that keeps to the pace that a worker gave this process, if one did."""
    return Gate(most, shared_pace())

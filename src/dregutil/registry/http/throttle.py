"""How fast a registry lets us be: how many requests under way, and how many a second. Learnt from what it refuses.

One connection can already be too fast, so it is the pace that is learnt first. At the first refusal what got through in
the last second is the first guess, which is doubled until the server refuses again. From a little below the limit so
found the rate climbs along a cubic curve: quickly back to just under it, slowly around it, and faster the longer
nothing is refused. The nearer each refusal comes to where the last one was, the longer the stay below it. Where nobody
pushes back none of this is at work.
"""

from __future__ import annotations

import asyncio
import math
import random
from collections import deque
from collections.abc import Callable

__all__ = ["PATIENCE", "Gate", "Throttle"]

PATIENCE = 120.0  # seconds in which nothing gets through, after which the server is given up: two windows of a minute

_BACK = 0.1  # the part of the rate by which it falls below the limit that was met
_FREE = 4.0  # times the limit that was met: a server that takes so much has that limit no more
_DOUBLED_IN, _DOUBLED_AFTER = 0.5, 4  # seconds and requests, while the limit is looked for
_FIRST_STAY, _LONGEST_STAY = 1.0, 30.0  # seconds from a fall to the limit's height again
_REQUESTS_A_STAY = 20.0  # at the least: a slow server is not tried again after each request
_HOLDS_A_STAY = 8.0  # at the least: what a refusal costs is to be a small part of the time
_CLOSE = 0.08  # two limits that differ by no more of themselves are one
_FIRST_HOLD, _LONGEST_HOLD = 0.05, 10.0  # seconds of silence, doubled while nothing gets through
_SLOWEST, _FIRST_GUESS = 0.05, 1.0  # requests a second, at the least
_TICK = 1e-6  # seconds: what timers do not tell apart
_CATCH_UP = 0.01  # seconds by which a late timer is made up for
_MANY_BROKEN = 3  # connections that broke off within a second, and more of them than of answers: too many at once


class Throttle:
    """The limits as they are now. Pure: all times are seconds on one monotonic clock, and are passed in."""

    def __init__(self, most: int, *, chance: Callable[[], float] = random.random) -> None:
        """`most` requests under way. `chance` gives jitter, from 0 to 1, to what several programs would do at once."""
        self.most = max(1, most)
        self.limit = self.most  # requests under way
        self.is_pushed = False  # a limit on the pace is at work
        self.is_probing = False  # nothing has got through since the last refusal: one request alone finds out
        self._chance = chance
        self._ceiling = 0.0  # requests a second that the server pushed back at
        self._stay = _FIRST_STAY
        self._is_searching = False  # the ceiling is a first guess
        self._fell_at = float("-inf")
        self._refused_since: float | None = None
        self._hold = _FIRST_HOLD
        self._held_until = self._next_at = float("-inf")
        self._narrow = self.most  # under way, without a refusal in living memory
        self._since_wider = 0
        self._second_ends = float("-inf")
        self._well = self._well_before = self._well_since_fall = 0
        self._broken = 0

    def rate(self, now: float) -> float:
        """Requests a second that are sent now at the most."""
        if not self.is_pushed:
            return float("inf")
        since = now - max(self._fell_at, min(now, self._held_until))
        if self._is_searching:
            doubled: float = min(since / _DOUBLED_IN, self._well_since_fall / _DOUBLED_AFTER, 60.0)
            return (1 - _BACK) * self._ceiling * math.exp2(doubled)
        climbed = since / max(self._stay, _REQUESTS_A_STAY / self._ceiling) - 1
        return self._ceiling * (1 + _BACK * climbed**3)

    def may_send_at(self, now: float) -> float:
        """When the next request may go, as far as the pace is concerned; not later than `now`: at once."""
        if self._is_free(now):
            self.is_pushed = self._is_searching = False
            self._ceiling, self._stay = 0.0, _FIRST_STAY
        return max(self._next_at, self._held_until) if self.is_pushed else now

    def _is_free(self, now: float) -> bool:
        """Whether the limit that was met is no more: the pace is far beyond it, and not what bounds us."""
        if not self.is_pushed or self.is_probing or self._well_since_fall < _REQUESTS_A_STAY:
            return False
        # While the limit is looked for, the pace grows with what gets through: free is who is not bound by it.
        return self.rate(now) >= _FREE * (self._lately(now) if self._is_searching else self._ceiling)

    def sent(self, now: float) -> None:
        """A request goes out."""
        if self.is_pushed:
            is_late = now - self._next_at <= _CATCH_UP  # the timer, not we
            self._next_at = (self._next_at if is_late else now) + 1 / self.rate(now)

    @property
    def room(self) -> int:
        """How many may be under way now."""
        return 1 if self.is_probing else self.limit

    def went_well(self, sent_at: float, now: float) -> None:
        """A request that was sent at `sent_at` got through."""
        if now >= self._second_ends:
            self._next_second(now)
        self._well += 1
        if self._refused_since is not None and sent_at >= self._fell_at:
            self._refused_since = None
            self.is_probing = False
            self._hold = _FIRST_HOLD
        self._well_since_fall += 1
        if self.limit < self.most:
            self._widen(now)

    def pushed_back(self, sent_at: float, now: float, asked: float | None = None) -> None:
        """The server refused a request for its load; `asked` are the seconds that it wants us to wait, if it said.

        Requests that were already under way when the first one was refused say nothing new.
        """
        is_news = sent_at >= self._fell_at
        if is_news:
            self._fall(now, asked or 0.0)
        if asked is not None:
            self._held_until = max(self._held_until, now + asked + self._chance() * min(asked / 10, 1.0))
        elif is_news:
            hold = min(max(self._hold, 1 / self._ceiling), _LONGEST_HOLD)
            self._held_until = max(self._held_until, now + hold * (1 + self._chance() / 10))

    def _fall(self, now: float, asked: float) -> None:
        """Slower and fewer; where nothing has got through since the last fall, that says nothing of the pace."""
        if self._refused_since is None:
            self._refused_since = now
            self._learn(now, min(_HOLDS_A_STAY * asked, _LONGEST_STAY))
            self.is_pushed = True
            self._narrow = max(1, self.limit - 1)
            self.limit = max(1, self.limit // 2)
        else:
            self._hold = min(2 * self._hold, _LONGEST_HOLD)
        self.is_probing = True
        self._fell_at = now
        self._well_since_fall = self._since_wider = 0

    def broke_off(self, sent_at: float, now: float) -> None:
        """A connection broke off, or no answer came in time: of many at once, the server has too many."""
        if now >= self._second_ends:
            self._next_second(now)
        self._broken += 1
        if self._broken >= _MANY_BROKEN and self._broken > self._lately(now) and sent_at >= self._fell_at:
            self._fell_at = now
            self._narrow = max(1, self.limit - 1)
            self.limit = max(1, self.limit // 2)
            self._broken = self._since_wider = 0

    def is_hopeless(self, now: float, patience: float) -> bool:
        """Whether nothing has got through for `patience` seconds."""
        return self._refused_since is not None and now - self._refused_since > patience

    def _learn(self, now: float, least_stay: float) -> None:
        """A new limit, from the rate that we had and what got through of it."""
        before, rate = self._ceiling, self.rate(now)
        through = max(self._lately(now), self._well_since_fall / max(1.0, now - self._fell_at))
        least = rate * (0.5 if self._is_searching else 1 - _BACK) if before else _FIRST_GUESS
        self._ceiling = max(_SLOWEST, min(rate, max(through, least)))
        self._is_searching = not before
        if abs(self._ceiling - before) <= _CLOSE * before:
            self._stay = min(max(2 * self._stay, least_stay), _LONGEST_STAY)
        else:
            self._stay = max(self._stay / 2, _FIRST_STAY, least_stay / 2)

    def _widen(self, now: float) -> None:
        """One more under way: soon, up to what went well before; beyond that only after a stay."""
        self._since_wider += 1
        if self._since_wider >= 2 * self.limit and (self.limit < self._narrow or now - self._fell_at > self._stay):
            self._since_wider = 0
            self.limit += 1
            self._narrow = max(self._narrow, self.limit)

    def _next_second(self, now: float) -> None:
        self._well_before = self._well if now < self._second_ends + 1 else 0
        self._well = self._broken = 0
        self._second_ends = now + 1

    def _lately(self, now: float) -> int:
        """How many got through in the last second."""
        if now >= self._second_ends:
            self._next_second(now)
        return self._well + round(self._well_before * min(1.0, self._second_ends - now))


class Gate:
    """Lets requests out, first come, first served, as `throttle` allows; the urgent ones go ahead."""

    def __init__(self, most: int) -> None:
        self.throttle = Throttle(most)
        self._under_way = 0
        self._urgent: deque[asyncio.Future[None]] = deque()
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._timer: asyncio.TimerHandle | None = None

    async def enter(self, *, urgent: bool = False, refused: bool = False) -> None:
        """Wait until a request may go out. Urgent is what many others wait for; what the server has refused goes before
        everything, the last one first: others would starve it."""
        throttle = self.throttle
        is_first = not self._urgent and (urgent or refused or not self._waiting)
        if is_first and not throttle.is_pushed and self._under_way < throttle.limit:
            self._under_way += 1
            return
        waiter = asyncio.get_running_loop().create_future()
        queue = self._urgent if urgent or refused else self._waiting
        if refused:
            queue.appendleft(waiter)
        else:
            queue.append(waiter)
        self._let_out()
        try:
            await waiter
        except BaseException:
            if not waiter.cancelled():
                self._under_way -= 1  # it was let out, and does not go
            elif waiter in queue:
                queue.remove(waiter)
            self._let_out()
            raise

    def leave(self) -> None:
        self._under_way -= 1
        if self._urgent or self._waiting:
            self._let_out()

    def _let_out(self) -> None:
        """Let out whoever may go now; where only the time is missing, come back when it is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while (queue := self._urgent or self._waiting) and self._under_way < self.throttle.room:
            if self.throttle.is_pushed and self._must_wait():
                return
            waiter = queue.popleft()
            if not waiter.done():
                if self.throttle.is_pushed:
                    self.throttle.sent(asyncio.get_running_loop().time())
                self._under_way += 1
                waiter.set_result(None)

    def _must_wait(self) -> bool:
        """Whether it is too early for the next one; then a timer is set."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = self.throttle.may_send_at(now)
        if due <= now + _TICK:
            return False
        self._timer = loop.call_at(due, self._let_out)
        return True

"""How long an exchange may take: without a sign of an answer, and in all. One timer for all that are under way.

aiohttp's own timer is one for each exchange, set anew with every chunk: more work, and pleased with a byte now and
then, for ever.
"""

from __future__ import annotations

import asyncio
import time

__all__ = ["DraggingError", "SilentError", "Watch", "Watched"]

_TICKS = 10  # looks in the time that a silence may last: so much later it is noticed at the most
_LONGEST_TICK = 1.0


class SilentError(TimeoutError):
    """Nothing came for too long."""


class DraggingError(TimeoutError):
    """Something comes now and then, and the answer is not whole after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"not whole after {seconds:g} s")
        self.seconds = seconds


class Watched:
    """One exchange of the task that began it. All times are seconds on the monotonic clock."""

    __slots__ = ("_cancelling", "_has_cancelled", "_longest", "_patience", "_task", "error", "heard_at", "started")

    def __init__(self, patience: float, longest: float, now: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._patience = patience
        self._longest = longest
        self.started = now
        self.heard_at = now  # of an answer: set it when there is something of it
        self.error: TimeoutError | None = None
        self._has_cancelled = False

    def look(self, now: float) -> None:
        """End the exchange if it takes too long."""
        if self.error is not None:
            return
        if now - self.heard_at > self._patience:
            self.error = SilentError()
        elif now - self.started > self._longest:
            self.error = DraggingError(self._longest)
        else:
            return
        self._has_cancelled = self._task.cancel()

    def take_back(self) -> bool:
        """Take back what `look` cancelled. True: nobody else has cancelled the task."""
        if not self._has_cancelled:
            return False
        self._has_cancelled = False
        return self._task.uncancel() <= self._cancelling


class Watch:
    """Looks at all exchanges from time to time, as long as there are any."""

    def __init__(self, patience: float) -> None:
        """`patience` is the shortest that any exchange will have, in seconds."""
        self._tick = min(patience / _TICKS, _LONGEST_TICK)
        self._under_way: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._was_late = False  # the last look, which therefore ended nothing

    def begin(self, patience: float, longest: float) -> Watched:
        """An exchange of this task begins: `patience` without a sign of an answer, `longest` in all (seconds)."""
        watched = Watched(patience, longest, time.monotonic())
        self._under_way.add(watched)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._look)
        return watched

    def end(self, watched: Watched) -> None:
        """An exchange is over, however it ended."""
        self._under_way.discard(watched)
        watched.take_back()

    def _look(self) -> None:
        loop, due = asyncio.get_running_loop(), self._timer
        self._timer = None
        if not self._under_way:
            return
        # A program that was stopped (Ctrl-Z) has heard nothing, and yet the answers may be there: they are read first.
        self._was_late = not self._was_late and due is not None and loop.time() - due.when() > self._tick
        if not self._was_late:
            now = time.monotonic()
            for watched in tuple(self._under_way):
                watched.look(now)
        self._timer = loop.call_later(self._tick, self._look)

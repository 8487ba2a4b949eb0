"""Limits on how long an exchange may take: without receiving anything, and in total. One timer serves all exchanges.

aiohttp sets a timer for each exchange and resets it with every chunk. That costs more, and a server that sends a byte
now and then could keep an exchange open for ever.
"""

from __future__ import annotations

import asyncio
import time

__all__ = ["LONGEST_ANSWER", "NoAnswerError", "TooSlowError", "Watch", "Watched"]

# Times the time-out, until an answer must be complete. For a DELETE, for which a server may read every tag of the
# repository, nothing needs to arrive before that. A dead server is still detected.
LONGEST_ANSWER = 20
_TICKS = 10  # checks within the allowed silence, so it is detected late by a tenth of it at most
_LONGEST_TICK = 1.0


class NoAnswerError(TimeoutError):
    """Nothing was received for too long."""


class TooSlowError(TimeoutError):
    """The answer is still incomplete after `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__(f"incomplete after {seconds:g} s")
        self.seconds = seconds


class Watched:
    """One exchange, in the task that began it. Times are seconds on the monotonic clock."""

    __slots__ = ("_cancelling", "_has_cancelled", "_longest", "_patience", "_task", "error", "heard_at", "started")

    def __init__(self, patience: float, longest: float, now: float) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._cancelling = task.cancelling()
        self._patience = patience
        self._longest = longest
        self.started = now
        self.heard_at = now  # to be set whenever a part of the answer arrives
        self.error: TimeoutError | None = None
        self._has_cancelled = False

    def check(self, now: float) -> None:
        """Cancel the exchange if it has taken too long."""
        if self.error is not None:
            return
        if now - self.heard_at > self._patience:
            self.error = NoAnswerError()
        elif now - self.started > self._longest:
            self.error = TooSlowError(self._longest)
        else:
            return
        self._has_cancelled = self._task.cancel()

    def uncancel(self) -> bool:
        """Undo the cancellation made by `check`. True if the task was not cancelled by anything else."""
        if not self._has_cancelled:
            return False
        self._has_cancelled = False
        return self._task.uncancel() <= self._cancelling


class Watch:
    """Checks all exchanges periodically, as long as there are any."""

    def __init__(self, patience: float) -> None:
        """`patience` is the shortest silence, in seconds, that any exchange allows."""
        self._tick = min(patience / _TICKS, _LONGEST_TICK)
        self._under_way: set[Watched] = set()
        self._timer: asyncio.TimerHandle | None = None
        self._was_late = False  # the last check, which therefore cancelled nothing

    def begin(self, patience: float, longest: float) -> Watched:
        """Begin an exchange in this task that allows `patience` seconds of silence and `longest` seconds in total."""
        watched = Watched(patience, longest, time.monotonic())
        self._under_way.add(watched)
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._tick, self._check)
        return watched

    def end(self, watched: Watched) -> None:
        """End an exchange, whatever its outcome."""
        self._under_way.discard(watched)
        watched.uncancel()

    def _check(self) -> None:
        loop, due = asyncio.get_running_loop(), self._timer
        self._timer = None
        if not self._under_way:
            return
        # After the program was stopped (Ctrl-Z), answers may be waiting: they are read before anything is cancelled.
        self._was_late = not self._was_late and due is not None and loop.time() - due.when() > self._tick
        if not self._was_late:
            now = time.monotonic()
            for watched in tuple(self._under_way):
                watched.check(now)
        self._timer = loop.call_later(self._tick, self._check)

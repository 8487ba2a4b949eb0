"""A pace that several processes share: how many requests a second this one may send stands in a file, which is read
again every second. The worker that started this process writes it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

__all__ = ["VARIABLE", "SharedPace", "shared_pace"]

VARIABLE = "DREGUTIL_PACE_FILE"
_EVERY = 1.0  # seconds between two looks
_LONGEST = 64  # bytes of the file
_MOST = 1e6  # requests a second
_CATCH_UP = 0.01  # seconds of a timer's delay that are made up for


class SharedPace:
    """Times are in seconds, of a clock that only rises."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._rate = 0.0  # requests a second; 0: no limit
        self._look_at = self._last = float("-inf")

    def next_send_at(self, now: float) -> float:
        """When the next request may be sent: a time up to `now` means at once."""
        if now >= self._look_at:
            self._look_at = now + _EVERY
            self._look()
        return self._last + 1 / self._rate if self._rate else now

    def wait_until(self, due: float) -> float:
        """When to ask again, before `due`: the pace may have changed by then."""
        return min(due, self._look_at)

    def sent(self, now: float) -> None:
        """A request is sent."""
        due = self.next_send_at(now)
        is_late = now - due <= _CATCH_UP  # only because its timer was
        self._last = due if is_late else now

    def _look(self) -> None:
        """Read the file; one that cannot be read leaves the pace as it was."""
        try:
            with self._path.open("rb") as file:
                found = float(file.read(_LONGEST))
        except (OSError, ValueError):
            return
        if 0 <= found <= _MOST:
            self._rate = found


def shared_pace(env: Mapping[str, str] = os.environ) -> SharedPace | None:
    """The pace of this process; None if it has one of its own."""
    named = env.get(VARIABLE)
    return SharedPace(Path(named)) if named else None

"""The clock by which the age of what was read decides on a write: it goes on while the machine sleeps. Nobody sets it.

`time.monotonic`, and with it every timer of asyncio, may stand still meanwhile: a laptop that is closed in the middle
of a run would take a look of hours ago for a fresh one when it wakes.

Linux    clock_gettime(2): CLOCK_MONOTONIC "does not count time that the system is suspended"; CLOCK_BOOTTIME "also
         includes any time that the system is suspended". Python's `time.monotonic` is the former.
macOS    clock_gettime(3): CLOCK_MONOTONIC "will continue to increment while the system is asleep". Python's
         `time.monotonic` is mach_absolute_time (PEP 418), which that page says does not.
others   CLOCK_BOOTTIME where there is one, else `time.monotonic`.

A virtual machine that is paused from outside knows of no time that passed: no clock in it does.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

__all__ = ["now"]


def _read() -> Callable[[], float]:
    """What reads the clock on this machine. A sandbox may refuse what the platform has."""
    for name in ("CLOCK_BOOTTIME", *(["CLOCK_MONOTONIC"] if sys.platform == "darwin" else [])):
        number: int | None = getattr(time, name, None)
        if number is not None:
            with suppress(OSError):
                time.clock_gettime(number)
                return partial(time.clock_gettime, number)
    return time.monotonic


_clock = _read()


def now() -> float:
    """Seconds since a moment that only this process knows: only differences say anything."""
    return _clock()

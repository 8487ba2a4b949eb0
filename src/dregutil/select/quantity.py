"""Durations and sizes as users write them: `90d`, `1d12h`, `1GB`, `1.5 GiB`. Pure."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal

from dregutil.errors import UsageError

__all__ = ["age_as_written", "duration_as_written", "parse_duration", "parse_size"]

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400, "y": 365 * 86400}
_DURATION = re.compile(r"(?:\d{1,9}[smhdwy])+", re.ASCII)
_PART = re.compile(r"(\d+)([smhdwy])", re.ASCII)
_LONGEST = timedelta(days=365 * 1000)
_SIZE = re.compile(r"(\d{1,18}(?:\.\d{1,9})?)\s*(?:([kmgtp])(i?))?b?", re.ASCII | re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5}
_LARGEST = 1 << 62


def parse_duration(text: str) -> timedelta:
    """`90d`, `24h`, `2w`, `30m` (minutes), `1y` (365 days), or several in a row (`1d12h`). Raises UsageError."""
    found = timedelta()
    if _DURATION.fullmatch(text.strip()):
        seconds = sum(int(number) * _SECONDS[unit] for number, unit in _PART.findall(text))
        found = timedelta(seconds=seconds) if seconds <= _LONGEST.total_seconds() else _LONGEST * 2
        if found <= _LONGEST:
            return found
    what = "longer than 1,000 years" if found else "not a duration"
    raise UsageError(f"{text[:50]!r} is {what}", advice="write a number and a unit, such as 90d, 24h, 2w or 1d12h")


def duration_as_written(duration: timedelta) -> str:
    """Format a duration as it can be written: `90d`, `1d12h`, `30m`."""
    left = int(duration.total_seconds())
    parts = []
    for unit in "dhms":
        number, left = divmod(left, _SECONDS[unit])
        if number:
            parts.append(f"{number}{unit}")
    return "".join(parts) or "0s"


def age_as_written(age: timedelta) -> str:
    """Format an age, rounded down to the largest unit of which it has two: `180d`, `1d3h` (27 hours), `5m`."""
    seconds = max(age.total_seconds(), 0)
    whole = next(unit for unit in (86400, 3600, 60, 1) if seconds >= 2 * unit or unit == 1)
    return duration_as_written(timedelta(seconds=seconds // whole * whole))


def parse_size(text: str) -> int:
    """Parse a size into bytes: `500`, `1GB` (10⁹), `1GiB` (2³⁰), `1.5 MB`; case-insensitive. Raises UsageError."""
    found = _SIZE.fullmatch(text.strip())
    if found is not None:
        factor = math.prod([1024 if found[3] else 1000] * _POWERS[(found[2] or "").lower()])
        size = int(Decimal(found[1]) * factor)
        if size < _LARGEST:
            return size
    raise UsageError(f"{text[:50]!r} is not a size", advice="write a number of bytes, or one with a unit, such as 1GB")

"""Sizes and durations in messages."""

from __future__ import annotations

__all__ = ["age_text", "duration_text", "plural", "size_text"]

_STEP = 1000
_DAY = 86400  # seconds
_AGES = (
    (365 * _DAY, "year", 2),
    (30 * _DAY, "month", 3),
    (7 * _DAY, "week", 2),
    (_DAY, "day", 2),
    (3600, "hour", 1),
    (60, "minute", 1),
)


def size_text(size: int) -> str:
    """A number of bytes in decimal units (`184 MB`), as `docker images` shows them."""
    amount = float(size)
    units = ["B", "kB", "MB", "GB", "TB"]
    while amount >= _STEP and len(units) > 1:
        amount /= _STEP
        units.pop(0)
    return f"{amount:.1f} {units[0]}" if amount < 10 and units[0] != "B" else f"{amount:.0f} {units[0]}"


def duration_text(seconds: float) -> str:
    """A number of seconds, in the unit that suits: `2 s`, `5 min`, `3.0 h`."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def age_text(seconds: float) -> str:
    """How long ago something was, in the largest unit of which there are two: `40 minutes`, `13 days`, `8 weeks`."""
    for unit, noun, least in _AGES:
        if seconds >= unit * least:
            number = int(seconds // unit)
            return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"
    return f"{max(0, int(seconds))} s"


def plural(number: int, noun: str) -> str:
    """`3 tags`, `1 tag`."""
    if number == 1:
        return f"1 {noun}"
    return f"{number:,} {noun[:-1]}ies" if noun.endswith("y") else f"{number:,} {noun}s"

"""Which requests may be sent again, and after how long. Pure."""

from __future__ import annotations

import random
from collections.abc import Mapping
from datetime import UTC, datetime

__all__ = ["MOST_ATTEMPTS", "Pace", "asked_wait", "is_temporary", "retry_after", "wait_before"]

MOST_ATTEMPTS = 6
_TEMPORARY = frozenset((429, 502, 503, 504))
_LONGEST_WAIT = 60.0  # seconds before one attempt, whatever the server asks for
_FIRST_WAIT = 0.25


def is_temporary(status: int) -> bool:
    """Whether a GET or HEAD answered with this status may be sent again."""
    return status in _TEMPORARY


def retry_after(value: str | None, now: datetime) -> float | None:
    """The seconds a Retry-After header asks for (RFC 9110 §10.2.3: seconds or a date), at most 60; None if unusable."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return min(float(text[:9]), _LONGEST_WAIT)
    from email.utils import parsedate_to_datetime

    try:
        until = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return min(max((until - now).total_seconds(), 0.0), _LONGEST_WAIT)


def asked_wait(headers: Mapping[str, str], now: datetime) -> float | None:
    """The seconds that an answer asks to wait, at most 60; None if it does not say.

    Docker Hub sends X-Retry-After instead, with the time itself in seconds since 1970 (its API's documentation).
    """
    asked = retry_after(headers.get("Retry-After"), now)
    epoch = headers.get("X-Retry-After", "").strip()
    if asked is not None or not (epoch.isascii() and epoch.isdigit()):
        return asked
    return min(max(float(epoch[:18]) - now.timestamp(), 0.0), _LONGEST_WAIT)


def wait_before(attempt: int, asked: float | None) -> float:
    """Seconds to wait after `attempt` (from 0): what the server asked for, else exponential; with jitter."""
    longest = _FIRST_WAIT * 2**attempt
    if asked is not None:
        return asked + random.uniform(0, min(longest, 1.0))  # noqa: S311 - jitter, no secret
    return random.uniform(longest / 2, longest)  # noqa: S311 - jitter, no secret


class Pace:
    """How long exchanges take, in seconds: an exponential moving average."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def took(self, seconds: float) -> None:
        self.seconds = seconds if not self.seconds else 0.95 * self.seconds + 0.05 * seconds

"""Values in the documents of a service, which may be missing, of another type, or nonsense. Pure.

Each function returns None, or nothing, for what it does not understand: a field that is not known is not guessed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from dregutil.errors import NoListingError, UsageError
from dregutil.oci.names import Digest, Tag

__all__ = ["dicts", "digest", "from_seconds", "latest", "number", "tags", "text", "time"]

_FIRST = datetime(1970, 1, 2, tzinfo=UTC)  # "never" is written as 0001-01-01 or 1970-01-01
_FRACTION = re.compile(r"(\.\d{1,6})\d*")


def text(document: Any, name: str) -> str:
    """A text; empty if there is none."""
    found = document.get(name) if isinstance(document, dict) else None
    return found if isinstance(found, str) else ""


def number(value: object) -> int | None:
    """A whole number that is not negative, also where it is written as a text."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) < 19:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def time(value: object) -> datetime | None:
    """A time in RFC 3339, in UTC; None for "never" (the year 1, or 1970-01-01)."""
    if not isinstance(value, str) or len(value) > 64:
        return None
    try:
        found = datetime.fromisoformat(_FRACTION.sub(r"\1", value.strip()))
    except ValueError:
        return None
    return _known(found if found.tzinfo is not None else found.replace(tzinfo=UTC))


def from_seconds(value: float | None) -> datetime | None:
    """A time from seconds since 1970; None for zero."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return _known(datetime.fromtimestamp(value, UTC))
    except (ValueError, OverflowError, OSError):
        return None


def latest(times: Iterable[datetime | None]) -> datetime | None:
    """The latest of the times that are known; None if none is."""
    return max((moment for moment in times if moment is not None), default=None)


def digest(value: object) -> Digest | None:
    try:
        return Digest.parse(value) if isinstance(value, str) else None
    except UsageError:
        return None


def tags(value: object) -> tuple[Tag, ...]:
    """The valid tags in a list, each once; none for null. Other names cannot be requested."""
    found: dict[Tag, None] = {}
    for name in value if isinstance(value, list) else ():
        try:
            if isinstance(name, str):
                found[Tag.parse(name)] = None
        except UsageError:
            continue
    return tuple(found)


def dicts(value: object, what: str) -> Iterable[dict[str, Any]]:
    """The objects of a list; none for null. Raises NoListingError if it is no list of objects: `what` names it."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise NoListingError(f"{what}: its answer does not have the form that dregutil knows")
    return value


def _known(moment: datetime) -> datetime | None:
    try:
        found = moment.astimezone(UTC)
    except OverflowError:
        return None
    return found if found >= _FIRST else None

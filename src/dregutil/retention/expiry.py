"""When an image expires, by a label that says so: `quay.expires-after=2w`. Pure."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta, tzinfo

from dregutil.errors import UsageError
from dregutil.retention.dates import latest_arrival
from dregutil.retention.policy import Expires
from dregutil.retention.verdict import TagFacts
from dregutil.select.quantity import age_as_written, parse_duration

__all__ = ["Expiry", "expiry_of", "inherited_value", "parse_expiry", "unreadable_values"]

# RFC 3339; `datetime.fromisoformat` takes more than that.
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d(?P<time>[Tt ]\d\d:\d\d:\d\d(\.\d{1,6})?([Zz]|[+-]\d\d:\d\d))?", re.ASCII)
_FEWEST = 4  # images of a repository, to say that most of them share a value


@dataclass(frozen=True, slots=True)
class Expiry:
    """When an image expires. `at` is None if it does not, or if that is not known; `text` is why.

    `by_content`: the image alone says that it does not expire, whatever its dates.
    """

    at: datetime | None
    text: str
    by_content: bool = False

    def is_over(self, now: datetime) -> bool:
        return self.at is not None and self.at <= now


def parse_expiry(text: str, zone: tzinfo) -> timedelta | datetime | None:
    """A duration of more than zero, or a moment; of a day, its end in `zone`. None if it is neither."""
    found = _MOMENT.fullmatch(text.strip())
    try:
        if found is None:
            return parse_duration(text.strip()) or None
        if found["time"] is not None:
            return datetime.fromisoformat(found[0].upper()).astimezone(UTC)
        day = datetime.fromisoformat(found[0]) + timedelta(days=1)
        return datetime.combine(day, time(), zone).astimezone(UTC)
    except (UsageError, ValueError, OverflowError):
        return None


def expiry_of(
    expires: Expires, facts: TagFacts, date: datetime | None, zone: tzinfo, now: datetime, *, shares_date: bool = False
) -> Expiry:
    """When a tag with this (plausible) date expires; of several values, the latest counts.

    `shares_date`: most of its group has the same date, so it says nothing about the image's age.
    """
    values = () if facts.content is None else sorted(facts.content.marked(expires.label))
    if not values:
        return Expiry(
            None, f"it has no {expires.label}" if facts.content else "its content was not read", by_content=True
        )
    shown = ", ".join(f"{expires.label}={value}" for value in values)
    read = [parse_expiry(value, zone) for value in values]
    if any(one is None for one in read):
        return Expiry(None, f"{shown} cannot be read, so it does not expire", by_content=True)
    if shares_date:
        return Expiry(None, f"most of its group has the same date, so {shown} does not count")
    arrival = latest_arrival(facts, date)
    start = _start(expires, facts, arrival)
    if start is None and any(isinstance(one, timedelta) for one in read):
        return Expiry(None, f"{shown} counts from its date, which is unknown")
    at = max(found for one in read if (found := _end(one, start)) is not None)
    if arrival is not None and at <= arrival:
        return Expiry(None, f"{shown}, but it came here after that")
    ago = f"it expired {age_as_written(now - at)} ago" if at <= now else f"it expires {at:%Y-%m-%d %H:%M} UTC"
    return Expiry(at, f"{ago}: {shown}")


def _end(value: timedelta | datetime | None, start: datetime | None) -> datetime | None:
    if not isinstance(value, timedelta):
        return value
    try:
        return None if start is None else start + value
    except OverflowError:
        return datetime.max.replace(tzinfo=UTC)


def _start(expires: Expires, facts: TagFacts, arrival: datetime | None) -> datetime | None:
    """From when a duration counts: the latest that is known, so that a copy does not expire by the age of its image.
    When the registry's service saw it pushed makes that later, and is no date for what has none."""
    known = [arrival] if arrival is not None else []
    if expires.from_seen:
        known += [one for one in (facts.known_since, facts.seen) if one is not None]
    later = (facts.young_since, facts.served.pushed if expires.from_seen else None)
    return max([*known, *(one for one in later if one is not None)]) if known else None


def unreadable_values(expires: Expires, facts: Sequence[TagFacts], zone: tzinfo) -> Sequence[tuple[TagFacts, str]]:
    """The tags with a value that cannot be read."""
    return [
        (one, value)
        for one in facts
        if one.content is not None
        for value in sorted(one.content.marked(expires.label))
        if parse_expiry(value, zone) is None
    ]


def inherited_value(expires: Expires, facts: Sequence[TagFacts]) -> tuple[str, int, int] | None:
    """The value that more than half of the images have, how many have it, and of how many: it may come from a base
    image, whose labels every image inherits."""
    contents = {one.digest: one.content for one in facts if one.content is not None}
    found = Counter[str]()
    for content in contents.values():
        found.update(content.marked(expires.label))
    most = max(found.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    if len(contents) < _FEWEST or most[1] * 2 <= len(contents):
        return None
    return (*most, len(contents))

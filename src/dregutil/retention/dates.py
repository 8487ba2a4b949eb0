"""By which moment a tag is judged, and whether that can be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from dregutil.details import known_date
from dregutil.retention.policy import Period, UnknownDate
from dregutil.retention.verdict import TagFacts

__all__ = ["bucket", "date_of", "is_old_enough", "shared_date"]


def date_of(facts: TagFacts, unknown_date: UnknownDate, now: datetime) -> datetime | None:
    """The latest of the creation date and the moment when our records saw the tag come; None where unknown.

    Where the creation date is unknown, only `first_seen` lets our records stand in for it.
    """
    created = known_date(facts.created, now)
    if created is not None:
        return created if facts.seen is None else max(created, facts.seen)
    if unknown_date is UnknownDate.FIRST_SEEN:
        return facts.seen or facts.known_since
    return None


def shared_date(facts: Sequence[TagFacts], dates: Sequence[datetime | None]) -> datetime | None:
    """The one date that more than half of a group's images have, if several do: nobody can believe it.

    That many manifests lost their last tag by one and the same crawl is no wonder.
    """
    pairs = {
        (one.digest, None if one.tag is None and date == one.seen else date)
        for one, date in zip(facts, dates, strict=True)
    }
    counted = Counter(date for _, date in pairs if date is not None)
    if not counted:
        return None
    date, number = max(counted.items(), key=lambda found: found[1])
    images = len({digest for digest, _ in pairs})
    return date if number > 1 and number * 2 > images else None


def is_old_enough(facts: TagFacts, date: datetime | None, min_age: timedelta, now: datetime) -> bool:
    """Whether a tag is known to be no younger than `min_age`: by its (believed) date, or by our records."""
    if min_age <= timedelta(0):
        return True
    if date is not None and now - date >= min_age:
        return True
    return facts.known_since is not None and now - facts.known_since >= min_age


def bucket(local: datetime, period: Period) -> tuple[int, ...]:
    """The day, ISO week, month or year of a moment, as its own time zone has it; ordered."""
    if period is Period.WEEKLY:
        return local.isocalendar()[:2]
    if period is Period.YEARLY:
        return (local.year,)
    return (local.year, local.month) if period is Period.MONTHLY else (local.year, local.month, local.day)

"""By which moment a tag is judged, and whether that can be believed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

from dregutil.oci.image import known_date
from dregutil.retention.policy import Period, UnknownDate
from dregutil.retention.verdict import TagFacts

__all__ = ["bucket", "came_as_built", "date_of", "is_old_enough", "latest_arrival", "shared_date"]


def date_of(facts: TagFacts, unknown_date: UnknownDate, now: datetime) -> datetime | None:
    """The latest of the creation date and the moment when our records saw the tag come; None where unknown.

    An image that was built since the crawl before has its creation date: it was pushed after that, and many that come
    with one crawl are told apart. Where the creation date is unknown, only `first_seen` lets our records stand in for
    it.
    """
    created = known_date(facts.created, now)
    if created is not None:
        return created if facts.seen is None or came_as_built(facts, created) else max(created, facts.seen)
    if unknown_date is UnknownDate.FIRST_SEEN:
        return facts.seen or facts.known_since
    return None


def came_as_built(facts: TagFacts, created: datetime) -> bool:
    """Whether a tag that our records saw come has an image that was built since the crawl before that did not find it.

    An older image is a promotion, and so is one that was known before. Where that crawl is not known, neither is this.
    """
    return facts.unseen is not None and facts.unseen <= created


def latest_arrival(facts: TagFacts, date: datetime | None) -> datetime | None:
    """The latest moment at which a tag of that (believed) date can have come: how long it is here at least.

    Ages count from it, so that a clock that is wrong makes nothing older than our records have known it.
    """
    return date if date is None or facts.seen is None else max(date, facts.seen)


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
    """Whether a tag is known to be here for no less than `min_age`: by its (believed) date, or by our records."""
    if min_age <= timedelta(0):
        return True
    arrival = latest_arrival(facts, date)
    if arrival is not None and now - arrival >= min_age:
        return True
    return facts.known_since is not None and now - facts.known_since >= min_age


def bucket(local: datetime, period: Period) -> tuple[int, ...]:
    """The day, ISO week, month or year of a moment, as its own time zone has it; ordered."""
    if period is Period.WEEKLY:
        return local.isocalendar()[:2]
    if period is Period.YEARLY:
        return (local.year,)
    return (local.year, local.month) if period is Period.MONTHLY else (local.year, local.month, local.day)

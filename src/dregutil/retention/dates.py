"""The dates by which a tag is judged, and whether they are plausible."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from dregutil.oci.image import known_date
from dregutil.oci.names import Digest
from dregutil.retention.policy import Period, UnknownDate
from dregutil.retention.verdict import Dates, Served, TagFacts

__all__ = [
    "bucket",
    "came_as_built",
    "date_for_others",
    "date_of",
    "dates_of",
    "is_new",
    "is_old_enough",
    "latest_arrival",
    "shared_dates",
]


def dates_of(facts: TagFacts, unknown_date: UnknownDate, now: datetime) -> Dates | None:
    """The dates of a tag; None if they are unknown."""
    if facts.seen is None and facts.former is None:  # most tags are older than the records, and have one date
        created = known_date(facts.created, now)
        if created is not None:
            return Dates(created, created)
    own, others = date_of(facts, unknown_date, now), date_for_others(facts, unknown_date, now)
    if own is None or others is None:
        return None
    return Dates(others, own, None if facts.former is None else date_of(facts.before, unknown_date, now))


def date_of(facts: TagFacts, unknown_date: UnknownDate, now: datetime) -> datetime | None:
    """The creation date or the time when the records saw the tag appear, whichever is later; None if unknown.

    If the image was built since the previous crawl, the creation date counts: the tag was pushed after it, and images
    that appear in the same crawl keep their order. An unknown creation date is replaced by the records only with
    `first_seen`.
    """
    created = known_date(facts.created, now)
    if created is not None:
        return created if facts.seen is None or came_as_built(facts, created) else max(created, facts.seen)
    if unknown_date is UnknownDate.FIRST_SEEN:
        return facts.seen or facts.known_since
    return None


def date_for_others(facts: TagFacts, unknown_date: UnknownDate, now: datetime) -> datetime | None:
    """The date of a tag when others are judged: a tag that appears late, or returns, displaces no other.

    It is the creation date, however late the tag appeared; without one, what the records knew before the tag was
    missing. A manifest without a tag has only one date.
    """
    created = known_date(facts.created, now)
    if facts.tag is None:
        return date_of(facts, unknown_date, now)
    if created is not None:
        return created
    if unknown_date is UnknownDate.FIRST_SEEN:
        return facts.before.seen or facts.before.known_since
    return None


def is_new(facts: TagFacts, dates: Dates | None, min_age: timedelta, now: datetime) -> bool:
    """Whether a tag younger than `min_age` is new: it did not merely return, get an older image, or come once more."""
    served, facts = facts.served, replace(facts, served=Served())
    if served.pushed is not None and is_old_enough(facts, None if dates is None else dates.own, min_age, now):
        return False
    if facts.former is None and (dates is None or dates.others == dates.own):
        return True
    before = facts.before if facts.former is not None else replace(facts, seen=None)
    return not is_old_enough(replace(before, young_since=None), None if dates is None else dates.others, min_age, now)


def came_as_built(facts: TagFacts, created: datetime) -> bool:
    """Whether a tag that the records saw appear has an image that was built since the previous crawl.

    An older image, or one that was known before, is a promotion. False if the previous crawl is not known.
    """
    return facts.unseen is not None and facts.unseen <= created


def latest_arrival(facts: TagFacts, date: datetime | None) -> datetime | None:
    """The latest time at which a tag with this (plausible) date can have appeared.

    Ages count from it, so that a wrong clock makes nothing older than the records have known it, or than the registry's
    service saw it pushed.
    """
    seen, pushed = facts.seen, facts.served.pushed
    if date is None or (seen is None and pushed is None):
        return date
    return max(one for one in (date, seen, pushed) if one is not None)


def shared_dates(facts: Sequence[TagFacts], dates: Sequence[Dates | None]) -> Set[int]:
    """The indexes of those with a date that more than half of the group's images share, if several do: it is not
    plausible.

    For a tag that returned, the time of its return means nothing: it counts together with all that have its date for
    others. Manifests without a tag are exempt if they have the date of a crawl: many can lose their last tag in one.
    """
    others = [found.others for found in dates if found is not None]
    if len({*others}) == len(others):
        return frozenset()
    keys = [
        None if found is None or (one.tag is None and found.own == one.seen) else _Key.of(one, found)
        for one, found in zip(facts, dates, strict=True)
    ]
    images: dict[_Key, set[Digest]] = defaultdict(set)
    for key, one in zip(keys, facts, strict=True):
        if key is not None:
            images[key].add(one.digest)
    half = len({one.digest for one in facts}) / 2
    shared: set[_Key] = set()
    for key, digests in images.items():
        back = _Key(key.others, None)
        together = len(digests | images.get(back, set()))
        if together > max(half, 1):
            shared |= {key, back}
    return {place for place, key in enumerate(keys) if key in shared}


class _Key(NamedTuple):
    """The dates that images may share; `own` is None if the tag returned."""

    others: datetime
    own: datetime | None

    @classmethod
    def of(cls, facts: TagFacts, dates: Dates) -> _Key:
        return cls(dates.others, dates.own if facts.former is None else None)


def is_old_enough(facts: TagFacts, date: datetime | None, min_age: timedelta, now: datetime) -> bool:
    """Whether a tag is known to have existed for `min_age`: by its (plausible) date, or by the records. The registry's
    service may say that it was pushed since."""
    if min_age <= timedelta(0):
        return True
    if facts.young_since is not None and now - facts.young_since < min_age:
        return False
    if facts.served.pushed is not None and now - facts.served.pushed < min_age:
        return False
    arrival = latest_arrival(facts, date)
    if arrival is not None and now - arrival >= min_age:
        return True
    return facts.known_since is not None and now - facts.known_since >= min_age


def bucket(local: datetime, period: Period) -> tuple[int, ...]:
    """The day, ISO week, month or year of a time in its own time zone, as a key that sorts."""
    if period is Period.WEEKLY:
        return local.isocalendar()[:2]
    if period is Period.YEARLY:
        return (local.year,)
    return (local.year, local.month) if period is Period.MONTHLY else (local.year, local.month, local.day)

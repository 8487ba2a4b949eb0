"""By which moment a tag is judged, and whether that can be believed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta
from typing import NamedTuple

from dregutil.oci.image import known_date
from dregutil.oci.names import Digest
from dregutil.retention.policy import Period, UnknownDate
from dregutil.retention.verdict import Dates, TagFacts

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
    """The dates of a tag; None where they are unknown."""
    own, others = date_of(facts, unknown_date, now), date_for_others(facts, unknown_date, now)
    if own is None or others is None:
        return None
    return Dates(others, own, None if facts.former is None else date_of(facts.before, unknown_date, now))


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


def date_for_others(facts: TagFacts, unknown_date: UnknownDate, now: datetime) -> datetime | None:
    """The date that a tag has while others are judged: it never pushes them out by coming late, or by coming back.

    That is its creation date, however late the tag came; without one, what our records knew before it was missing. What
    has no tag has one date only.
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
    """Whether a tag that is younger than `min_age` came just now: not where it came back, or has an older image."""
    if facts.former is None and (dates is None or dates.others == dates.own):
        return True
    before = facts.before if facts.former is not None else replace(facts, seen=None)
    return not is_old_enough(replace(before, young_since=None), None if dates is None else dates.others, min_age, now)


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


def shared_dates(facts: Sequence[TagFacts], dates: Sequence[Dates | None]) -> Set[int]:
    """The places of those whose dates more than half of a group's images have, if several do: nobody can believe them.

    Of a tag that came back, when it came says nothing: it counts beside all with its date for others. That many
    manifests lost their last tag by one and the same crawl is no wonder.
    """
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
    """What images have in common that nobody can tell apart; `own` is None where the tag came back."""

    others: datetime
    own: datetime | None

    @classmethod
    def of(cls, facts: TagFacts, dates: Dates) -> _Key:
        return cls(dates.others, dates.own if facts.former is None else None)


def is_old_enough(facts: TagFacts, date: datetime | None, min_age: timedelta, now: datetime) -> bool:
    """Whether a tag is known to be here for no less than `min_age`: by its (believed) date, or by our records."""
    if min_age <= timedelta(0):
        return True
    if facts.young_since is not None and now - facts.young_since < min_age:
        return False
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

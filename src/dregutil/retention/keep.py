"""The keep rules: which tags of a group each rule keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property
from typing import Any

from dregutil.retention.dates import bucket, latest_arrival
from dregutil.retention.late import by_date, late_last
from dregutil.retention.names import is_named
from dregutil.retention.policy import (
    All,
    Calendar,
    KeepRule,
    LabelRule,
    Last,
    NamedIn,
    Order,
    ParsedPolicy,
    TagGlobs,
    VersionRule,
    Within,
    named_group,
)
from dregutil.retention.pull_rules import PulledWithin
from dregutil.retention.pulled import was_pulled
from dregutil.retention.verdict import Late, TagFacts
from dregutil.select.selector import Comparison
from dregutil.select.version import Reading, read_version

__all__ = ["Group", "kept_by", "may_be_in_range", "number_of", "takes_range"]

_MOST_DIGITS = 100


@dataclass(frozen=True)
class Group:
    """Tags that are judged together.

    A tag whose date or reading is None, or whose reading is not a version, has no place in the order. `dates` are those
    by which others are judged. `late`: for each tag that appeared late or returned, the later dates that may keep it.
    `numbers`: those of the regex group, if that is the order; a tag without one has no place.
    """

    facts: Sequence[TagFacts]
    dates: Sequence[datetime | None]
    readings: Sequence[Reading | None]
    order: Order
    now: datetime
    zone: tzinfo
    late: Sequence[Sequence[Late]] = ()
    numbers: Sequence[int | None] = ()

    @cached_property
    def rankings(self) -> Sequence[list[list[int]]]:
        """The possible orders of the tags: their indexes in `facts`, newest first, with ties together.

        Dates have one order. Versions have a second one if a tag may also be ranked elsewhere.
        """
        if self.order is Order.TIME:
            return [_tied(self.dates)]
        if self.order is Order.GROUP:
            return [_tied(self.numbers)]
        meant = [None if one is None else one.meant for one in self.readings]
        found = [_tied([None if version is None else version.place for version in meant])]
        rivals = [None if one is None else one.rival for one in self.readings]
        if any(rival is not None for rival in rivals):
            found.append(_tied([rival or version for rival, version in zip(rivals, meant, strict=True)]))
        return found

    @cached_property
    def newer(self) -> Mapping[int, int]:
        """For each tag with a place, how many are newer, in the order where these are fewest.

        Images are counted: several tags of one image count once, and so do versions or numbers that share a place.
        """
        return self._fewest([one.digest for one in self.facts])

    @cached_property
    def newer_tags(self) -> Mapping[int, int]:
        """As `newer`, with every tag of an image counted."""
        return self._fewest(range(len(self.facts)))

    def _fewest(self, counted: Sequence[Hashable]) -> Mapping[int, int]:
        """`counted`: for each tag, what is counted once."""
        found = dict(self._newer(self.rankings[0], counted))
        for ranking in self.rankings[1:]:
            for place, number in self._newer(ranking, counted):
                found[place] = min(number, found.get(place, number))
        return found

    def _newer(self, ranking: list[list[int]], counted: Sequence[Hashable]) -> Iterator[tuple[int, int]]:
        passed: set[Hashable] = set()
        for rank, tied in enumerate(ranking):
            number = len(passed) if self.order is Order.TIME else min(len(passed), rank)
            for place in tied:
                yield place, number
            passed.update(counted[place] for place in tied)

    def own_date(self, place: int) -> datetime | None:
        """The date by which the tag itself is judged."""
        return max(self.late[place]).date if self.late and self.late[place] else self.dates[place]

    @cached_property
    def late_crawls(self) -> Mapping[Late, Sequence[int]]:
        """The tags that appeared, or returned, in the same crawl; the latest crawl first."""
        return by_date(self.late)

    @cached_property
    def local(self) -> Sequence[datetime | None]:
        """The dates in the time zone of the calendar rules."""
        return [None if date is None else date.astimezone(self.zone) for date in self.dates]


def kept_by(rule: KeepRule, group: Group) -> Set[int]:
    """The indexes in `group.facts` of the tags that `rule` keeps."""
    return _KEEPERS[type(rule)](rule, group)


def number_of(policy: ParsedPolicy, tag: str | None) -> int | None:
    """The number in the regex group that orders the tags of a policy; None if it is not a number."""
    if policy.order is not Order.GROUP or tag is None:
        return None
    text = named_group(policy.select.regexes, policy.order_by, tag) or ""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= _MOST_DIGITS else None


def takes_range(reading: Reading, ranges: Sequence[Sequence[Comparison]]) -> bool:
    """Whether all comparisons of one of `ranges` certainly match."""
    for parts in ranges:
        for part in parts:
            if not part.takes(reading):
                break
        else:
            return True
    return False


def may_be_in_range(reading: Reading, ranges: Sequence[Sequence[Comparison]]) -> bool:
    """Whether all comparisons of one of `ranges` may match."""
    return any(all(part.may_take(reading) for part in parts) for parts in ranges)


def _last(rule: Last, group: Group) -> Set[int]:
    newer = group.newer_tags if rule.counts_tags else group.newer
    kept = {place for place, number in newer.items() if number < rule.number}
    if group.order is Order.TIME and group.late_crawls:
        kept |= late_last(rule.number, group.facts, group.dates, group.late, count_tags=rule.counts_tags)
    return kept


def _calendar(rule: Calendar, group: Group) -> Set[int]:
    kept: set[int] = set()
    for ranking in group.rankings:
        newest: dict[tuple[int, ...], list[int]] = {}
        for tied in ranking:
            for key, places in _by_bucket(rule, group, tied):
                newest.setdefault(key, places)
        for key in sorted(newest, reverse=True)[: rule.number]:
            kept.update(newest[key])
        if group.late_crawls:
            kept |= _late_calendar(rule, group, ranking, newest)
    return kept


def _by_bucket(rule: Calendar, group: Group, tied: Sequence[int]) -> Iterable[tuple[tuple[int, ...], list[int]]]:
    """The days (weeks, months, years) of tags that share a place in the order, each with its tags."""
    if len(tied) == 1:
        date = group.local[tied[0]]
        return () if date is None else ((bucket(date, rule.period), [tied[0]]),)
    dated: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for place in tied:
        date = group.local[place]
        if date is not None:
            dated[bucket(date, rule.period)].append(place)
    return dated.items()


def _late_calendar(
    rule: Calendar, group: Group, ranking: list[list[int]], newest: Mapping[tuple[int, ...], Sequence[int]]
) -> Set[int]:
    """Tags that appeared late, or returned, and are the newest of the day (week, month, year) in which they did.

    `newest`: the newest of each day among the others, by their dates.
    """
    kept: set[int] = set()
    rank = {place: number for number, tied in enumerate(ranking) for place in tied}
    for (date, _), places in group.late_crawls.items():
        key = bucket(date.astimezone(group.zone), rule.period)
        mates = [place for place in places if place in rank]
        if not mates or sum(other > key for other in newest) >= rule.number:
            continue
        best = min(rank[place] for place in mates)
        for place in newest.get(key, ())[:1]:
            other = group.dates[place]
            if rank[place] < best if group.order is not Order.TIME else other is not None and other > date:
                break
        else:
            kept.update(place for place in mates if rank[place] == best)
    return kept


def _within(rule: Within, group: Group) -> Set[int]:
    after = group.now - rule.age
    return {
        place
        for place, date in enumerate(group.dates)
        if (arrival := latest_arrival(group.facts[place], date)) is not None and arrival > after
    }


def _tags(rule: TagGlobs, group: Group) -> Set[int]:
    return {
        place
        for place, one in enumerate(group.facts)
        if one.tag is not None and any(glob.matches(one.tag) for glob in rule.globs)
    }


def _versions(rule: VersionRule, group: Group) -> Set[int]:
    return {
        place
        for place, one in enumerate(group.facts)
        if one.tag is not None and may_be_in_range(read_version(one.tag), rule.ranges)
    }


def _labels(rule: LabelRule, group: Group) -> Set[int]:
    return {
        place
        for place, one in enumerate(group.facts)
        if one.content is not None and any(label.marks(one.content) for label in rule.labels)
    }


def _named_in(rule: NamedIn, group: Group) -> Set[int]:
    return {place for place, one in enumerate(group.facts) if one.tag is not None and is_named(rule, one.tag)}


def _pulled_within(rule: PulledWithin, group: Group) -> Set[int]:
    """What may have come within the time is kept, too: nobody can have pulled it for longer."""
    after = group.now - rule.age
    return {
        place
        for place, (one, date) in enumerate(zip(group.facts, group.dates, strict=True))
        if was_pulled(rule, one, group.now) or _may_have_come(one, date, after)
    }


def _may_have_come(facts: TagFacts, date: datetime | None, after: datetime) -> bool:
    """Whether a tag came after a time; without a plausible date, the records must have known it before."""
    arrival = latest_arrival(facts, date) or facts.known_since
    return arrival is None or arrival > after


def _all(rule: All, group: Group) -> Set[int]:
    kept = set(kept_by(rule.rules[0], group))
    for other in rule.rules[1:]:
        kept &= kept_by(other, group)
    return kept


def _tied(keys: Sequence[Hashable | None]) -> list[list[int]]:
    """Indexes grouped by their key, the greatest key first. Keys are of one type that has an order."""
    known: dict[Any, list[int]] = {}
    for place, key in enumerate(keys):
        if key is not None:
            known.setdefault(key, []).append(place)
    return [known[key] for key in sorted(known, reverse=True)]


_KEEPERS: Mapping[type[object], Callable[..., Set[int]]] = {
    Last: _last,
    Calendar: _calendar,
    Within: _within,
    TagGlobs: _tags,
    VersionRule: _versions,
    LabelRule: _labels,
    NamedIn: _named_in,
    PulledWithin: _pulled_within,
    All: _all,
}

"""The keep rules over one group of tags: which of them each rule keeps."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, tzinfo
from functools import cached_property, lru_cache
from typing import TypeVar

from dregutil.retention.policy import All, Calendar, KeepRule, Last, Order, TagGlobs, VersionRule, Within
from dregutil.retention.verdict import TagFacts
from oracle_2_0_0.dates import bucket, latest_arrival
from oracle_2_0_0.selector import Comparison
from oracle_2_0_0.version import Version, parse_version

__all__ = ["Group", "holds_range", "kept_by", "version_of"]

version_of = lru_cache(maxsize=1 << 16)(parse_version)  # each tag is asked several times
_Key = TypeVar("_Key", datetime, Version)


@dataclass(frozen=True)
class Group:
    """Tags that are judged together. `dates` and `versions` are None where unknown, and then take no place."""

    facts: Sequence[TagFacts]
    dates: Sequence[datetime | None]
    versions: Sequence[Version | None]
    order: Order
    now: datetime
    zone: tzinfo

    @cached_property
    def ranked(self) -> list[list[int]]:
        """Places of the tags, newest first; those that tie stand together."""
        return _tied(self.dates) if self.order is Order.TIME else _tied(self.versions)

    @cached_property
    def local(self) -> Sequence[datetime | None]:
        """The dates as the calendar of `zone` has them."""
        return [None if date is None else date.astimezone(self.zone) for date in self.dates]

    @cached_property
    def rank(self) -> Mapping[int, int]:
        """The rank of each place that has one; 0 is the newest."""
        return {place: rank for rank, tied in enumerate(self.ranked) for place in tied}


def kept_by(rule: KeepRule, group: Group) -> Set[int]:
    """The places in `group.facts` of the tags that `rule` keeps."""
    return _KEEPERS[type(rule)](rule, group)


def holds_range(version: Version | None, ranges: Sequence[Sequence[Comparison]]) -> bool:
    """Whether all comparisons of one of `ranges` hold."""
    return version is not None and any(all(part.holds(version) for part in parts) for parts in ranges)


def _last(rule: Last, group: Group) -> Set[int]:
    kept: set[int] = set()
    passed: set[str] = set()  # images: tags of one digest count once
    for tied in group.ranked:
        if len(passed) >= rule.number:
            break
        kept.update(tied)
        passed.update(group.facts[place].digest for place in tied)
    return kept


def _calendar(rule: Calendar, group: Group) -> Set[int]:
    buckets: dict[tuple[int, ...], list[int]] = defaultdict(list)
    rank = group.rank
    for place, date in enumerate(group.local):
        if date is not None and place in rank:
            buckets[bucket(date, rule.period)].append(place)
    kept: set[int] = set()
    for key in sorted(buckets, reverse=True)[: rule.number]:
        newest = min(rank[place] for place in buckets[key])
        kept.update(place for place in buckets[key] if rank[place] == newest)
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
        if one.tag is not None and holds_range(version_of(one.tag), rule.ranges)  # type: ignore[arg-type]
    }


def _all(rule: All, group: Group) -> Set[int]:
    kept = set(kept_by(rule.rules[0], group))
    for other in rule.rules[1:]:
        kept &= kept_by(other, group)
    return kept


def _tied(keys: Sequence[_Key | None]) -> list[list[int]]:
    known: dict[_Key, list[int]] = {}
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
    All: _all,
}

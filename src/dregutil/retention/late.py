"""Tags that came late, or came back: the later date by which each may be kept itself, while others see the earlier one.

A registry that left a tag out of its lists for a night, an `undo`, and an old release that is mirrored look alike: a
tag comes, and its image is old. Such a tag pushes nothing out. Among those that came with one crawl, or came back with
one, the earlier dates decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import datetime

from dregutil.oci.names import Digest
from dregutil.retention.verdict import Late, TagFacts

__all__ = ["by_date", "late_last"]


def by_date(late: Sequence[Sequence[Late]]) -> Mapping[Late, list[int]]:
    """The places of those that came with one crawl, or came back with one; the latest first."""
    found: dict[Late, list[int]] = defaultdict(list)
    for place, moments in enumerate(late):
        for date in moments:
            found[date].append(place)
    return {date: found[date] for date in sorted(found, reverse=True)}


def late_last(
    number: int, facts: Sequence[TagFacts], dates: Sequence[datetime | None], late: Sequence[Sequence[Late]]
) -> Set[int]:
    """The places of those that are among the last `number` images by the date on which they came.

    Newer than such a tag are the images whose `dates` are later than that, and those that came (or came back) with it
    and whose `dates` are later than its own.
    """
    classes = by_date(late)
    if not classes:
        return set()
    kept: set[int] = set()
    passed: set[Digest] = set()
    others = sorted(((date, place) for place, date in enumerate(dates) if date is not None), reverse=True)
    following = 0
    for (date, _), places in classes.items():
        while following < len(others) and others[following][0] > date:
            passed.add(facts[others[following][1]].digest)
            following += 1
        if len(passed) >= number:
            break
        newer = set(passed)
        for tied in _tied(places, dates):
            if len(newer) >= number:
                break
            kept.update(tied)
            newer.update(facts[place].digest for place in tied)
    return kept


def _tied(places: Sequence[int], dates: Sequence[datetime | None]) -> Sequence[Sequence[int]]:
    """Places by their dates, the latest first; those that tie stand together."""
    found: dict[datetime, list[int]] = defaultdict(list)
    for place in places:
        date = dates[place]
        if date is not None:
            found[date].append(place)
    return [found[date] for date in sorted(found, reverse=True)]

"""Tags that appeared late, or returned: a later date may keep the tag itself, others are judged by the earlier one.

A registry that omitted a tag from its lists for a night, an `undo`, and an old release that is mirrored look the same:
a tag appears, and its image is old. Such a tag displaces no other. Among those that appeared or returned in the same
crawl, the earlier dates decide.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from datetime import datetime

from dregutil.oci.names import Digest
from dregutil.retention.verdict import Late, TagFacts

__all__ = ["by_date", "late_last"]


def by_date(late: Sequence[Sequence[Late]]) -> Mapping[Late, list[int]]:
    """The indexes of the tags that appeared, or returned, in the same crawl; the latest crawl first."""
    found: dict[Late, list[int]] = defaultdict(list)
    for place, moments in enumerate(late):
        for date in moments:
            found[date].append(place)
    return {date: found[date] for date in sorted(found, reverse=True)}


def late_last(
    number: int,
    facts: Sequence[TagFacts],
    dates: Sequence[datetime | None],
    late: Sequence[Sequence[Late]],
    *,
    count_tags: bool = False,
) -> Set[int]:
    """The indexes of the tags that are among the last `number` images by the date on which they appeared.

    Newer than such a tag are images whose `dates` are later than that, and images that appeared (or returned) in the
    same crawl and whose `dates` are later than its own. With `count_tags`, every tag of an image counts.
    """
    classes = by_date(late)
    if not classes:
        return set()
    kept: set[int] = set()
    passed: set[Digest | int] = set()
    counted: Sequence[Digest | int] = range(len(facts)) if count_tags else [one.digest for one in facts]
    others = sorted(((date, place) for place, date in enumerate(dates) if date is not None), reverse=True)
    following = 0
    for (date, _), places in classes.items():
        while following < len(others) and others[following][0] > date:
            passed.add(counted[others[following][1]])
            following += 1
        if len(passed) >= number:
            break
        newer = set(passed)
        for tied in _tied(places, dates):
            if len(newer) >= number:
                break
            kept.update(tied)
            newer.update(counted[place] for place in tied)
    return kept


def _tied(places: Sequence[int], dates: Sequence[datetime | None]) -> Sequence[Sequence[int]]:
    """Indexes grouped by their date, the latest first."""
    found: dict[datetime, list[int]] = defaultdict(list)
    for place in places:
        date = dates[place]
        if date is not None:
            found[date].append(place)
    return [found[date] for date in sorted(found, reverse=True)]

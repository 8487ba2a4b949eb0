"""Since when pulls are recorded without a gap that matters. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from dregutil.pulls.pull import Source, Span

__all__ = ["recorded_since", "source_since"]


def recorded_since(sources: Sequence[Source], now: datetime, max_gap: timedelta) -> datetime | None:
    """Since when every one of `sources` has recorded without a gap longer than `max_gap`, up to `now`.

    None if one of them has a longer gap before `now`, or there is none.
    """
    found = [source_since(source, now, max_gap) for source in sources]
    known = [since for since in found if since is not None]
    return max(known) if known and len(known) == len(found) else None


def source_since(source: Source, now: datetime, max_gap: timedelta) -> datetime | None:
    """As `recorded_since`, of one source."""
    since: datetime | None = None
    reached = now
    for span in reversed(_recorded(source)):
        if span.since > now:
            continue
        if reached - span.until > max_gap:
            break
        since = reached = min(span.since, reached)
    return since


def _recorded(source: Source) -> list[Span]:
    """The spans without the gaps in them, in the order of time, none that touch."""
    found: list[Span] = []
    for span in _joined(source.spans):
        since = span.since
        for gap in sorted(source.gaps, key=lambda one: (one.since, one.until)):
            if gap.until < since or gap.since > span.until:
                continue
            if gap.since >= since:
                found.append(Span(since, gap.since))
            since = gap.until
        if since <= span.until:
            found.append(Span(since, span.until))
    return found


def _joined(spans: Iterable[Span]) -> list[Span]:
    found: list[Span] = []
    for span in sorted(spans, key=lambda one: (one.since, one.until)):
        if found and span.since <= found[-1].until:
            found[-1] = Span(found[-1].since, max(found[-1].until, span.until))
        else:
            found.append(span)
    return found

"""What is known about a registry → the first part of a report: numbers, the last run, what to do first. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from dregutil.journal.record import RunRecord
from dregutil.pages import model
from dregutil.pages.label import label
from dregutil.plan.outcome import Result
from dregutil.report.units import age_text, plural
from dregutil.session.results import Overview

__all__ = ["Command", "ListSeen", "alarm", "read_at", "week_part"]

_DAY = 86400  # seconds after which a list without a max_age is stale

Command = Callable[[str], str]
"""A command of this program as it is copied, with the options that name the registry."""


@dataclass(frozen=True, slots=True)
class ListSeen:
    """A list of images in use, and its ages in seconds; `images` and `here` as in a report of lists."""

    name: str
    age: float
    max_age: float | None = None
    images: int | None = None
    here: int | None = None


def week_part(
    found: Overview,
    lists: Sequence[ListSeen],
    broken: int | None,
    first: model.Alarm | None,
    command: Command,
) -> model.Week:
    """The numbers of a registry, what its last run did, and the one thing to do first. `broken`: how many things are;
    None if nothing looked."""
    tags = found.source.shown.tag_count
    return model.Week(
        stored=found.space.total,
        exact=found.is_complete,
        repositories=len(found.space.repositories),
        tags=tags,
        growth=_growth(found, tags),
        last_run=None if found.last is None else _last_run(found, found.last, command),
        pending=_pending(found, command),
        broken=broken,
        lists=[_list(one) for one in lists],
        alarm=first,
    )


def _growth(found: Overview, tags: int) -> model.Growth | None:
    before = found.before
    if before is None:
        return None
    return model.Growth(since=before.when, bytes=found.space.total - before.bytes, tags=tags - before.tags)


def _list(one: ListSeen) -> model.ListAge:
    return model.ListAge(
        name=label(one.name),
        age_seconds=round(one.age),
        max_age_seconds=None if one.max_age is None else round(one.max_age),
        stale=one.age > (_DAY if one.max_age is None else one.max_age),
        images=one.images,
        here=one.here,
    )


def _last_run(found: Overview, record: RunRecord, command: Command) -> model.LastRun:
    return model.LastRun(
        run=record.run,
        when=record.started,
        age_seconds=round((found.now - record.started).total_seconds()),
        command=label(record.plan.command),
        result="unfinished" if record.is_unfinished else "finished",
        failed=_failed(record),
        tags=record.removed_tags,
        manifests=record.removed_digests,
        frees=max(0, record.reclaimable_bytes or 0),
        exact=record.plan.reclaim.exact and record.is_whole,
        undone=not found.last_left,
        collected=found.collected.get(record.run),
        undo=command(f"undo {record.run}") if found.last_left and record.run not in found.collected else None,
    )


def _pending(found: Overview, command: Command) -> model.Pending:
    runs = found.pending
    return model.Pending(
        bytes=max(0, sum(one.bytes for one in runs)),
        tags=sum(one.tags for one in runs),
        runs=len(runs),
        oldest=runs[-1].started if runs else None,
        undo=command("undo --list") if runs else None,
    )


def alarm(
    found: Overview, broken: int, refused: str | None, lists: Sequence[ListSeen], command: Command
) -> model.Alarm | None:
    """The worst of what is wrong; None if nothing is. `refused`: why a run of the plan would be."""
    if found.interrupted:
        header, how = found.interrupted[0]
        return model.Alarm(what=f"The run {header.run} did not end.", command=command(how))
    if broken:
        return model.Alarm(what=f"{plural(broken, 'image')} cannot be pulled whole.", command=command("doctor"))
    if refused:
        return model.Alarm(what=f"A cleanup would be refused: {refused}", command=None)
    stale = [one for one in map(_list, lists) if one.stale]
    if stale:
        age = age_text(stale[0].age_seconds)
        return model.Alarm(what=f"The list {stale[0].name} is {age} old: make it again.", command=None)
    if found.last is not None and _failed(found.last):
        what = f"{plural(_failed(found.last), 'step')} of the last run failed."
        return model.Alarm(what=what, command=command(f"history {found.last.run}"))
    if not found.is_read:
        return model.Alarm(what="The registry could not be read completely.", command=command("doctor"))
    return None


def _failed(record: RunRecord) -> int:
    return sum(one.result is Result.FAILED for one in record.outcomes.values())


def read_at(found: Overview) -> datetime | None:
    """When the tags were read."""
    age = found.source.age
    if found.source.began is not None:
        return found.source.began
    return None if age is None else datetime.fromtimestamp(found.now.timestamp() - age, found.now.tzinfo)

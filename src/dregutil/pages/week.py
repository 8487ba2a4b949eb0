"""What is known about a registry → the first part of a report, and its health. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from dregutil.inventory.health.storage import Finding
from dregutil.journal.record import RunRecord
from dregutil.oci.names import Repository
from dregutil.pages import model
from dregutil.pages.label import label
from dregutil.pages.limits import Limits
from dregutil.plan.outcome import Result
from dregutil.report.units import plural
from dregutil.session.results import Overview

__all__ = ["Checked", "ListSeen", "alarm", "health_part", "week_part"]

_DAY = 86400  # seconds after which a list without a max_age is stale

Command = Callable[[str], str]
"""A command of this program as it is copied, with the options that name the registry."""


@dataclass(frozen=True, slots=True)
class Checked:
    """What doctor's check found; `by` says what was read."""

    by: str
    findings: Sequence[Finding]


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
    health: model.Health,
    command: Command,
    first: model.Alarm | None,
) -> model.Week:
    """The numbers of a registry, what its last run did, and the one thing to do first."""
    tags = found.source.shown.tag_count
    before = found.before
    return model.Week(
        stored=found.space.total,
        exact=found.is_complete,
        repositories=len(found.space.repositories),
        tags=tags,
        growth=None
        if before is None
        else model.Growth(since=before.when, bytes=found.space.total - before.bytes, tags=tags - before.tags),
        last_run=None if found.last is None else _last_run(found, found.last, command),
        pending=_pending(found, command),
        broken=None if health.checked == "records" else sum(one.broken for one in health.findings) + health.left_out,
        lists=[_list(one) for one in lists],
        alarm=first,
    )


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
    failed = sum(one.result in (Result.FAILED, Result.LEFT) for one in record.outcomes.values())
    return model.LastRun(
        run=record.run,
        when=record.started,
        age_seconds=round((found.now - record.started).total_seconds()),
        command=label(record.plan.command),
        result="unfinished" if record.is_unfinished else "finished",
        failed=failed,
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


def health_part(found: Overview, checked: Checked | None, command: Command, limits: Limits) -> model.Health:
    """What is to be looked at: what doctor's check found, and what the reading and the records show."""
    findings = [*_of_records(found, command), *(() if checked is None else _of_check(checked, command))]
    return model.Health(
        checked="records" if checked is None else "storage" if checked.by == "storage" else "registry",
        findings=findings[: limits.findings],
        left_out=len(findings[limits.findings :]),
    )


def _of_records(found: Overview, command: Command) -> Iterator[model.Finding]:
    for header, how in found.interrupted:
        yield _finding("unfinished run", f"{header.run} did not end", command(how))
    for repository, tag, _ in found.left_behind:
        text = f"{repository}:{tag} is on a placeholder of an interrupted run"
        yield _finding("interrupted run", text, command("history"), broken=True)
    for name, error in sorted(found.source.failed.items()):
        yield _finding("not read", f"{name}: {error.message}", command("doctor"))
    places = _places(found)
    for digest, error in sorted(found.unreadable.items()):
        yield _finding("not read", f"{places.get(digest, '')}@{digest.short}: {error.message}", command("doctor"))


def _places(found: Overview) -> dict[str, Repository]:
    if not found.unreadable:
        return {}
    held = found.source.shown.holders_of([*found.unreadable])
    return {digest: holders[0][0] for digest, holders in held.items()}


def _of_check(checked: Checked, command: Command) -> Iterator[model.Finding]:
    again = command("doctor")
    for one in checked.findings:
        yield _finding(one.flaw.value, f"{one.repository}  {one.what}".strip(), again, broken=True)


def _finding(check: str, what: str, command: str, *, broken: bool = False) -> model.Finding:
    return model.Finding(check=check, found=label(what), broken=broken, command=command)


def alarm(
    found: Overview, health: model.Health, plan: model.Plan | None, lists: Sequence[ListSeen], command: Command
) -> model.Alarm | None:
    """The worst of what is wrong; None if nothing is."""
    if found.interrupted:
        header, how = found.interrupted[0]
        return model.Alarm(what=f"The run {header.run} did not end", command=command(how))
    broken = sum(one.broken for one in health.findings)
    if broken:
        return model.Alarm(what=f"{plural(broken, 'thing')} broken", command=command("doctor"))
    if plan is not None and plan.refused:
        return model.Alarm(what=f"A cleanup is refused: {plan.refused}", command=None)
    stale = [one for one in map(_list, lists) if one.stale]
    if stale:
        return model.Alarm(what=f"The list {stale[0].name} is out of date: make it again", command=None)
    if found.last is not None and _failed(found.last):
        what = f"{plural(_failed(found.last), 'step')} of the last run failed"
        return model.Alarm(what=what, command=command(f"history {found.last.run}"))
    if not found.is_complete:
        return model.Alarm(what="The registry could not be read completely", command=command("doctor"))
    return None


def _failed(record: RunRecord) -> int:
    return sum(one.result is Result.FAILED for one in record.outcomes.values())


def read_at(found: Overview) -> datetime | None:
    """When the tags were read."""
    age = found.source.age
    if found.source.began is not None:
        return found.source.began
    return None if age is None else datetime.fromtimestamp(found.now.timestamp() - age, found.now.tzinfo)

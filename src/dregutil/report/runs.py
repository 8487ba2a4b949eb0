"""Past runs, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dregutil.journal.collections import Collected
from dregutil.journal.record import RunRecord
from dregutil.oci.names import Digest
from dregutil.report.layout import Column, table_lines
from dregutil.report.text import column_lines
from dregutil.report.units import size_text

__all__ = ["damage_text", "run_head_lines", "run_lines", "run_object", "step_lines", "step_objects"]

_WIDE = 100  # cells of a terminal from which on there is room for the command


def run_object(
    record: RunRecord, undone: Mapping[str, bool], collected: Mapping[str, Collected] | None = None
) -> dict[str, object]:
    """The object of a run. `removed` counts the removed tags. `undone` has the runs that were put back; True if all of
    it was. `collected`: the runs whose garbage the registry has collected, or may have."""
    found = (collected or {}).get(record.run)
    since = None if found is None else found.since.isoformat(timespec="seconds")
    is_certain = found is not None and not found.maybe
    return {
        "run": record.run,
        "when": record.started.isoformat(timespec="seconds"),
        "registry": record.plan.registry,
        "command": record.plan.command,
        "removed": record.removed_tags,
        "undone": undone.get(record.run, False),
        "partly_undone": undone.get(record.run) is False,
        "unfinished": record.is_unfinished,
        "digests": record.removed_digests,
        "reclaimable_bytes": record.reclaimable_bytes,
        "exact": record.plan.reclaim.exact and record.is_whole,
        "undoes": record.undoes or None,
        "by": record.user or None,
        "host": record.host or None,
        "plan": record.plan_sum or None,
        "planned_by": record.planned_by or None,
        "approved_by": list(record.approved_by),
        "collected": since if is_certain else None,
        "maybe_collected": None if is_certain else since,
    }


def damage_text(record: RunRecord) -> str:
    """The message about a record with lines that cannot be read."""
    return f"{_count(record.damaged, 'line')} of the record of {record.run} cannot be read: it is damaged"


def run_lines(
    records: Sequence[RunRecord],
    undone: Mapping[str, bool],
    collected: Mapping[str, Collected] | None = None,
    *,
    width: int | None = None,
) -> Iterator[str]:
    """A line for each run: when, how many tags it removed or put back, what it frees at most, who ran it, and how it
    ended. The registry is named if there are several, and so is the machine; the command if there is room for it. Times
    are in UTC."""
    has_hosts = len({record.host for record in records if record.host}) > 1
    columns = [
        Column("WHEN"),
        Column("RUN"),
        Column("TAGS", right=True),
        Column("SIZE", right=True),
        Column("BY", cut="middle"),
        Column("STATE"),
    ]
    rows = [
        [
            f"{record.started:%Y-%m-%d %H:%M}",
            record.run,
            _tags(record),
            _size(record),
            f"{record.user}@{record.host}" if has_hosts and record.host else record.user or "-",
            _state(record, undone, is_short=width is not None) + _collected((collected or {}).get(record.run)),
        ]
        for record in records
    ]
    if len({record.plan.registry for record in records}) > 1:
        columns.append(Column("REGISTRY", cut="middle"))
        rows = [[*row, record.plan.registry] for row, record in zip(rows, records, strict=True)]
    if width is None or width >= _WIDE:
        columns.append(Column("COMMAND", cut="end"))
        rows = [[*row, record.plan.command] for row, record in zip(rows, records, strict=True)]
    return table_lines(columns, rows, width=width)


def run_head_lines(record: RunRecord, undone: Mapping[str, bool], *, command: str) -> Iterator[str]:
    """What one run was: its command; when, who, how much, and what became of it."""
    yield f"{record.run}: {command}"
    parts = [
        f"{record.started:%Y-%m-%d %H:%M} UTC",
        *([f"{record.user}@{record.host}"] if record.user and record.host else ()),
        *([f"planned by {record.planned_by}"] if record.planned_by else ()),
        *([f"approved by {', '.join(record.approved_by)}"] if record.approved_by else ()),
        record.plan.registry,
        f"{_tags(record)} tags, {_size(record)}",
        _state(record, undone, is_short=False),
    ]
    yield " · ".join(parts)


def step_objects(record: RunRecord) -> list[dict[str, object]]:
    if record.undoes:
        return [
            {"repository": repository, "digest": digest, "tags": list(tags), "result": _restored(why), "why": why}
            for repository, digest, tags, why in record.restored
        ]
    found: list[dict[str, object]] = []
    for step in record.plan.steps:
        settled = record.outcomes.get(step.number)
        result = "not tried" if settled is None else settled.result.value
        found.append(
            {
                "step": step.number,
                "action": step.action.value,
                "repository": step.repository,
                "digest": step.digest,
                "tags": list(step.tags),
                "kind": step.kind.value,
                "result": result,
                "why": "" if settled is None else settled.why,
                "because": step.because,
            }
        )
    return found


def step_lines(record: RunRecord, *, width: int | None = None) -> Iterator[str]:
    """A line for each step, or for what an undo put back. `width`: that of the terminal; digests are then short."""
    objects = step_objects(record)
    rows = [
        (
            str(found["result"]),
            str(found["repository"]),
            Digest(str(found["digest"])),
            ", ".join(found["tags"] if isinstance(found["tags"], list) else ()) or "-",
            "; ".join(str(text) for text in (found.get("because"), found["why"]) if text),
        )
        for found in objects
    ]
    return (line.rstrip() for line in column_lines(rows, width=width)) if rows else iter(())


def _restored(why: str) -> str:
    return "not restored" if why else "restored"


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def _tags(record: RunRecord) -> str:
    if record.undoes:
        return f"{sum(len(tags) for _, _, tags, why in record.restored if not why):,}"
    untagged = f" + {record.removed_untagged:,} untagged" if record.removed_untagged else ""
    return f"{record.removed_tags:,}{untagged}"


def _size(record: RunRecord) -> str:
    size = record.reclaimable_bytes
    return "-" if size is None else size_text(max(size, 0))


def _collected(found: Collected | None) -> str:
    return "" if found is None else ", maybe collected" if found.maybe else ", collected"


def _state(record: RunRecord, undone: Mapping[str, bool], *, is_short: bool) -> str:
    """How a run ended. `is_short`: of the run that it undoes, only the end of the name is shown."""
    if record.undoes:
        state = f"undo of {f'…{record.undoes[-5:]}' if is_short else record.undoes}"
    elif record.run in undone:
        state = "undone" if undone[record.run] else "partly undone"
    else:
        state = "removed"
    return f"{state}, unfinished" if record.is_unfinished else state

"""Past runs, as lines and as objects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from dregutil.journal.record import RunRecord
from dregutil.report.text import column_lines

__all__ = ["damage_text", "run_lines", "run_object", "step_lines", "step_objects"]


def run_object(record: RunRecord, undone: Mapping[str, bool]) -> dict[str, object]:
    """The object of a run. `removed` counts the removed tags. `undone` has the runs that were put back; True if all of
    it was."""
    return {
        "run": record.run,
        "when": record.started.isoformat(timespec="seconds"),
        "registry": record.plan.registry,
        "command": record.plan.command,
        "removed": record.removed_tags,
        "undone": undone.get(record.run, False),
        "partly_undone": undone.get(record.run) is False,
        "unfinished": record.is_unfinished,
    }


def damage_text(record: RunRecord) -> str:
    """The message about a record with lines that cannot be read."""
    return f"{_count(record.damaged, 'line')} of the record of {record.run} cannot be read: it is damaged"


def run_lines(records: Sequence[RunRecord], undone: Mapping[str, bool]) -> Iterator[str]:
    if not records:
        return iter(())
    rows = [("RUN", "REGISTRY", "WHAT", "COMMAND")]
    rows += [(record.run, record.plan.registry, _what(record, undone), record.plan.command) for record in records]
    return column_lines(rows)


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
            }
        )
    return found


def step_lines(record: RunRecord) -> Iterator[str]:
    objects = step_objects(record)
    rows = [
        (
            str(found["result"]),
            str(found["repository"]),
            str(found["digest"]),
            ", ".join(found["tags"] if isinstance(found["tags"], list) else ()) or "-",
            str(found["why"]),
        )
        for found in objects
    ]
    return (line.rstrip() for line in column_lines(rows)) if rows else iter(())


def _restored(why: str) -> str:
    return "not restored" if why else "restored"


def _count(number: int, noun: str) -> str:
    return f"1 {noun}" if number == 1 else f"{number:,} {noun}s"


def _what(record: RunRecord, undone: Mapping[str, bool]) -> str:
    if record.undoes:
        back = sum(len(tags) for _, _, tags, why in record.restored if not why)
        text = f"put back {_count(back, 'tag')} of {record.undoes}"
    else:
        text = f"removed {_count(record.removed_tags, 'tag')}"
        if record.removed_untagged:
            text += f" and {_count(record.removed_untagged, 'untagged manifest')}"
        if record.run in undone:
            text += ", undone" if undone[record.run] else ", partly undone"
    return f"{text}, unfinished" if record.is_unfinished else text

"""What the last check of a registry found, for the reports that are made after it without a check. Pure."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

__all__ = ["Checked", "checked_of", "with_check"]

_BROKEN = "cannot be pulled whole."  # how the alarm of a check ends
_Raw = msgspec.Raw


class _LastRun(msgspec.Struct):
    run: str = ""
    result: str = ""
    undone: bool = False


class Checked(msgspec.Struct, frozen=True, kw_only=True):
    """What a check found, and when. `after` is the last run of that time: what it found holds until another one."""

    made: datetime
    after: _LastRun | None
    health: _Raw
    broken: _Raw
    alarm: _Raw  # null unless it is of what is broken


class _Alarm(msgspec.Struct):
    what: str = ""


class _Week(msgspec.Struct):
    last_run: _LastRun | None = None
    alarm: _Alarm | None = None


class _Health(msgspec.Struct):
    checked: Literal["registry", "storage", "records"]


class _Seen(msgspec.Struct):
    made: datetime
    week: _Week
    health: _Health


def checked_of(document: bytes) -> Checked | None:
    """What the check found of whose report this is; None if it was made without one, or is not read so."""
    try:
        seen = msgspec.json.decode(document, type=_Seen)
        parts = msgspec.json.decode(document, type=dict[str, _Raw])
        week = msgspec.json.decode(parts["week"], type=dict[str, _Raw])
    except (msgspec.DecodeError, KeyError, ValueError):
        return None
    if seen.health.checked == "records":
        return None
    is_of_check = seen.week.alarm is not None and seen.week.alarm.what.endswith(_BROKEN)
    return Checked(
        made=seen.made,
        after=seen.week.last_run,
        health=_Raw(bytes(parts["health"])),
        broken=_Raw(bytes(week.get("broken", _Raw(b"null")))),
        alarm=_Raw(bytes(week["alarm"])) if is_of_check else _Raw(b"null"),
    )


def with_check(document: bytes, checked: Checked) -> bytes | None:
    """The report with what the check found, and a note of when that was; None if a run or an undo came between, or the
    report has a check of its own."""
    try:
        seen = msgspec.json.decode(document, type=_Seen)
        parts = msgspec.json.decode(document, type=dict[str, _Raw])
        week = msgspec.json.decode(parts["week"], type=dict[str, _Raw])
        notes = msgspec.json.decode(parts.get("notes", _Raw(b"[]")), type=list[str])
    except (msgspec.DecodeError, KeyError, ValueError):
        return None
    if seen.health.checked != "records" or seen.week.last_run != checked.after:
        return None
    week["broken"] = checked.broken
    if seen.week.alarm is None:
        week["alarm"] = checked.alarm
    notes.append(f"what is broken was looked for at {checked.made:%Y-%m-%d %H:%M} UTC")
    parts["health"] = checked.health
    parts["week"] = _Raw(msgspec.json.encode(week))
    parts["notes"] = _Raw(msgspec.json.encode(notes))
    return msgspec.json.encode(parts)

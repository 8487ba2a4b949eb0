"""The state of a shared store as rows, each of what was looked at and what was found."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

from dregutil.report.units import duration_text, plural, size_text
from dregutil.store.state import HeldLease, StoreState, TableSize

__all__ = ["store_rows"]

_SAME = 1.0  # seconds by which two clocks may differ and still be called the same


def store_rows(address: str, found: StoreState) -> Iterator[tuple[str, str]]:
    """A row for each thing that was looked at."""
    yield "store", address
    yield "server", found.server
    yield "tables", _version(found)
    yield "clock", _clock(found.ahead)
    if found.may:
        yield "role", _role(found)
    if found.tables:
        known = [table.size for table in found.tables if table.size is not None]
        yield "size", size_text(sum(known)) if known else "not known"
    yield from (("table", _table(table)) for table in found.tables)
    yield from (("lease", _lease(lease)) for lease in found.leases)
    for run in found.unfinished:
        left = f"{plural(run.left, 'repository')} left, {'somebody is' if run.is_held else 'NOBODY is'} at work on it"
        yield "run", f"{run.run} on {run.registry or 'an unknown registry'} has no end: {left}"
    for plan in found.waiting:
        what = f"{plan.sum} for {plan.registry}, made by {plan.made_by}"
        yield "plan", f"{what}, waits for approval until {_moment(plan.expires)}"
    if found.is_sound:
        yield "state", "nothing waits for a look"


def _version(found: StoreState) -> str:
    if not found.version:
        return "NONE yet: `dregutil store migrate` makes them"
    if found.version < found.newest:
        does = "`dregutil store migrate` brings them up to date"
        return f"version {found.version}, this program needs {found.newest}: {does}"
    if found.version > found.newest:
        return f"version {found.version}, this program knows {found.newest}: use a newer dregutil"
    return f"version {found.version}, as this program needs"


def _clock(ahead: float) -> str:
    if abs(ahead) < _SAME:
        return "the same as this machine's"
    what = "ahead of" if ahead > 0 else "behind"
    return f"{duration_text(abs(ahead))} {what} this machine's; leases go by the database's"


def _role(found: StoreState) -> str:
    may = ", ".join(what for what, is_allowed in found.may.items() if is_allowed)
    may_not = ", ".join(what for what, is_allowed in found.may.items() if not is_allowed)
    user = f"{found.user}: " if found.user else ""
    text = f"{user}may {may}" if may else f"{user}may do nothing"
    return f"{text}; may not {may_not}" if may and may_not else text


def _table(table: TableSize) -> str:
    rows = plural(table.rows, "row")
    size = "" if table.size is None else f"{size_text(table.size)}, "
    return f"{table.name}  {size}{rows}" if table.counted else f"{table.name}  {size}about {rows}"


def _lease(lease: HeldLease) -> str:
    what = f"{lease.registry}/{lease.repository}" if lease.repository else lease.registry
    if lease.is_over:
        return f"{what} was held by {lease.holder} until {_moment(lease.until)}: NOT RELEASED, its process has stopped"
    return f"{what} is held by {lease.holder} until {_moment(lease.until)}"


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"

"""What it means for recorded pulls that the store which shares them forgot some: it was restored from an older backup.

The notifications of that time are lost: the registry does not send them again. So there is a gap, as when nothing was
recorded. Access logs are read again from where the store knows, and what a service says of its manifests is read whole
each time: those have none. Not pure: it changes the file.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable

from dregutil.pulls.pull import SourceKind
from dregutil.pulls.tables import has_begun

__all__ = ["note_forgotten"]

_HEARD = (
    "SELECT name, source.id, max(until) FROM source JOIN span ON span.source = source.id WHERE kind = ? GROUP BY name"
)
_WHY = "the store was restored from a backup"
_NOTED = "SELECT 1 FROM gap WHERE source = ?1 AND why = ?3 AND since <= ?2 AND until >= ?2"
_GAP = (
    "INSERT INTO gap VALUES (?1, ?2, max(?2, CAST(strftime('%s') AS INTEGER)), ?3)"
    " ON CONFLICT DO UPDATE SET until = max(until, excluded.until)"
)


def note_forgotten(copy: sqlite3.Connection) -> Callable[[sqlite3.Connection], None]:
    """`copy` has what the store has forgotten. What is returned notes that in a copy that was made again from it: each
    source of notifications has a gap until now."""
    knew = _heard(copy)

    def note(again: sqlite3.Connection) -> None:
        for name, (number, until) in _heard(again).items():
            values = (number, min(until, knew[name][1]) if name in knew else until, _WHY)
            if again.execute(_NOTED, values).fetchone() is None:  # by another machine
                again.execute(_GAP, values)

    return note


def _heard(copy: sqlite3.Connection) -> dict[str, tuple[int, int]]:
    """The sources of notifications, each with its number and the last second that it has recorded."""
    if not has_begun(copy):
        return {}
    return {
        name: (number, until) for name, number, until in copy.execute(_HEARD, (SourceKind.EVENTS.value,)).fetchall()
    }

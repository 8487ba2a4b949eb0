"""How many bytes a registry stored at earlier times, as reports measured it: one small file for each registry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, write_atomically
from dregutil.oci.names import registry_spellings

__all__ = ["Measure", "Measures", "earlier"]

_LEAST_APART = timedelta(hours=1)
_MOST = 1000


class Measure(msgspec.Struct, frozen=True):
    """What tags reached at a time, each blob once, in bytes, and how many tags there were."""

    when: datetime
    bytes: int
    tags: int


class Measures:
    """STATE/measures/<sum of registry>.json"""

    def __init__(self, state: Path, registry: str) -> None:
        """`registry` is its identity."""
        self.path = file_of(state / "measures", registry_spellings(registry), ".json")

    def read(self) -> list[Measure]:
        """The measures, oldest first; none if the file cannot be read: nothing is decided by them."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=list[Measure])
        except (OSError, msgspec.MsgspecError):
            return []

    def add(self, measure: Measure) -> None:
        """Add a measure, unless one was added within the last hour. The oldest of more than a thousand are dropped.
        Raises OSError."""
        known = self.read()
        if known and measure.when - known[-1].when < _LEAST_APART:
            return
        make_private_folder(self.path.parent)
        write_atomically(self.path, [msgspec.json.encode([*known, measure][-_MOST:])], durable=False)


def earlier(measures: Sequence[Measure], moment: datetime) -> Measure | None:
    """The newest measure that was made by `moment`, else the oldest of all."""
    until = [one for one in measures if one.when <= moment]
    return until[-1] if until else measures[0] if measures else None

"""How many bytes a registry stored at earlier times, as reports measured it: one small file for each registry."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, write_atomically
from dregutil.inventory.shared import SharedDocuments
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
    """STATE/measures/<sum of registry>.json; with `shared`, what all machines have in its place."""

    def __init__(self, state: Path, registry: str, shared: SharedDocuments | None = None) -> None:
        """`registry` is its identity."""
        self.path = file_of(state / "measures", registry_spellings(registry), ".json")
        self._shared = None if shared is None else shared.document("measures")

    def read(self) -> list[Measure]:
        """The measures, oldest first; none if the file cannot be read: nothing is decided by them. Raises JournalError
        if a store cannot be asked."""
        try:
            return _measures(self.path.read_bytes() if self._shared is None else self._shared.read())
        except OSError:
            return []

    def add(self, measure: Measure) -> None:
        """Add a measure, unless one was added within the last hour. The oldest of more than a thousand are dropped.
        Raises OSError, and JournalError if it cannot be added for all machines."""
        if self._shared is not None:
            self._shared.change(lambda raw: _with(_measures(raw), measure))
            return
        added = _with(self.read(), measure)
        if added is not None:
            make_private_folder(self.path.parent)
            write_atomically(self.path, [added], durable=False)


def _measures(raw: bytes | None) -> list[Measure]:
    try:
        return msgspec.json.decode(raw or b"[]", type=list[Measure])
    except msgspec.MsgspecError:
        return []


def _with(known: Sequence[Measure], measure: Measure) -> bytes | None:
    """The measures with one more; None if one was added within the last hour."""
    if known and measure.when - known[-1].when < _LEAST_APART:
        return None
    return msgspec.json.encode([*known, measure][-_MOST:])


def earlier(measures: Sequence[Measure], moment: datetime) -> Measure | None:
    """The newest measure that was made by `moment`, else the oldest of all."""
    until = [one for one in measures if one.when <= moment]
    return until[-1] if until else measures[0] if measures else None

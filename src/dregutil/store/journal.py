"""The record of one run in the store: its lines are rows, written under the leases that this process holds."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from dregutil.errors import JournalError
from dregutil.journal.lines import (
    BetweenLine,
    EndLine,
    IntentLine,
    Line,
    LookedLine,
    LostLine,
    OutcomeLine,
    RestoredLine,
    encode_line,
)
from dregutil.journal.recording import LineWriter
from dregutil.oci.names import Repository
from dregutil.store.leases import Leases
from dregutil.store.ledger import Entry, Fence

__all__ = ["SharedJournal", "entry_of"]

_OF_REPOSITORY = (IntentLine, RestoredLine, BetweenLine, LookedLine, LostLine)


def entry_of(line: Line, repositories: Sequence[Repository] | dict[int, Repository] = ()) -> Entry:
    """A line of a journal as a row: its bytes with what can be asked for. `repositories`: of the steps, by number."""
    kind = str(line.__struct_config__.tag)
    body = encode_line(line)
    if isinstance(line, IntentLine):
        return Entry(kind, body, line.repository, line.step)
    if isinstance(line, OutcomeLine):
        return Entry(kind, body, repositories[line.step] if repositories else "", line.step)
    return Entry(kind, body, line.repository if isinstance(line, _OF_REPOSITORY) else "")


class SharedJournal(LineWriter):
    """Writes the record of one run. `folder` is its place in the mirror; what was removed is laid out there."""

    def __init__(
        self, leases: Leases, registry: str, folder: Path, repositories: dict[int, Repository], *, number: int = 0
    ) -> None:
        """`registry`: the registry's key; `repositories`: that of each step, none for an undo."""
        super().__init__(folder, number)
        self.registry = registry
        self._leases = leases
        self._repositories = repositories

    def close(self, finished: datetime | None, *, drops: bool = False) -> bool:
        """Write what waits; `finished` ends the run, where no repository of it is left, or, with `drops`, nobody else
        is at work on what is. False if that failed."""
        try:
            if self._broken is None:
                waiting, self._waiting = self._waiting, []
                self._write_durably(waiting)
                if finished is not None:
                    self._leases.ledger.close(self.run, entry_of(EndLine(finished)), drops=drops)
        except JournalError as error:
            self._broken = error
        return self._broken is None

    def _write_durably(self, lines: Sequence[Line]) -> None:
        if lines:
            entries = [entry_of(line, self._repositories) for line in lines]
            self._leases.patiently(lambda: self._leases.ledger.append(self.run, entries, self._fences()))

    def _fences(self) -> list[Fence]:
        """Those under which lines are recorded: an undo holds the registry alone. What a removal has done in a
        repository counts only under the lease of that repository: others may hold the registry's, too."""
        held = self._leases.fences(self.registry)
        return [fence for fence in held if not self._repositories or fence.repository]

"""What the records say of runs: which there are, which plan each carries out, how far one is. Only read here.

Everything in this module may wait for the disk: the server calls it in a thread.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dregutil.errors import JournalError
from dregutil.journal.history import RunHistory
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.reader import ENDED, read_header
from dregutil.journal.record import RunHeader
from dregutil.journal.store import RunStore
from dregutil.oci.names import registry_key
from dregutil.plan.approval import RunState

__all__ = ["Records", "RunSeen"]

_OUTCOME = b'"type":"outcome"'
_CHUNK = 1 << 20

_Mark = tuple[int, int, bool]  # of a record: its size, when it was written, whether it is marked as ended


@dataclass(frozen=True, slots=True)
class RunSeen:
    """A run of this registry, and what it is doing."""

    header: RunHeader
    state: RunState


class Records:
    """The runs on one registry, by its `identity`; records that did not change are read once."""

    by_start = False
    """Whether they are listed by the time of their start, and not in the order of their records."""

    def __init__(self, store: RunStore, identity: str) -> None:
        self.store = store
        self.history = RunHistory(self.store, identity)
        self._identity = identity
        self._seen: dict[str, tuple[_Mark, RunHeader | None]] = {}
        self._counted: dict[str, tuple[int, int]] = {}  # bytes that were read, and the outcomes in them
        self._lock = threading.Lock()

    def renew(self) -> None:
        """See what was recorded up to now. Raises JournalError."""

    def mark(self) -> object:
        """What differs once anything is recorded: runs, collections, holds. Raises JournalError."""
        runs = tuple((name, self._mark_of(name)) for name in self.store.names())
        others = tuple(_files_in(self.store.folder / name) for name in ("collections", "holds"))
        return runs, others

    def runs(self) -> Sequence[RunSeen]:
        """The runs on this registry, oldest first. Raises JournalError."""
        with self._lock:
            headers = [one for name in self.store.names() if (one := self._header(name)) is not None]
        headers = self._ordered(headers)
        running = self._running([one for one in headers if one.is_unfinished])
        return [RunSeen(one, _state(one, is_running=one.run == running)) for one in headers]

    def by_plan(self) -> Mapping[str, RunSeen]:
        """The newest run of each plan, by the plan's sum. Raises JournalError."""
        return {one.header.plan_sum: one for one in self.runs() if one.header.plan_sum}

    def find(self, name: str) -> RunSeen | None:
        """A run by its whole name. Raises JournalError."""
        return next((one for one in self.runs() if one.header.run == name), None)

    def undo_of(self, run: str) -> str | None:
        """The newest undo of a run. Raises JournalError."""
        found = [one.header.run for one in self.runs() if one.header.undoes == run]
        return found[-1] if found else None

    def is_busy(self) -> bool:
        """Whether a process is at work on this registry, of this server or not. Raises JournalError."""
        return self.store.is_locked(self._identity)

    def continues(self, run: str) -> Sequence[str] | None:
        """The words of the command that continues an interrupted run; None if it was not interrupted, or is undone.
        Raises JournalError."""
        return next((how.split(" ") for header, how in self.history.interrupted() if header.run == run), None)

    def outcomes(self, run: str) -> int:
        """How many steps of a run have ended: of its record only what is new is read."""
        with self._lock:
            place, number = self._counted.get(run, (0, 0))
            with contextlib.suppress(OSError), (self._folder(run) / FILE_NAME).open("rb") as file:
                file.seek(place)
                while lines := file.readlines(_CHUNK):
                    if not lines[-1].endswith(b"\n"):
                        lines.pop()  # it is being written
                    place += sum(map(len, lines))
                    number += sum(_OUTCOME in line[:200] for line in lines)
                    if not lines:
                        break
            self._counted[run] = place, number
            return number

    def _ordered(self, headers: list[RunHeader]) -> list[RunHeader]:
        """Oldest first."""
        return sorted(headers, key=lambda one: one.number)  # as clocks may go back; with equal numbers by name

    def _running(self, headers: Sequence[RunHeader]) -> str | None:
        """Which of the unfinished runs is being carried out now. Raises JournalError."""
        return headers[-1].run if headers and self.is_busy() else None

    def _header(self, name: str) -> RunHeader | None:
        """That of a run on this registry; None for one on another, or that cannot be read."""
        mark = self._mark_of(name)
        before = self._seen.get(name)
        if before is not None and before[0] == mark:
            return before[1]
        found: RunHeader | None = None
        with contextlib.suppress(JournalError):
            found = read_header(self._folder(name))
            if found.is_damaged or registry_key(found.registry) != registry_key(self._identity):
                found = None
        self._seen[name] = mark, found
        return found

    def _folder(self, name: str) -> Path:
        return self.store.folder / "runs" / name

    def _mark_of(self, name: str) -> _Mark:
        folder = self._folder(name)
        try:
            found = (folder / FILE_NAME).stat()
        except OSError:
            return 0, 0, False
        return found.st_size, found.st_mtime_ns, (folder / ENDED).exists()


def _state(header: RunHeader, *, is_running: bool) -> RunState:
    if not header.is_unfinished:
        return "finished"
    return "running" if is_running else "unfinished"


def _files_in(folder: Path) -> tuple[tuple[str, int, int], ...]:
    found = []
    with contextlib.suppress(OSError):
        for path, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):
                    state = (Path(path) / name).stat()
                    found.append((name, state.st_size, state.st_mtime_ns))
    return tuple(sorted(found))

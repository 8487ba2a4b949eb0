"""The records of a store's runs on this machine, as files that are read in their place.

STATE/runs/<run>/journal.jsonl   the lines that the store has of a run, byte for byte
STATE/runs/<run>/lines           how many they are, the file's size in bytes, and when the last one was recorded
STATE/newer-<time>/runs/<run>    what was here, and the store no longer has: it was restored from an older backup
"""

from __future__ import annotations

import contextlib
import logging
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import JournalError, StoreError
from dregutil.files import make_private_folder, write_private
from dregutil.journal.lines import FILE_NAME
from dregutil.journal.reader import read_header
from dregutil.store.ledger import Ledger

__all__ = ["COUNT", "Mirror", "is_name"]

COUNT = "lines"  # the file that says how much of the record is here

_log = logging.getLogger("dregutil.store")
_NAME = re.compile(r"[0-9A-Za-z][0-9A-Za-z_.-]{0,99}")
_SENT = (b'"type":"intent"', b'"type":"restored"')  # of lines about what was sent to a registry


def is_name(text: str) -> bool:
    """Whether a run may have this name: it is that of a folder, which no other machine shall find elsewhere."""
    return _NAME.fullmatch(text) is not None


class Mirror:
    """The mirror in a folder, which nobody else changes meanwhile."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self._ledger = ledger
        self._runs = folder / "runs"
        self._kept = folder / f"newer-{datetime.now(UTC):%Y%m%dT%H%M%SZ}" / "runs"

    def catch_up(self) -> None:
        """Take what the store has, and nothing else. Raises OSError and StoreError."""
        there = self._ledger.ends()
        for name, (lines, at) in there.items():
            if not is_name(name):
                raise StoreError(f"the store has a run whose name is no file's: {name!r}")
            self._catch_up(self._runs / name, lines, at)
        self._remove_others(there)

    def catch_up_one(self, name: str) -> bool:
        """Take what the store has of one run; returns whether it has any. Raises OSError and StoreError."""
        there = self._ledger.ends(name)
        for lines, at in there.values():
            self._catch_up(self._runs / name, lines, at)
        return bool(there)

    def _remove_others(self, there: Mapping[str, object]) -> None:
        gone = [entry for entry in self._runs.iterdir() if entry.name not in there]
        pruned = min(there, default="")  # the oldest go first
        for entry in gone:
            if entry.name > pruned or _is_open(entry):
                self._keep(entry)
            shutil.rmtree(entry, ignore_errors=True)

    def _catch_up(self, folder: Path, lines: int, at: float) -> None:
        """Fetch the lines of one run that the mirror lacks; `at`: when the last of `lines` was recorded."""
        path, count = folder / FILE_NAME, folder / COUNT
        known, size, known_at = _counted(count)
        is_whole = known > 0 and path.exists() and path.stat().st_size >= size
        if is_whole and (known, known_at) == (lines, at):
            return
        if is_whole and (known > lines or not self._has(folder.name, known, known_at)):
            self._keep(folder)
            is_whole = False
        if not is_whole:
            known = size = 0
        make_private_folder(folder)
        new = path if is_whole else path.with_suffix(".new")  # who reads the old file meanwhile has all of it
        with new.open("r+b" if is_whole else "wb") as file:
            new.chmod(0o600)
            file.truncate(size)  # what a process that was killed had written beyond
            file.seek(size)
            while known < lines:
                found = self._ledger.lines(folder.name, known)
                if not found:
                    break  # it was removed meanwhile
                file.writelines(body for _, _, body in found)
                known, known_at = found[-1][:2]
            file.flush()
            size = file.tell()
        if new != path:
            new.replace(path)
        write_private(count, b"%d %d %r" % (known, size, known_at))

    def _has(self, run: str, number: int, at: float) -> bool:
        """Whether the store has this line of a run, and it was recorded then."""
        return [found[:2] for found in self._ledger.lines(run, number - 1, 1)] == [(number, at)]

    def _keep(self, folder: Path) -> None:
        """Keep what this machine has of a run beside the mirror, if it says what was sent."""
        if not any(_sent(folder / FILE_NAME)):
            return
        make_private_folder(self._kept)
        shutil.copytree(folder, self._kept / folder.name, dirs_exist_ok=True)
        _log.warning(
            "the store knows less of %s than this machine: its record is kept, `dregutil --state-dir %s history`",
            folder.name,
            self._kept.parent,
        )


def _counted(path: Path) -> tuple[int, int, float]:
    with contextlib.suppress(OSError, ValueError):
        known, size, at = path.read_text().split()
        return int(known), int(size), float(at)
    return 0, 0, 0.0


def _is_open(folder: Path) -> bool:
    """Whether a run has no end: such a run is never removed from a store."""
    with contextlib.suppress(JournalError):
        return read_header(folder).is_unfinished
    return False


def _sent(path: Path) -> Iterator[bool]:
    with contextlib.suppress(OSError), path.open("rb") as file:
        for line in file:
            yield any(word in line for word in _SENT)

"""The journal of one run: a file that only grows, a line with a checksum for each event.

An intent has the exact bytes of the manifest to be deleted, and is on the disk before the request is sent, so a reader
knows of every request that may have been sent. One fsync serves all steps in flight.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

from dregutil.errors import JournalError
from dregutil.files import sync_folder
from dregutil.journal.lines import FILE_NAME, EndLine, Line, TornLine, encode_line
from dregutil.journal.recording import LineWriter, first_lines
from dregutil.oci.names import Reference
from dregutil.plan.model import Plan

__all__ = ["Journal", "write_advice"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Journal(LineWriter):
    """Writes the journal of one run. It is a Recorder, which `apply_plan` takes."""

    def __init__(self, folder: Path, *, synced: bool = True, number: int = 0) -> None:
        """`number`: the run's place among all. `synced=False` leaves out the fsync, to measure what it costs."""
        super().__init__(folder, number)
        self.path = folder / FILE_NAME
        self._synced = synced
        try:
            is_new = not self.path.exists()
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._length = os.fstat(self._file).st_size
            if is_new:
                sync_folder(folder)
            elif _is_torn(self.path):
                self._write([b"\n", encode_line(TornLine())])
        except OSError as error:
            raise _failed(self.path, error) from error

    def begin(self, plan: Plan, *, started: datetime, undoes: str = "", images: Sequence[Reference] = ()) -> None:
        """Write the plan, durably; for an undo the run that it undoes, and the only `images` that it puts back.

        Raises JournalError.
        """
        lines = first_lines(plan, self.run, number=self.number, started=started, undoes=undoes, images=images)
        self._write(map(encode_line, lines))
        self._sync()

    def close(self, finished: datetime | None, *, drops: bool = False) -> bool:  # noqa: ARG002 - a shared store needs it
        """End the journal; `finished` says when, if nothing of the run is left to do. False if it cannot be written."""
        try:
            if self._broken is None:
                ending = [*self._waiting, *([EndLine(finished)] if finished is not None else [])]
                self._waiting = []
                self._write_durably(ending)
        except JournalError:
            return False
        finally:
            os.close(self._file)
        return self._broken is None

    def _write_durably(self, lines: Sequence[Line]) -> None:
        self._write(map(encode_line, lines))
        self._sync()

    def _write(self, lines: Iterable[bytes]) -> None:
        try:
            for chunk in _chunks(lines):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._file, view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)  # no half line is left before the next one
            raise _failed(self.path, error) from error
        self._length = os.fstat(self._file).st_size

    def _sync(self) -> None:
        if not self._synced:
            return
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise _failed(self.path, error) from error


def _is_torn(path: Path) -> bool:
    """Whether the last line was cut off while it was written. Raises OSError."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if not file.tell():
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


def _chunks(lines: Iterable[bytes], size: int = 1 << 20) -> Iterator[bytes]:
    waiting: list[bytes] = []
    length = 0
    for line in lines:
        waiting.append(line)
        length += len(line)
        if length >= size:
            yield b"".join(waiting)
            waiting, length = [], 0
    if waiting:
        yield b"".join(waiting)


def _failed(path: Path, error: OSError) -> JournalError:
    return JournalError(f"the record {path} cannot be written: {error.strerror or error}", advice=write_advice(error))


def write_advice(error: OSError) -> str:
    """What to do if a journal cannot be written. On a full disk never to name another folder: the records in this one
    would not be found."""
    what = "free some space" if error.errno in _NO_ROOM else "make its folder writable"
    return f"{what}; nothing more was changed"

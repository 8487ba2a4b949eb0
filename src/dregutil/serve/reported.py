"""The document of `dregutil report`, as it was last made. It is on the disk, so that it is there after a restart."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.errors import DregutilError, JournalError
from dregutil.files import read_bytes, write_atomically
from dregutil.serve.checked import Checked, checked_of, with_check

__all__ = ["Reported"]

_MOST = 64 << 20  # bytes


class _Dated(msgspec.Struct):
    made: datetime
    read: datetime | None = None


class Reported:
    """The document in a file; in memory it is the JSON that is sent."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.body: bytes | None = None
        self.made: datetime | None = None
        self.read: datetime | None = None
        self._check = path.with_name("checked.json")

    def load(self) -> None:
        """Read the file, if there is one. What cannot be read counts as missing: it is made again."""
        try:
            self._take(read_bytes(self.path, _MOST))
        except (OSError, DregutilError):
            return

    def replace(self, made: Path) -> None:
        """Take the document that a job wrote; to one without a check comes what the last check found. Raises
        JournalError if it is none, or cannot be kept."""
        try:
            self._take(read_bytes(made, _MOST))
            made.replace(self.path)
            self._keep_check()
        except OSError as error:
            raise JournalError(f"the report cannot be kept: {error.strerror or error}") from error

    def forget_check(self) -> None:
        """A run or an undo has ended: what the last check found may no longer be so."""
        with suppress(OSError):
            self._check.unlink()

    def _keep_check(self) -> None:
        """Keep what the document's check found; add that of the last one to a document without. Raises OSError."""
        assert self.body is not None
        checked = checked_of(self.body)
        if checked is not None:
            write_atomically(self._check, [msgspec.json.encode(checked)])
            return
        with suppress(FileNotFoundError, DregutilError, msgspec.DecodeError, ValueError):
            kept = msgspec.json.decode(read_bytes(self._check, _MOST), type=Checked)
            merged = with_check(self.body, kept)
            if merged is None:
                self.forget_check()
            else:
                write_atomically(self.path, [b"[", merged, b"]\n"])
                self.body = merged

    def _take(self, text: bytes) -> None:
        try:
            (body,) = msgspec.json.decode(text, type=list[msgspec.Raw])
            dated = msgspec.json.decode(body, type=_Dated)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise JournalError(f"the report cannot be read: {error}") from error
        self.body, self.made, self.read = bytes(body), dated.made, dated.read

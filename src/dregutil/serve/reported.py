"""The document of `dregutil report`, as it was last made. It is on the disk, so that it is there after a restart."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.errors import DregutilError, JournalError
from dregutil.files import read_bytes

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

    def load(self) -> None:
        """Read the file, if there is one. What cannot be read counts as missing: it is made again."""
        try:
            self._take(read_bytes(self.path, _MOST))
        except (OSError, DregutilError):
            return

    def replace(self, made: Path) -> None:
        """Take the document that a job wrote. Raises JournalError if it is none, or cannot be kept."""
        try:
            self._take(read_bytes(made, _MOST))
            made.replace(self.path)
        except OSError as error:
            raise JournalError(f"the report cannot be kept: {error.strerror or error}") from error

    def _take(self, text: bytes) -> None:
        try:
            (body,) = msgspec.json.decode(text, type=list[msgspec.Raw])
            dated = msgspec.json.decode(body, type=_Dated)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
            raise JournalError(f"the report cannot be read: {error}") from error
        self.body, self.made, self.read = bytes(body), dated.made, dated.read

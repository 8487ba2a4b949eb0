"""What a shared store does for the files of the state folder: they become copies of what all machines know."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

__all__ = ["Forgotten", "SharedDocument", "SharedDocuments", "SharedFile", "SharedFiles", "SharedRecords"]


Forgotten = Callable[[sqlite3.Connection], Callable[[sqlite3.Connection], None]]
"""Called with a copy that has what a store has forgotten. What it returns notes that in the copy, once it is made again
from the store."""


class SharedFile(Protocol):
    """A SQLite file of which several machines have a copy. Every method raises JournalError."""

    def bring(self) -> None:
        """Bring this machine's copy up to date. Where nobody has written anything yet, there is no file."""

    def writing(self, copy: sqlite3.Connection) -> AbstractContextManager[None]:
        """A transaction on all copies: what is changed in `copy` is changed for everyone, or, after an exception, for
        nobody. No other machine writes meanwhile, and the copy is up to date when it begins."""


class SharedFiles(Protocol):
    """The shared databases of one registry."""

    def file(self, name: str, path: Path, forgotten: Forgotten | None = None) -> SharedFile:
        """The database of a name, with this machine's copy at `path`. `forgotten`: what to note for everyone where the
        copy has what the store was restored without."""


class SharedDocument(Protocol):
    """A small file that several machines read and change. Every method raises JournalError."""

    def version(self) -> int:
        """Grows with each change; 0 if it was never written. A change of the last 0.2 s may not be seen yet."""

    def read(self) -> bytes | None:
        """None if it was never written."""

    def change(self, how: Callable[[bytes | None], bytes | None]) -> bytes | None:
        """Replace it by what `how` makes of it, while nobody else does, and return that; None leaves it as it is."""

    def write(self, body: bytes) -> None:
        """Replace it."""


class SharedDocuments(Protocol):
    """The shared files of one registry."""

    def document(self, name: str) -> SharedDocument:
        """The file of a name."""

    def names(self, beginning: str) -> list[str]:
        """The names of the files that were written, those that begin so. Raises JournalError."""


class SharedRecords(SharedDocuments, SharedFiles, Protocol):
    """All that is shared of one registry."""

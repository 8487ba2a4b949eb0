"""What a shared store does for a database of the state folder: the file becomes a copy of what all machines know."""

from __future__ import annotations

import sqlite3
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

__all__ = ["SharedFile", "SharedFiles"]


class SharedFile(Protocol):
    """A SQLite file of which several machines have a copy. Every method raises JournalError."""

    def bring(self) -> None:
        """Bring this machine's copy up to date. Where nobody has written anything yet, there is no file."""

    def writing(self, copy: sqlite3.Connection) -> AbstractContextManager[None]:
        """A transaction on all copies: what is changed in `copy` is changed for everyone, or, after an exception, for
        nobody. No other machine writes meanwhile, and the copy is up to date when it begins."""


class SharedFiles(Protocol):
    """The shared databases of one registry."""

    def file(self, name: str, path: Path) -> SharedFile:
        """The database of a name, with this machine's copy at `path`."""

"""What of the state folder several machines may share: the form that a shared store gives it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from dregutil.inventory.shared import SharedFiles

__all__ = ["SharedDocument", "SharedDocuments", "SharedRecords"]


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

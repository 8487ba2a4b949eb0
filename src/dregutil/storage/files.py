"""The files of a storage: the interface that a reader needs, and a local folder that has it."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple, Protocol

from dregutil.errors import StorageError, UsageError

__all__ = ["Entry", "Files", "FolderFiles", "TooLongError", "UnreadError"]


_TO_READ = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
_FIRST = 1 << 14  # bytes: nearly all manifests; room for the longest is not made for each


class UnreadError(Exception):
    """A file or folder that is there and cannot be read; its text says why. It stays within this package."""


class TooLongError(UnreadError):
    """A file that is longer than it can be."""


class Entry(NamedTuple):
    """A name in a folder."""

    name: str
    is_folder: bool


class Files(Protocol):
    """Files under a root, by path relative to it. Reads only.

    `keeps_empty_folders`: whether a folder stays when nothing is left in it.
    """

    keeps_empty_folders: bool

    def entries(self, folder: str) -> list[Entry]:
        """The entries of a folder, in no order; none if there is no such folder. Raises UnreadError."""

    def sizes(self, paths: Sequence[str]) -> Iterator[int | UnreadError | None]:
        """The size of each file in bytes, in order; None if there is no such file."""

    def contents(self, paths: Sequence[str], longest: int) -> Iterator[bytes | UnreadError | None]:
        """The content of each file, in order; None if there is none. A file over `longest` bytes is not read."""

    def moments(self, paths: Sequence[str]) -> Iterator[datetime | None]:
        """When each file was last written, in order; None if there is no such file, or it is not known."""


class FolderFiles:
    """A local folder, opened for reading only. A file that is not regular, such as a pipe, does not block."""

    keeps_empty_folders = True

    def __init__(self, place: str) -> None:
        """Raises StorageError if there is no such folder, or it cannot be read."""
        scheme, is_url, _ = place.partition("://")
        if is_url:
            raise UsageError(
                f"--storage {place}: {scheme}:// is not supported", advice="use a folder, or s3://, gs:// or az://"
            )
        self._root = str(Path(place).expanduser())
        try:
            with os.scandir(self._root):
                pass
        except OSError as error:
            raise StorageError(f"the storage {place} cannot be read: {error.strerror}") from error

    def entries(self, folder: str) -> list[Entry]:
        try:
            with os.scandir(f"{self._root}/{folder}") as found:
                return [Entry(entry.name, entry.is_dir()) for entry in found]
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise UnreadError(error.strerror or str(error)) from error

    def sizes(self, paths: Sequence[str]) -> Iterator[int | UnreadError | None]:
        for path in paths:
            try:
                found = os.stat(f"{self._root}/{path}")  # noqa: PTH116 - a Path for each of millions costs more
                yield None if stat.S_ISDIR(found.st_mode) else found.st_size
            except (FileNotFoundError, NotADirectoryError):
                yield None
            except OSError as error:
                yield UnreadError(error.strerror or str(error))

    def contents(self, paths: Sequence[str], longest: int) -> Iterator[bytes | UnreadError | None]:
        for path in paths:
            try:
                yield _read(f"{self._root}/{path}", longest)
            except (FileNotFoundError, NotADirectoryError):
                yield None
            except UnreadError as error:
                yield error
            except OSError as error:
                yield UnreadError(error.strerror or str(error))

    def moments(self, paths: Sequence[str]) -> Iterator[datetime | None]:
        for path in paths:
            try:
                yield datetime.fromtimestamp(os.stat(f"{self._root}/{path}").st_mtime, UTC)  # noqa: PTH116 - as sizes
            except (OSError, ValueError, OverflowError):
                yield None


def _read(path: str, longest: int) -> bytes:
    # Less than was asked for is the end of a file. Were it not, a digest would not match, so nothing would be free.
    descriptor = os.open(path, _TO_READ)
    try:
        asked = min(longest + 1, _FIRST)
        found = os.read(descriptor, asked)
        if len(found) == asked:
            while len(found) <= longest and (more := os.read(descriptor, longest + 1 - len(found))):
                found += more
    finally:
        os.close(descriptor)
    if len(found) > longest:
        raise TooLongError(f"more than {longest:,} bytes")
    return found

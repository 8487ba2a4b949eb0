"""Reading files that somebody names: of no more than so many bytes, since a file may have no end (`/dev/zero`)."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TextIO

__all__ = ["bounded_lines", "check_is_file", "read_bytes", "read_stream", "read_text"]

_LONGEST_LINE = 64 * 1024 * 1024


def read_bytes(path: Path, most: int) -> bytes:
    """A file of at most `most` bytes. Raises OSError."""
    with path.open("rb") as file:
        found = file.read(most + 1)
    if len(found) > most:
        raise _too_long(most)
    return found


def read_text(path: Path, most: int, *, encoding: str = "utf-8-sig") -> str:
    """A text file of at most `most` bytes. Raises OSError, and UnicodeDecodeError where it is none."""
    return read_bytes(path, most).decode(encoding).replace("\r\n", "\n")


def read_stream(stream: TextIO, most: int) -> str:
    """A text of at most `most` characters, such as standard input. Raises OSError, and UnicodeDecodeError."""
    found = stream.read(most + 1)
    if len(found) > most:
        raise _too_long(most)
    return found


def bounded_lines(file: BinaryIO, most: int) -> Iterator[bytes]:
    """The lines of a file of at most `most` bytes, none longer than 64 MB. Raises OSError."""
    left = most
    while line := file.readline(min(_LONGEST_LINE, left) + 1):
        left -= len(line)
        if left < 0 or len(line) > _LONGEST_LINE:
            raise _too_long(min(_LONGEST_LINE, most))
        yield line


def check_is_file(path: Path) -> None:
    """Raises OSError where there is something, and it is no plain file: a device has no end."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, os.strerror(errno.EISDIR) if stat.S_ISDIR(mode) else "it is no plain file")


def _too_long(most: int) -> OSError:
    return OSError(errno.EFBIG, f"it has more than {most >> 20:,} MB")

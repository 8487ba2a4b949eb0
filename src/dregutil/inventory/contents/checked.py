"""Whether a large content database has the bytes that it had when all its rows were last checked.

A checksum of the whole file takes a twentieth of the time of those of its rows. It is kept beside the file; any write
to the database, and any damage on the disk, makes it another one, and then the rows are checked.
"""

from __future__ import annotations

import hashlib
import os
import sys
from contextlib import suppress
from itertools import pairwise
from pathlib import Path

from dregutil.files import read_bytes, write_atomically
from dregutil.inventory.contents.database import ContentDatabase

__all__ = ["check_rows"]

_LARGE = 1 << 25  # bytes: SQLite checks a smaller file when it is opened
_MOST_FOR_ONE = 50_000  # bytes of the file that are read as fast as the rows of one tag are checked
_FORM = "all rows 1"  # another one where a check looks at something else
_PROGRAM = """
import sys, zlib
at, end, found = int(sys.argv[2]), int(sys.argv[3]), []
buffer = bytearray(1 << 20)
view = memoryview(buffer)
with open(sys.argv[1], "rb", buffering=0) as file:
    file.seek(at)
    while at < end and (read := file.readinto(view[: end - at])):
        found.append(zlib.crc32(view[:read]))
        at += read
print(at, *found)
"""


def check_rows(database: ContentDatabase, rows: str, number: int) -> None:
    """Drop what is damaged of the manifests that the query `rows` names, about `number`, and below them; all of them
    are whole. Nothing is read but the file if that was checked before. Raises CacheError."""
    path = database.path
    if path is None or not _LARGE <= _size(path) < number * _MOST_FOR_ONE:
        database.check(rows)
        return
    kept, found = path.with_name(f"{path.name}.checked"), _file_sum(database, path)
    if found is not None and _read(kept) == found:
        return
    before = database.dropped
    database.check("SELECT id FROM manifest WHERE whole")
    if found is not None and database.dropped == before:
        with suppress(OSError):
            write_atomically(kept, [found], durable=False)


def _file_sum(database: ContentDatabase, path: Path) -> bytes | None:
    """The checksums of the file; None if not everything that was written is in it, or it could not be read.

    Other processes read it: where this one closes a file, SQLite loses its locks on it.
    """
    import subprocess

    with database.guarded():
        _, written, moved = database.connection.execute("PRAGMA wal_checkpoint").fetchone()
    if written != moved:
        return None
    size, number = _size(path), min(2, os.cpu_count() or 1)
    ends = [size * one // number for one in range(number + 1)]
    command = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(path)]
    readers: list[subprocess.Popen[bytes]] = []
    quiet = subprocess.DEVNULL
    try:
        for begin, end in pairwise(ends):
            readers.append(
                subprocess.Popen(  # noqa: S603 - this interpreter
                    [*command, str(begin), str(end)], stdin=quiet, stdout=subprocess.PIPE, stderr=quiet
                )
            )
        sums = [reader.communicate()[0] for reader in readers]
    except OSError:
        return None
    finally:
        for reader in readers:
            reader.kill()  # of those that still run, after an interrupt
    if any(reader.returncode for reader in readers):
        return None
    return f"{_FORM} {size} {hashlib.sha256(b''.join(sums)).hexdigest()}\n".encode()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _read(kept: Path) -> bytes:
    try:
        return read_bytes(kept, 200)
    except OSError:
        return b""

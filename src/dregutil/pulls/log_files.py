"""Reads files of access logs, and remembers how far.

A file is known again by its first line, whatever it is called after a rotation and also once it is compressed; what was
read before must end with the same bytes, otherwise it is read from its beginning. Reading twice changes nothing.
"""

from __future__ import annotations

import gzip
import hashlib
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from dregutil.errors import StorageError
from dregutil.pulls.access_log import KNOWN, LineReader, line_reader
from dregutil.pulls.agents import IgnoredAgents
from dregutil.pulls.request import LONGEST_LINE, MANIFESTS, LoggedPull
from dregutil.pulls.writer import Batch, LogPosition

__all__ = ["LogRead", "log_name", "read_log"]

STDIN = "-"
_BLOCK = 4 * 1024 * 1024
_BEFORE = 256  # bytes before the position that must be the same
_CLOCK = 300  # seconds by which clocks may differ: a line of a later time says nothing of what is recorded
_GZIP = b"\x1f\x8b"
# What a rotation adds to a file's name: `.1`, `-20261126`, `.2026-11-26`, `.2.gz`; a date also before `.log`.
_ROTATED = re.compile(
    r"(?:[.-](?:[0-9]{4}-[0-9]{2}-[0-9]{2}|[0-9]{1,14}))?(?:\.gz)?$"
    r"|[._-](?:[0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})(?=\.log(?:\.gz)?$)"
)


@dataclass(frozen=True, slots=True)
class LogRead:
    """What was read of a file. `lines` are its new ones, `pulls` those of them that count; `span` the time of the first
    and the last of the lines, in seconds since 1970; `position` is how far it is read now, None if that is not kept."""

    name: str
    lines: int
    pulls: int
    batch: Batch
    span: tuple[int, int] | None
    position: LogPosition | None


def log_name(path: str) -> str:
    """The name of a log without what a rotation added: all its files are one source."""
    if path == STDIN:
        return "standard input"
    return str(Path(_ROTATED.sub("", path) or path).absolute())


def read_log(
    path: str,
    known: Callable[[bytes], LogPosition | None],
    *,
    line_format: str | None = None,
    ignored: IgnoredAgents,
    now: int,
) -> LogRead:
    """Read a file, `-` for standard input, from where it was read before. `known` returns that, for the sum of a first
    line. Raises StorageError if it cannot be read, and UsageError for a wrong format."""
    reading = _Reading(KNOWN if line_format is None else line_reader(line_format), ignored, now)
    try:
        with _opened(path) as file:
            first = file.readline(LONGEST_LINE)
            if path == STDIN or not first.endswith(b"\n"):
                reading.read(file, first, whole=True)
                return reading.result(path, None)
            head = hashlib.sha256(first).digest()[:16]
            position = known(head)
            before = None if position is None else _before(file, position)
            if position is None or before is None:
                file.seek(0)
            else:
                reading.go_on(position, before)
            reading.read(file, b"", whole=False)
            return reading.result(path, head)
    except (OSError, EOFError, zlib.error) as error:
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise StorageError(f"{path} cannot be read: {why}", advice="name a file that this user may read") from error


def _before(file: BinaryIO, position: LogPosition) -> bytes | None:
    """Go to a position; the last bytes before it, or None if they are not what they were: it is another file."""
    file.seek(max(0, position.offset - _BEFORE))
    before = file.read(min(_BEFORE, position.offset))
    return before if file.tell() == position.offset and _sum(before) == position.before else None


def _sum(before: bytes) -> bytes:
    return hashlib.sha256(before[-_BEFORE:]).digest()[:16]


@contextmanager
def _opened(path: str) -> Iterator[BinaryIO]:
    if path == STDIN:
        yield sys.stdin.buffer
        return
    with open(path, "rb", buffering=_BLOCK) as file:  # noqa: PTH123 - a name that the user gave, as it is
        is_compressed = file.read(2) == _GZIP
        file.seek(0)
        if not is_compressed:
            yield file
            return
        with gzip.GzipFile(fileobj=file) as inner:
            yield inner  # type: ignore[misc]  # it reads like a BinaryIO


class _Reading:
    """Collects what the lines of a file say."""

    def __init__(self, reader: LineReader, ignored: IgnoredAgents, now: int) -> None:
        self.batch = Batch()
        self.lines = self.pulls = 0
        self._reader, self._ignored, self._now = reader, ignored, now
        self._since: int | None = None
        self._until: int | None = None
        self._offset = 0
        self._tail = b""

    def go_on(self, position: LogPosition, before: bytes) -> None:
        """Begin where the file was read to: its lines follow those that were read."""
        self._offset, self._tail = position.offset, before
        self._since = self._until = position.until

    def read(self, file: BinaryIO, start: bytes, *, whole: bool) -> None:
        """Read `start` and the rest of a file in blocks. Without `whole`, a last line that is not complete is left for
        the next time."""
        rest = start
        while True:
            block = file.read(_BLOCK)
            part = rest + block
            end = part.rfind(b"\n") + 1
            if not block:
                end = len(part) if whole else end
            elif not end and len(part) > _BLOCK:
                end = len(part)  # it is no log
            self._take(part[:end])
            rest = part[end:]
            if not block:
                return

    def _take(self, part: bytes) -> None:
        """Count complete lines. Those without `/manifests/` are not looked at one by one."""
        if not part:
            return
        self._offset += len(part)
        self._tail = (self._tail + part[-_BEFORE:])[-_BEFORE:]
        self.lines += part.count(b"\n") + (not part.endswith(b"\n"))
        self._note_times(part)
        place = part.find(MANIFESTS)
        while place >= 0:
            begin, end = part.rfind(b"\n", 0, place) + 1, part.find(b"\n", place)
            end = len(part) if end < 0 else end
            if end - begin <= LONGEST_LINE:
                self._add(self._reader.pull(part[begin:end]))
            place = part.find(MANIFESTS, end)

    def _add(self, pull: LoggedPull | None) -> None:
        if pull is not None and not self._ignored.ignores(pull.agent):
            self.pulls += 1
            self.batch.add(pull.repository, pull.reference, min(pull.at, self._now), pull.agent)

    def _note_times(self, part: bytes) -> None:
        """The time of the first and of the last line."""
        if self._since is None:
            self._since = self._time(part[: 64 * 1024].splitlines()[:100])
        last = self._time(reversed(part[-64 * 1024 :].splitlines()[-100:]))
        if last is not None:
            self._until = max(last, self._until or 0)

    def _time(self, lines: Iterator[bytes] | list[bytes]) -> int | None:
        latest = self._now + _CLOCK
        times = (self._reader.time(line) for line in lines)
        return next((min(time, self._now) for time in times if time is not None and time <= latest), None)

    def result(self, path: str, head: bytes | None) -> LogRead:
        span = None
        if self.lines and self._since is not None and self._until is not None:
            span = min(self._since, self._until), self._until
        position = None
        if head is not None and self.lines:
            position = LogPosition(head, self._offset, _sum(self._tail), self._until)
        return LogRead(log_name(path), self.lines, self.pulls, self.batch, span, position)

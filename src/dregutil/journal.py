"""The record of one run: a file that only grows, one checked line for each thing that is known.

An intent holds the exact bytes of the manifest that is about to go, and is on the disk before the request is sent; one
fsync serves all steps in flight. A line carries a sum over itself, so a torn one, or one that reached the disk out of
order, is recognised and left out: what was intended is complete, since nothing was sent before it was durable.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from dregutil.errors import JournalError, ManifestError, UsageError
from dregutil.manifest import DOCKER_LIST, OCI_INDEX, parse_manifest
from dregutil.outcome import Intent, Outcome, Result
from dregutil.plan import Plan, Step, Usage
from dregutil.planfile import decode_step, encode_step, options_from, options_object
from dregutil.reference import Digest, Repository, Tag

__all__ = ["Journal", "RunHeader", "RunRecord", "Settled", "read_header", "read_indexes", "read_journal", "sync_folder"]

VERSION = 1
FILE_NAME = "journal.jsonl"
_LONGEST_END = 4096  # bytes at the end of a record in which its last line is looked for
_INDEX_TYPES = (OCI_INDEX.encode(), DOCKER_LIST.encode())
_SUM = 16  # hexadecimal digits of each line's own sum
_ADVICE = "free some space, or name another folder with --state-dir (DREGUTIL_STATE_DIR); nothing more was changed"


class _RunLine(msgspec.Struct, tag="run", kw_only=True):
    version: int
    run: str
    registry: str
    started: datetime
    command: str
    made_at: datetime | None = None
    undoes: str = ""
    options: dict[str, bool] = {}
    steps: int = 0
    tags_before: dict[str, int] = {}
    reclaimable: int = 0
    exact: bool = False
    because: str = ""
    untagged: bool = False
    names_repositories: bool = False


class _StepLine(msgspec.Struct, tag="step"):
    plan: msgspec.Raw


class _IntentLine(msgspec.Struct, tag="intent", kw_only=True, omit_defaults=True):
    step: int
    repository: str
    tags: list[str]
    digest: str
    media_type: str
    raw: bytes
    placeholder: str = ""
    beside: list[str] = []


class _OutcomeLine(msgspec.Struct, tag="outcome", omit_defaults=True):
    step: int
    result: str
    why: str = ""


class _RestoredLine(msgspec.Struct, tag="restored", omit_defaults=True):
    repository: str
    digest: str
    tags: list[str]
    why: str = ""


class _LookedLine(msgspec.Struct, tag="looked"):
    repository: str


class _EndLine(msgspec.Struct, tag="end"):
    finished: datetime


_Line = _RunLine | _StepLine | _IntentLine | _OutcomeLine | _RestoredLine | _LookedLine | _EndLine
_decoder = msgspec.json.Decoder(_Line)
_encoder = msgspec.json.Encoder(enc_hook=str)  # our names are subclasses of str


@dataclass(frozen=True, slots=True)
class Settled:
    """What a run noted about one step."""

    result: Result
    why: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A run as its journal tells it. `undoes` names the run that it put back; `damaged` counts lines left out.

    `missing_steps`: the record of the plan itself is not whole. `taken` are the steps that took something, or may have,
    even if the run itself put it back.
    """

    run: str
    folder: Path
    plan: Plan
    started: datetime
    undoes: str = ""
    intents: tuple[Intent, ...] = ()
    outcomes: Mapping[int, Settled] = field(default_factory=dict)
    restored: tuple[tuple[Repository, Digest, tuple[Tag, ...], str], ...] = ()
    looked: frozenset[Repository] = frozenset()
    finished: datetime | None = None
    missing_steps: bool = False
    damaged: int = 0
    taken: frozenset[int] = frozenset()

    @property
    def is_unfinished(self) -> bool:
        return self.finished is None

    @property
    def removed_tags(self) -> int:
        done = {number for number, settled in self.outcomes.items() if settled.result is Result.REMOVED}
        return sum(len(step.tags) for step in self.plan.steps if step.number in done)

    @property
    def open_intents(self) -> tuple[Intent, ...]:
        """Intents whose outcome is not known."""
        return tuple(intent for intent in self.intents if intent.step not in self.outcomes)


class Journal:
    """Writes the record of one run. A recorder, as `apply_plan` wants one."""

    def __init__(self, folder: Path, *, synced: bool = True) -> None:
        """`synced=False` leaves the fsync out: for measuring what it costs."""
        self.folder = folder
        self.path = folder / FILE_NAME
        self._synced = synced
        self._waiting: list[bytes] = []
        self._flushing: asyncio.Task[None] | None = None
        self._broken: JournalError | None = None
        self.has_intents = False
        try:
            is_new = not self.path.exists()
            self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._length = os.fstat(self._file).st_size
            if is_new:
                sync_folder(folder)
            elif self._length:
                self._write([b"\n"])  # a torn last line ends here
        except OSError as error:
            raise _failed(self.path, error) from error

    @property
    def run(self) -> str:
        return self.folder.name

    def begin(self, plan: Plan, *, started: datetime, undoes: str = "") -> None:
        """Write the plan down, durably. Raises JournalError."""
        header = _RunLine(
            version=VERSION,
            run=self.run,
            registry=plan.registry,
            started=started,
            command=plan.command,
            made_at=plan.made_at,
            undoes=undoes,
            options=options_object(plan.options),
            steps=0 if undoes else len(plan.steps),
            tags_before={str(name): number for name, number in plan.tags_before.items()},
            reclaimable=plan.usage.reclaimable_bytes,
            exact=plan.usage.exact,
            because=plan.usage.because,
            untagged=plan.usage.untagged,
            names_repositories=plan.names_repositories,
        )
        self._write([_line(header)])
        if not undoes:
            self._write(_line(_StepLine(msgspec.Raw(encode_step(step)))) for step in plan.steps)
        self._sync()

    async def intend(self, *intents: Intent) -> None:
        self.has_intents = True
        self._note(
            *(
                _IntentLine(
                    step=intent.step,
                    repository=intent.repository,
                    tags=list(intent.tags),
                    digest=intent.manifest.digest,
                    media_type=intent.manifest.media_type,
                    raw=intent.manifest.raw,
                    placeholder=intent.placeholder or "",
                    beside=list(intent.beside),
                )
                for intent in intents
            )
        )
        await self._durable()

    def outcome(self, outcome: Outcome) -> None:
        self._note(_OutcomeLine(outcome.step.number, outcome.result.value, outcome.why))

    def restored(self, repository: Repository, digest: Digest, tags: Iterable[Tag], why: str = "") -> None:
        """Note that a manifest was put back with these tags, or why it was not."""
        self._note(_RestoredLine(repository, digest, list(tags), why))

    def looked(self, repository: Repository) -> None:
        self._note(_LookedLine(repository))

    async def flush(self) -> None:
        """Make all that was noted durable."""
        await self._durable()

    def close(self, finished: datetime | None) -> None:
        """End the record; `finished` where nothing of the run is left to do. What cannot be written is left out."""
        with contextlib.suppress(JournalError):
            if self._broken is None:
                ending = [*self._waiting, *([_line(_EndLine(finished))] if finished is not None else [])]
                self._waiting = []
                self._write(ending)
                self._sync()
        os.close(self._file)

    def _note(self, *found: Any) -> None:
        self._waiting += [_line(line) for line in found]

    async def _durable(self) -> None:
        """Wait until all that is noted now is on the disk: those who wait together share one fsync."""
        if self._broken is not None:
            raise self._broken
        while self._flushing is not None:
            # That one may have begun before our lines: the next one takes them.
            await asyncio.shield(self._flushing)
            if self._broken is not None:
                raise self._broken
        if not self._waiting:
            return
        self._flushing = asyncio.ensure_future(self._flush())
        await asyncio.shield(self._flushing)
        if self._broken is not None:
            raise self._broken

    async def _flush(self) -> None:
        lines, self._waiting = self._waiting, []
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._write_synced, lines)
        except JournalError as error:
            self._broken = error
        finally:
            self._flushing = None

    def _write_synced(self, lines: list[bytes]) -> None:
        self._write(lines)
        self._sync()

    def _write(self, lines: Iterable[bytes]) -> None:
        try:
            for chunk in _chunks(lines):
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._file, view) :]
        except OSError as error:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._length)  # no half line is left to spoil the next one
            raise _failed(self.path, error) from error
        self._length = os.fstat(self._file).st_size

    def _sync(self) -> None:
        if not self._synced:
            return
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise _failed(self.path, error) from error


def read_journal(folder: Path) -> RunRecord:
    """Read a run's record; lines that are torn or altered are counted and left out. Raises JournalError."""
    path = folder / FILE_NAME
    reading = _Reading(folder)
    try:
        with path.open("rb") as file:
            for line in file:
                reading.take(line)
    except OSError as error:
        raise JournalError(f"the record {path} cannot be read: {error.strerror or error}") from error
    return reading.record()


@dataclass(frozen=True, slots=True)
class RunHeader:
    """The beginning of a run's record, and whether its end is there: read without all that lies between."""

    run: str
    folder: Path
    registry: str
    started: datetime
    undoes: str
    is_unfinished: bool


def read_header(folder: Path) -> RunHeader:
    """Raises JournalError where the record does not begin as one."""
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            first = file.readline()
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST_END))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError as error:
        raise JournalError(f"the record {path} cannot be read: {error.strerror or error}") from error
    line = _checked(first)
    if not isinstance(line, _RunLine):
        raise JournalError(f"the record of the run {folder.name} has no beginning: nothing was changed by it")
    ended = isinstance(_checked(last + b"\n"), _EndLine)
    return RunHeader(folder.name, folder, line.registry, line.started, line.undoes, not ended)


def read_indexes(folder: Path) -> Iterator[Intent]:
    """The intents of a record that concern an index; nothing where it cannot be read."""
    with contextlib.suppress(OSError), (folder / FILE_NAME).open("rb") as file:
        for line in file:
            if b'"type":"intent"' in line and any(kind in line for kind in _INDEX_TYPES):
                found = _checked(line)
                if isinstance(found, _IntentLine):
                    with contextlib.suppress(UsageError, ManifestError):
                        yield _intent(found)


def _checked(line: bytes) -> _Line | None:
    """A line's record, or None where it is torn or altered."""
    sum_, _, payload = line.rstrip(b"\n").partition(b" ")
    if not line.endswith(b"\n") or sum_ != _sum(payload):
        return None
    try:
        found: _Line = _decoder.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return found


class _Reading:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header: _RunLine | None = None
        self.steps: list[Step] = []
        self.intents: list[Intent] = []
        self.outcomes: dict[int, Settled] = {}
        self.taken: set[int] = set()
        self.restored: list[tuple[Repository, Digest, tuple[Tag, ...], str]] = []
        self.looked: set[Repository] = set()
        self.finished: datetime | None = None
        self.damaged = 0

    def take(self, line: bytes) -> None:
        if line == b"\n":
            return
        found = _checked(line)
        try:
            if found is None:
                self.damaged += 1
            else:
                self._understand(found)
        except (msgspec.MsgspecError, UsageError, ManifestError, ValueError):
            self.damaged += 1

    def _understand(self, line: _Line) -> None:
        match line:
            case _RunLine():
                self.header = line
            case _StepLine():
                self.steps.append(decode_step(bytes(line.plan)))
            case _IntentLine():
                self.intents.append(_intent(line))
                self.finished = None
            case _OutcomeLine():
                self.outcomes[line.step] = Settled(Result(line.result), line.why)
                if Result(line.result) in (Result.REMOVED, Result.FAILED):
                    self.taken.add(line.step)
            case _RestoredLine():
                tags = tuple(Tag(tag) for tag in line.tags)
                self.restored.append((Repository(line.repository), Digest(line.digest), tags, line.why))
            case _LookedLine():
                self.looked.add(Repository(line.repository))
            case _EndLine():
                self.finished = line.finished

    def record(self) -> RunRecord:
        header = self.header
        if header is None:
            raise JournalError(f"the record of the run {self.folder.name} has no beginning: nothing was changed by it")
        if header.version != VERSION:
            raise JournalError(
                f"the record of the run {self.folder.name} is of version {header.version}, this program reads {VERSION}"
            )
        plan = Plan(
            header.registry,
            header.made_at or header.started,
            header.command,
            tuple(self.steps),
            options=options_from(header.options),
            tags_before={Repository(name): number for name, number in header.tags_before.items()},
            usage=Usage(header.reclaimable, header.exact, header.because, header.untagged),
            names_repositories=header.names_repositories,
        )
        return RunRecord(
            self.folder.name,
            self.folder,
            plan,
            header.started.astimezone(UTC),
            header.undoes,
            tuple(self.intents),
            self.outcomes,
            tuple(self.restored),
            frozenset(self.looked),
            self.finished,
            len(self.steps) != header.steps,
            self.damaged,
            frozenset(self.taken),
        )


def _intent(line: _IntentLine) -> Intent:
    digest = Digest.parse(line.digest)
    return Intent(
        line.step,
        Repository.parse(line.repository),
        tuple(Tag.parse(tag) for tag in line.tags),
        parse_manifest(line.raw, line.media_type, digest),
        Digest.parse(line.placeholder) if line.placeholder else None,
        tuple(Tag.parse(tag) for tag in line.beside),
    )


def _line(record: Any) -> bytes:
    payload = _encoder.encode(record)
    return b"%b %b\n" % (_sum(payload), payload)


def _sum(payload: bytes) -> bytes:
    return hashlib.sha256(payload).hexdigest()[:_SUM].encode()


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


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _failed(path: Path, error: OSError) -> JournalError:
    return JournalError(f"the record {path} cannot be written: {error.strerror or error}", advice=_ADVICE)

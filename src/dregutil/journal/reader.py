"""The journal of a run, read back: as a whole, only its two ends, or only some of its intents."""

from __future__ import annotations

import contextlib
import os
from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dregutil.errors import JournalError, ManifestError, UsageError
from dregutil.journal.lines import (
    FILE_NAME,
    VERSION,
    BetweenLine,
    EndLine,
    IntentLine,
    Line,
    LookedLine,
    LostLine,
    OutcomeLine,
    RestoredLine,
    RunLine,
    StepLine,
    TornLine,
    decode_line,
    version_of,
)
from dregutil.journal.record import RunHeader, RunRecord, Settled
from dregutil.oci.manifest import DOCKER_LIST, OCI_INDEX, parse_manifest
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.plan.file import PolicyEntry, decode_step, options_from
from dregutil.plan.model import Plan, Reclaim, Step
from dregutil.plan.outcome import Intent, LostTag, Result, Unanswered
from dregutil.storage.collector import Collector

__all__ = ["ENDED", "NUMBER", "read_header", "read_indexes", "read_journal", "read_moved"]

NUMBER = "number"  # a file: the run's place among all, where its first line has that of another folder
ENDED = "ended"  # an empty file: the run has ended, and there was no space for its last line
_LONGEST_END = 4096  # bytes at the end of a journal in which its last line is searched
_INDEX_TYPES = (OCI_INDEX.encode(), DOCKER_LIST.encode())


def read_journal(folder: Path) -> RunRecord:
    """Read the record of a run. Lines that are torn or altered are counted and left out. Raises JournalError."""
    path = folder / FILE_NAME
    reading = _RecordReader(folder)
    try:
        with path.open("rb") as file:
            first = file.readline()
            _check_version(folder, version_of(first))
            reading.take(first)
            for line in file:
                reading.take(line)
    except OSError as error:
        raise JournalError(f"the record {path} cannot be read: {error.strerror or error}") from error
    return reading.record()


def _check_version(folder: Path, version: int | None) -> None:
    """Raises JournalError if another version wrote the record."""
    if version not in (None, VERSION):
        raise JournalError(
            f"the record of the run {folder.name} is of version {version}, this program reads {VERSION}",
            advice="undo or resume it with the dregutil that wrote it, or a newer one",
        )


def read_header(folder: Path) -> RunHeader:
    """Read the two ends of a record. Raises JournalError if it was never begun."""
    path = folder / FILE_NAME
    try:
        with path.open("rb") as file:
            first = file.readline()
            file.seek(max(0, os.fstat(file.fileno()).st_size - _LONGEST_END))
            last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    except OSError as error:
        raise JournalError(f"the record {path} cannot be read: {error.strerror or error}") from error
    ended = isinstance(decode_line(last), EndLine) or (folder / ENDED).exists()
    line = decode_line(first)
    is_newer = version_of(first) not in (None, VERSION)
    if is_newer and not isinstance(line, RunLine):
        started = _moment_in(folder.name)
        return RunHeader(folder.name, folder, "", started, "", not ended, is_damaged=True, is_newer=True)
    if not isinstance(line, RunLine):
        started = read_journal(folder).started
        return RunHeader(folder.name, folder, "", started, "", not ended, is_damaged=True)
    return RunHeader(
        folder.name,
        folder,
        line.registry,
        line.started,
        line.undoes,
        not ended,
        _number_in(folder) or line.number,
        is_newer=is_newer,
        images=tuple(line.images),
        plan_sum=line.plan,
        planned_by=line.planned_by,
        approved_by=tuple(line.approved_by),
    )


def _number_in(folder: Path) -> int:
    with contextlib.suppress(OSError, ValueError):
        return int((folder / NUMBER).read_text())
    return 0


def read_indexes(folder: Path) -> Iterator[Intent]:
    """The intents that concern an index; none if the journal cannot be read."""
    return _intents_with(folder, _INDEX_TYPES)


def read_moved(folder: Path) -> Iterator[Intent]:
    """The intents that moved tags to a placeholder; none if the journal cannot be read."""
    return (intent for intent in _intents_with(folder, (b'"placeholder":',)) if intent.placeholder is not None)


def _intents_with(folder: Path, words: Sequence[bytes]) -> Iterator[Intent]:
    """The intents whose line contains one of `words`; none if the journal cannot be read."""
    with contextlib.suppress(OSError), (folder / FILE_NAME).open("rb") as file:
        for line in file:
            if b'"type":"intent"' in line and any(word in line for word in words):
                found = decode_line(line)
                if isinstance(found, IntentLine):
                    with contextlib.suppress(UsageError, ManifestError):
                        yield _intent(found)


class _RecordReader:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.header: RunLine | None = None
        self.images: tuple[Reference, ...] = ()
        self.steps: list[Step] = []
        self.intents: list[Intent] = []
        self.outcomes: dict[int, Settled] = {}
        self.taken: set[int] = set()
        self.restored: list[tuple[Repository, Digest, tuple[Tag, ...], str]] = []
        self.looked: set[Repository] = set()
        self.lost: dict[tuple[str, str], LostTag] = {}
        self.stays: dict[str, set[str]] = defaultdict(set)
        self.open: dict[str, dict[int, Digest]] = defaultdict(dict)  # deleted since the last look
        self.finished: datetime | None = None
        self.damaged = 0
        self._is_last_damaged = False

    def take(self, line: bytes) -> None:
        if not line.strip(b"\0\n"):
            return  # zeros: the file grew, and its content did not reach the disk
        found = decode_line(line)
        is_damaged = found is None and line.endswith(b"\n")  # else it was cut off, and its request was not sent
        try:
            if isinstance(found, TornLine):
                self.damaged -= self._is_last_damaged
            elif found is not None:
                self._add(found)
        except (msgspec.MsgspecError, UsageError, ManifestError, ValueError):
            is_damaged = True
        self.damaged += is_damaged
        self._is_last_damaged = is_damaged

    def _add(self, line: Line) -> None:
        match line:
            case RunLine():
                self.images = tuple(Reference.parse(image) for image in line.images)
                self.header = line
            case StepLine():
                self.steps.append(decode_step(bytes(line.plan)))
            case IntentLine():
                self.intents.append(_intent(line))
                self.open[line.repository][line.step] = self.intents[-1].manifest.digest
                self.finished = None
            case OutcomeLine():
                self.outcomes[line.step] = Settled(Result(line.result), line.why)
                if Result(line.result) in (Result.REMOVED, Result.FAILED):
                    self.taken.add(line.step)
            case RestoredLine():
                tags = tuple(Tag(tag) for tag in line.tags)
                self.restored.append((Repository(line.repository), Digest(line.digest), tags, line.why))
            case BetweenLine():
                stays, still = self.stays[line.repository], self.open[line.repository]
                stays |= {Tag.parse(tag) for tag in line.stays}
                stays -= set(line.gone)
                self.open[line.repository] = {step: on for step, on in still.items() if step not in self.outcomes}
            case LookedLine():
                self.looked.add(Repository(line.repository))
            case LostLine():
                self.lost[line.repository, line.tag] = _lost(line)
                stays = self.stays[line.repository]
                stays.add(line.tag) if line.mended else stays.discard(line.tag)
            case EndLine():
                self.finished = line.finished

    def _without_header(self) -> RunLine:
        """Replaces a first line that cannot be read.

        Raises JournalError if nothing follows it: a run sends no request before its plan is written.
        """
        if not (self.intents or self.restored or self.steps or self.damaged > 1):
            raise JournalError(f"the record of the run {self.folder.name} has no beginning: the run changed nothing")
        return RunLine(
            version=VERSION, run=self.folder.name, registry="", started=_moment_in(self.folder.name), command=""
        )

    def _ended(self) -> datetime | None:
        """When the run ended. The file ENDED replaces a last line for which there was no space."""
        with contextlib.suppress(OSError):
            return self.finished or datetime.fromtimestamp((self.folder / ENDED).stat().st_mtime, UTC)
        return self.finished

    def _unanswered(self) -> dict[Repository, Unanswered]:
        return {
            Repository(name): Unanswered(frozenset(map(Tag, stays)), frozenset(self.open[name].values()))
            for name, stays in self.stays.items()
            if name not in self.looked and self.open[name]
        }

    def record(self) -> RunRecord:
        header = self.header or self._without_header()
        return RunRecord(
            self.folder.name,
            self.folder,
            _plan(header, self.steps),
            header.started.astimezone(UTC),
            header.undoes,
            tuple(self.intents),
            self.outcomes,
            tuple(self.restored),
            frozenset(self.looked),
            self._ended(),
            self.header is None or len(self.steps) != header.steps,
            self.damaged,
            frozenset(self.taken),
            tuple(self.lost.values()),
            self._unanswered(),
            self.images,
            header.user,
            header.host,
            header.plan,
            header.planned_by,
            tuple(header.approved_by),
        )


def _plan(header: RunLine, steps: Sequence[Step]) -> Plan:
    return Plan(
        header.registry,
        header.made_at or header.started,
        header.command,
        tuple(steps),
        options=options_from(header.options),
        tags_before={Repository(name): number for name, number in header.tags_before.items()},
        reclaim=Reclaim(
            header.reclaimable,
            header.exact,
            header.because,
            Collector.of(untagged=header.untagged),
            is_of_another=header.other_collector,
        ),
        names_repositories=header.names_repositories,
        policy=header.policy.source if isinstance(header.policy, PolicyEntry) else None,
    )


def _moment_in(name: str) -> datetime:
    """When a run began, according to its name."""
    try:
        return datetime.strptime(name[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    except ValueError:
        return datetime.min.replace(tzinfo=UTC)


def _intent(line: IntentLine) -> Intent:
    digest = Digest.parse(line.digest)
    return Intent(
        line.step,
        Repository.parse(line.repository),
        tuple(Tag.parse(tag) for tag in line.tags),
        parse_manifest(line.raw, line.media_type, digest),
        Digest.parse(line.placeholder) if line.placeholder else None,
        tuple(Tag.parse(tag) for tag in line.beside),
    )


def _lost(line: LostLine) -> LostTag:
    return LostTag(
        Repository.parse(line.repository),
        Tag.parse(line.tag),
        tuple(Digest.parse(digest) for digest in line.candidates),
        Digest.parse(line.mended) if line.mended else None,
        line.why,
    )

"""The journal of one run: a file that only grows, a line with a checksum for each event.

An intent has the exact bytes of the manifest to be deleted, and is on the disk before the request is sent, so a reader
knows of every request that may have been sent. One fsync serves all steps in flight.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec

from dregutil.errors import JournalError
from dregutil.files import sync_folder
from dregutil.journal.actor import approvers, host_name, planner, user_name
from dregutil.journal.lines import (
    FILE_NAME,
    VERSION,
    BetweenLine,
    EndLine,
    IntentLine,
    LookedLine,
    LostLine,
    OutcomeLine,
    RestoredLine,
    RunLine,
    StepLine,
    TornLine,
    encode_line,
)
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.plan.file import PolicyEntry, encode_step, options_object, plan_sum
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Intent, LostTag, Outcome
from dregutil.storage.collector import Collector

__all__ = ["Journal", "write_advice"]

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Journal:
    """Writes the journal of one run. It is a Recorder, which `apply_plan` takes."""

    def __init__(self, folder: Path, *, synced: bool = True, number: int = 0) -> None:
        """`number`: the run's place among all. `synced=False` leaves out the fsync, to measure what it costs."""
        self.folder = folder
        self.path = folder / FILE_NAME
        self.number = number
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
            elif _is_torn(self.path):
                self._write([b"\n", encode_line(TornLine())])
        except OSError as error:
            raise _failed(self.path, error) from error

    @property
    def run(self) -> str:
        return self.folder.name

    def begin(self, plan: Plan, *, started: datetime, undoes: str = "", images: Sequence[Reference] = ()) -> None:
        """Write the plan, durably; for an undo the run that it undoes, and the only `images` that it puts back.

        Raises JournalError.
        """
        header = RunLine(
            version=VERSION,
            run=self.run,
            registry=plan.registry,
            started=started,
            command=plan.command,
            made_at=plan.made_at,
            undoes=undoes,
            images=[str(image) for image in images],
            options=options_object(plan.options),
            steps=0 if undoes else len(plan.steps),
            tags_before={str(name): number for name, number in plan.tags_before.items()},
            reclaimable=plan.reclaim.reclaimable_bytes,
            exact=plan.reclaim.exact,
            because=plan.reclaim.because,
            untagged=plan.reclaim.collector is Collector.UNTAGGED,
            other_collector=plan.reclaim.is_of_another,
            names_repositories=plan.names_repositories,
            number=self.number,
            user=user_name(),
            host=host_name(),
            plan="" if undoes else plan_sum(plan),
            planned_by="" if undoes else planner(),
            approved_by=[] if undoes else approvers(),
            policy=msgspec.UNSET if plan.policy is None else PolicyEntry.of(plan.policy),
        )
        self._write([encode_line(header)])
        if not undoes:
            self._write(encode_line(StepLine(msgspec.Raw(encode_step(step)))) for step in plan.steps)
        self._sync()

    async def intend(self, *intents: Intent) -> None:
        self._note(
            *(
                IntentLine(
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
        self.has_intents = True  # only now may a request be sent

    def outcome(self, outcome: Outcome) -> None:
        self._note(OutcomeLine(outcome.step.number, outcome.result.value, outcome.why))

    def restored(self, repository: Repository, digest: Digest, tags: Iterable[Tag], why: str = "") -> None:
        """Record that a manifest was put back with these tags, or why it was not."""
        self._note(RestoredLine(repository, digest, list(tags), why))

    def lost(self, lost: LostTag) -> None:
        self._note(LostLine(lost.repository, lost.tag, list(lost.candidates), lost.mended or "", lost.why))

    def between(self, repository: Repository, stays: Iterable[Tag], gone: Iterable[Tag]) -> None:
        self._note(BetweenLine(repository, sorted(stays), sorted(gone)))

    def looked(self, repository: Repository) -> None:
        self._note(LookedLine(repository))

    async def flush(self) -> None:
        """Make all that was recorded durable. Raises JournalError."""
        await self._durable()

    def close(self, finished: datetime | None) -> bool:
        """End the journal; `finished` says when, if nothing of the run is left to do. False if it cannot be written."""
        try:
            if self._broken is None:
                ending = [*self._waiting, *([encode_line(EndLine(finished))] if finished is not None else [])]
                self._waiting = []
                self._write(ending)
                self._sync()
        except JournalError:
            return False
        finally:
            os.close(self._file)
        return self._broken is None

    def _note(self, *found: Any) -> None:
        self._waiting += [encode_line(line) for line in found]

    async def _durable(self) -> None:
        """Wait until all that is recorded now is on the disk. Callers that wait at the same time share one fsync."""
        if self._broken is not None:
            raise self._broken
        while self._flushing is not None:
            # It may have begun before these lines were recorded: the next one writes them.
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
                os.ftruncate(self._file, self._length)  # no half line is left before the next one
            raise _failed(self.path, error) from error
        self._length = os.fstat(self._file).st_size

    def _sync(self) -> None:
        if not self._synced:
            return
        try:
            os.fdatasync(self._file)
        except OSError as error:
            raise _failed(self.path, error) from error


def _is_torn(path: Path) -> bool:
    """Whether the last line was cut off while it was written. Raises OSError."""
    with path.open("rb") as file:
        file.seek(0, os.SEEK_END)
        if not file.tell():
            return False
        file.seek(-1, os.SEEK_END)
        return file.read(1) != b"\n"


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


def _failed(path: Path, error: OSError) -> JournalError:
    return JournalError(f"the record {path} cannot be written: {error.strerror or error}", advice=write_advice(error))


def write_advice(error: OSError) -> str:
    """What to do if a journal cannot be written. On a full disk never to name another folder: the records in this one
    would not be found."""
    what = "free some space" if error.errno in _NO_ROOM else "make its folder writable"
    return f"{what}; nothing more was changed"

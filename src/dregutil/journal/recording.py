"""What a run records, as the lines of its journal; where they are written is for who inherits from `LineWriter`.

An intent has the exact bytes of the manifest to be deleted, and is durable before the request is sent, so a reader
knows of every request that may have been sent. Steps that wait for that at the same time are written together.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.errors import JournalError
from dregutil.journal.actor import approvers, host_name, planner, user_name
from dregutil.journal.lines import (
    VERSION,
    BetweenLine,
    IntentLine,
    Line,
    LookedLine,
    LostLine,
    OutcomeLine,
    RestoredLine,
    RunLine,
    StepLine,
)
from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.plan.file import PolicyEntry, encode_step, options_object, plan_sum
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Intent, LostTag, Outcome
from dregutil.storage.collector import Collector

__all__ = ["LineWriter", "first_lines"]


def first_lines(
    plan: Plan, run: str, *, number: int, started: datetime, undoes: str = "", images: Sequence[Reference] = ()
) -> Iterator[Line]:
    """The lines with which the record of a run begins: its header, and the steps of its plan. An undo has no steps."""
    yield RunLine(
        version=VERSION,
        run=run,
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
        number=number,
        user=user_name(),
        host=host_name(),
        plan="" if undoes else plan_sum(plan),
        planned_by="" if undoes else planner(),
        approved_by=[] if undoes else approvers(),
        policy=msgspec.UNSET if plan.policy is None else PolicyEntry.of(plan.policy),
    )
    for step in () if undoes else plan.steps:
        yield StepLine(msgspec.Raw(encode_step(step)))


class LineWriter:
    """A Recorder, which `apply_plan` takes, of one run. Lines are written in the order in which they were recorded.

    `folder` is the run's own: its name is that of the run. `number` is the run's place among all.
    """

    def __init__(self, folder: Path, number: int) -> None:
        self.folder = folder
        self.number = number
        self._waiting: list[Line] = []
        self._flushing: asyncio.Task[None] | None = None
        self._broken: JournalError | None = None
        self.has_intents = False

    @property
    def run(self) -> str:
        return self.folder.name

    def close(self, finished: datetime | None, *, drops: bool = False) -> bool:
        """End the record; `finished` says when, if nothing of the run is left to do, or, with `drops`, will be done.
        False if it cannot be written."""
        raise NotImplementedError

    def _write_durably(self, lines: Sequence[Line]) -> None:
        """Write lines so that they are durable; called in a thread, one call at a time. Raises JournalError."""
        raise NotImplementedError

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

    def between(self, repository: Repository, stays: Collection[Tag], gone: Collection[Tag]) -> None:
        self._note(BetweenLine(repository, sorted(stays), sorted(gone)))

    def looked(self, repository: Repository) -> None:
        self._note(LookedLine(repository))

    async def flush(self) -> None:
        """Make all that was recorded durable. Raises JournalError."""
        await self._durable()

    def _note(self, *found: Line) -> None:
        self._waiting += found

    async def _durable(self) -> None:
        """Wait until all that is recorded now is durable. Callers that wait at the same time share one write."""
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
            await asyncio.get_running_loop().run_in_executor(None, self._write_durably, lines)
        except JournalError as error:
            self._broken = error
        finally:
            self._flushing = None

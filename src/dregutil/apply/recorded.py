"""A plan carried out under its record: begun before anything is sent, and closed as finished only where it is.

Writes the journal, and to the registry through `apply_plan`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dregutil.apply.apply import apply_plan
from dregutil.apply.progress import RunProgress
from dregutil.apply.run import AsksHolds, no_holds
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.journal.oci_layout import LaidOutRecorder
from dregutil.journal.record import RunRecord
from dregutil.journal.recording import LineWriter
from dregutil.journal.store import RunStore
from dregutil.plan.model import Plan
from dregutil.plan.outcome import RunResult
from dregutil.registry.reader import Registry

__all__ = ["apply_recorded"]


class _Counter:
    """Tells a callback of each event of a run."""

    def __init__(self, total: int, seconds: float | None, on_progress: Callable[[RunProgress], None] | None) -> None:
        self._on_progress = on_progress
        self._tell(RunProgress(total=total, seconds=seconds))

    def done(self, _: object = None) -> None:
        self._tell(replace(self._progress, done=self._progress.done + 1))

    def swept(self) -> None:
        self._tell(replace(self._progress, swept=self._progress.swept + 1))

    def put_back(self) -> None:
        self._tell(replace(self._progress, put_back=self._progress.put_back + 1))

    def _tell(self, progress: RunProgress) -> None:
        self._progress = progress
        if self._on_progress is not None:
            self._on_progress(progress)


async def apply_recorded(
    registry: Registry,
    plan: Plan,
    store: RunStore,
    *,
    known: Known,
    readings: FreshSurveys | None = None,
    earlier: RunRecord | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
    seconds: float | None = None,
    stop: asyncio.Event | None = None,
    ends_at: float | None = None,
    holds: AsksHolds = no_holds,
) -> RunResult:
    """Carry out `plan` as `apply_plan` does, under a new record in `store`, or that of `earlier`, this plan cut off.
    The caller holds the store's lock. `seconds` is the estimated duration. No step begins after `ends_at` (of
    `time.monotonic`): the rest is dropped, and the result has `ran_out_of_time`. A run that sent nothing leaves no
    record, and has no `id`. Raises as `apply_plan`, and JournalError without a record.
    """
    stop = stop or asyncio.Event()
    counter = _Counter(len(plan.steps) - (0 if earlier is None else len(earlier.outcomes)), seconds, on_progress)
    with _recording(store, plan, earlier) as record, _ended_at(ends_at, stop):
        result = await apply_plan(
            registry,
            plan,
            recorder=record.recorder,
            known=known,
            readings=readings,
            earlier=earlier,
            claims=store.claims(plan, record.journal, earlier),
            on_outcome=counter.done,
            on_swept=counter.swept,
            on_put_back=counter.put_back,
            stop=stop,
            holds=holds,
        )
        result = _out_of_time(result, ends_at)
        record.is_finished, record.drops = result.is_finished, result.ran_out_of_time
    return replace(result, id=record.name)


def _out_of_time(result: RunResult, ends_at: float | None) -> RunResult:
    """A run that ended at `ends_at` was not interrupted by anybody."""
    if result.interrupted and ends_at is not None and time.monotonic() >= ends_at:
        return replace(result, interrupted=False, ran_out_of_time=True)
    return result


@dataclass
class _Record:
    """The record of a run, and whether nothing of the run is left to do; `drops`: whether what is left is dropped."""

    journal: LineWriter
    recorder: LaidOutRecorder
    is_resumed: bool
    is_finished: bool = False
    drops: bool = False

    @property
    def is_kept(self) -> bool:
        """A run that never sent anything leaves no record."""
        return self.is_resumed or self.journal.has_intents

    @property
    def name(self) -> str:
        return self.journal.run if self.is_kept else ""


@contextmanager
def _recording(store: RunStore, plan: Plan, earlier: RunRecord | None) -> Iterator[_Record]:
    """A new record, or that of `earlier`; closed as finished only where the run is."""
    journal = store.begin(plan, datetime.now(UTC)) if earlier is None else store.journal(earlier)
    recorder = LaidOutRecorder(journal, journal.folder / "layout", () if earlier is None else earlier.intents)
    record = _Record(journal, recorder, is_resumed=earlier is not None)
    try:
        yield record
    finally:
        journal.close(datetime.now(UTC) if record.is_finished else None, drops=record.drops)
        recorder.finish()
        if not record.is_kept:
            store.discard(journal)


@contextmanager
def _ended_at(moment: float | None, stop: asyncio.Event) -> Iterator[None]:
    """Set `stop` at a moment on the clock of `time.monotonic`."""
    if moment is None:
        yield
        return
    timer = asyncio.get_running_loop().call_later(max(0.0, moment - time.monotonic()), stop.set)
    try:
        yield
    finally:
        timer.cancel()

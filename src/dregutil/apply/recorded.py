"""A plan carried out under its record: begun before anything is sent, and closed as finished only where it is.

Writes the journal, and to the registry through `apply_plan`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

from dregutil.apply.apply import apply_plan
from dregutil.apply.progress import RunProgress
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.journal.oci_layout import LaidOutRecorder
from dregutil.journal.record import RunRecord
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
) -> RunResult:
    """Carry out `plan` as `apply_plan` does, under a new record in `store`, or that of `earlier`, this plan cut off.
    The caller holds the store's lock. `seconds` is how long it is thought to take.

    No step is begun after `ends_at` (on the clock of `time.monotonic`), and what is left then is no longer wanted: the
    result has `ran_out_of_time`. A run that never sent anything leaves no record, and the result's `id` is empty.
    Raises as `apply_plan` does, and JournalError where nothing can be recorded.
    """
    stop = stop or asyncio.Event()
    timer = None
    if ends_at is not None:
        timer = asyncio.get_running_loop().call_later(max(0.0, ends_at - time.monotonic()), stop.set)
    journal = store.begin(plan, datetime.now(UTC)) if earlier is None else store.journal(earlier)
    intents = () if earlier is None else earlier.intents
    recorder = LaidOutRecorder(journal, journal.folder / "layout", intents)
    done = 0 if earlier is None else len(earlier.outcomes)
    counter = _Counter(len(plan.steps) - done, seconds, on_progress)
    finished: datetime | None = None
    try:
        result = await apply_plan(
            registry,
            plan,
            recorder=recorder,
            known=known,
            readings=readings,
            earlier=earlier,
            on_outcome=counter.done,
            on_swept=counter.swept,
            on_put_back=counter.put_back,
            stop=stop,
        )
        is_over = ends_at is not None and time.monotonic() >= ends_at
        if is_over and result.interrupted:
            result = replace(result, interrupted=False, ran_out_of_time=True)
        if result.is_finished:
            finished = datetime.now(UTC)
    finally:
        if timer is not None:
            timer.cancel()
        journal.close(finished)
        recorder.finish()
        if earlier is None and not journal.has_intents:
            store.discard(journal)
    return replace(result, id=journal.run if journal.has_intents or earlier is not None else "")

"""Plan → registry: carries out what was shown and still holds.

First every repository of the plan is asked whether it allows deletion. Then the repositories are worked on, several at
a time, each by itself (`repository`). A run that was cut off goes on where its record ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dregutil.apply.cut_off import lost_when_cut_off
from dregutil.apply.repository import RepositoryRun
from dregutil.apply.run import Run
from dregutil.errors import DregutilError, JournalError, LoginError, UnreachableError
from dregutil.files import state_folder
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.inventory.tags import Inventory
from dregutil.journal.record import RunRecord
from dregutil.journal.remembered import remembered
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Intent, Outcome, Recorder, RunResult, Unanswered
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each, gather_all
from dregutil.registry.writer import WritableRegistry

__all__ = ["apply_plan"]


async def apply_plan(
    registry: Registry,
    plan: Plan,
    *,
    inventory: Inventory | None = None,
    known: Known | None = None,
    readings: FreshSurveys | None = None,
    recorder: Recorder | None = None,
    earlier: RunRecord | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_swept: Callable[[], None] | None = None,
    on_put_back: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
) -> RunResult:
    """Carry out `plan`.

    `recorder` keeps the record by which the run can be resumed and undone; without one the run is recorded in this
    machine's state folder, under the lock that keeps other runs out, and the result's `run` names it. With a
    `NoRecorder` it can be neither. `earlier` is the record of this very plan, cut off: what it began is completed
    first.

    `inventory` is what the plan was made from: a list that omits one of its tags is not believed. `known` is that and
    what else was seen before; by default what this machine's records and content database know. `on_swept` is called
    for each tag that goes before its manifest, in a large repository, `on_put_back` for each of these that comes back.
    Once `stop` is set, the steps in flight end and no other starts.

    Raises DeletionDisabledError, DeniedError or LoginError before anything was sent, where one of the repositories
    allows no deletion, and UnreachableError where the registry does not answer; JournalError where nothing can be
    recorded, RefusedError where another run is at work. What fails later is an outcome, or the result's `error`.
    """
    record: _Record | None = None
    with ExitStack() as stack:
        if recorder is None:
            record = stack.enter_context(_recording(plan, earlier))
            recorder = record.journal
        if known is None:
            known = stack.enter_context(remembered(registry.address.identity, inventory))
        run = Run(WritableRegistry.of(registry), plan, known, recorder, on_outcome or (lambda _: None))
        run.readings = readings or run.readings
        run.stop = stop or run.stop
        progress = run.untagger.progress
        progress.on_swept = on_swept or progress.on_swept
        progress.on_put_back = on_put_back or progress.on_put_back
        await _carry_out_all(run, earlier)
        result = run.result()
        if record is not None:
            record.is_finished = result.is_finished
    return result if record is None else replace(result, run=record.name)


@dataclass
class _Record:
    """The record of a run, and whether nothing of it is left to do."""

    journal: Journal
    is_finished: bool = False

    @property
    def name(self) -> str:
        """The run's name, empty where it never sent anything."""
        return self.journal.run if self.journal.has_intents else ""


@contextmanager
def _recording(plan: Plan, earlier: RunRecord | None) -> Iterator[_Record]:
    """The record of a run, under the registry's lock; closed with what became of the run.

    A run that never sent anything leaves none. Raises JournalError and RefusedError.
    """
    store = RunStore(state_folder() if earlier is None else earlier.folder.parent.parent)
    with store.lock(plan.registry):
        record = _Record(store.begin(plan, datetime.now(UTC)) if earlier is None else store.journal(earlier))
        try:
            yield record
        finally:
            record.journal.close(datetime.now(UTC) if record.is_finished else None)
            if earlier is None and not record.journal.has_intents:
                store.discard(record.journal)


async def _carry_out_all(run: Run, earlier: RunRecord | None) -> None:
    """Ask every repository whether it allows deletion, then carry out the steps of each."""
    intents = run.take_up(earlier)
    limit = asyncio.Semaphore(run.registry.repositories_at_once)

    async def carry_out(repository: Repository) -> None:
        async with limit:
            left_open = None if earlier is None else earlier.unanswered.get(repository)
            await _carry_out(run, repository, intents.get(repository, ()), left_open)

    left = [repository for repository in run.steps if earlier is None or repository not in earlier.looked]
    await for_each(left, run.registry.check_deletion, at_once=run.registry.concurrency)
    await gather_all(carry_out(repository) for repository in left)


async def _carry_out(
    run: Run, repository: Repository, intents: Sequence[Intent], unanswered: Unanswered | None
) -> None:
    """Carry out the steps of one repository; an error of the whole registry ends the run everywhere."""
    if run.stop.is_set():
        return
    try:
        if unanswered is not None:
            # Nothing is put back here: another user may have removed such a tag since.
            for lost in await lost_when_cut_off(run.registry, repository, unanswered):
                run.note_lost(lost)
        await RepositoryRun(run, repository).run(intents)
        broken = any(name == repository for name, _ in run.broken)
        if not broken and all(run.is_settled(state.step) for state in run.steps[repository]):
            run.recorder.looked(repository)
    except (UnreachableError, LoginError, JournalError) as error:
        run.fail(error)
    except DregutilError as error:
        run.error = run.error or error

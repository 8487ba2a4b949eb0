"""Plan → registry: carries out what was shown and still holds.

First every repository of the plan is asked whether it allows deletion. Then the repositories are worked on, several at
a time, each by itself (`repository`). A run that was cut off goes on where its record ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dregutil.apply.cut_off import lost_when_cut_off
from dregutil.apply.repository import RepositoryRun
from dregutil.apply.run import Run
from dregutil.errors import DregutilError, JournalError, LoginError, UnreachableError
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.journal.record import RunRecord
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Intent, Outcome, Recorder, RunResult, Unanswered
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each, gather_all
from dregutil.registry.writer import WritableRegistry
from dregutil.retention.holds import Holds

__all__ = ["apply_plan"]


async def apply_plan(
    registry: Registry,
    plan: Plan,
    *,
    recorder: Recorder,
    known: Known | None = None,
    readings: FreshSurveys | None = None,
    earlier: RunRecord | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_swept: Callable[[], None] | None = None,
    on_put_back: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    holds: Callable[[], Holds] = Holds,
) -> RunResult:
    """Carry out `plan`.

    `recorder` keeps the record by which the run can be resumed and undone; with a `NoRecorder` it can be neither.
    `earlier` is the record of this very plan, cut off: what it began is completed first. `known` is what was seen
    before: a list that omits a tag of it is not believed, and indexes that no tag names hold their children. `readings`
    are those that the plan was made from, taken where they are only seconds old. `holds` returns those of now, and is
    called before each step; it may raise JournalError, which ends the run.

    `on_swept` is called for each tag that goes before its manifest, in a large repository, `on_put_back` for each of
    these that comes back. Once `stop` is set, the steps in flight end and no other starts.

    Raises DeletionDisabledError, DeniedError or LoginError before anything was sent, where one of the repositories
    allows no deletion, and UnreachableError where the registry does not answer. What fails later is an outcome, or the
    result's `error`.
    """
    run = Run(WritableRegistry.of(registry), plan, known or Known(), recorder, on_outcome or (lambda _: None))
    run.readings = readings or run.readings
    run.stop = stop or run.stop
    run.holds = holds
    progress = run.untagger.progress
    progress.on_swept = on_swept or progress.on_swept
    progress.on_put_back = on_put_back or progress.on_put_back
    await _carry_out_all(run, earlier)
    return run.result()


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

"""Plan → registry: carries out what was shown and still holds.

First of all: is deletion allowed, in every repository of the plan. Then the repositories, several at a time, each by
itself (`repository_run`). A run that was cut off is taken up again where its record ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dregutil.errors import DregutilError, JournalError, LoginError, UnreachableError
from dregutil.outcome import Intent, NoRecorder, Outcome, Recorder, RunResult
from dregutil.plan import Plan, Step
from dregutil.readings import Readings
from dregutil.record import RunRecord
from dregutil.reference import Repository
from dregutil.registry.writing import WritableRegistry
from dregutil.repository_run import RepositoryRun
from dregutil.run import Known, Run
from dregutil.workers import for_each, gather_all

__all__ = ["apply_plan"]


async def apply_plan(
    registry: WritableRegistry,
    plan: Plan,
    *,
    known: Known | None = None,
    readings: Readings | None = None,
    recorder: Recorder | None = None,
    earlier: RunRecord | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_swept: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
) -> RunResult:
    """Carry out `plan`.

    `recorder` keeps the record by which the run can be resumed and undone; without one it cannot be. `earlier` is the
    record of this very plan, cut off: what it began is completed first. `on_swept` is told of each tag that goes before
    its manifest, in a large repository. `stop`, once set, lets the steps in flight end and starts no other.

    Raises DeletionDisabledError, DeniedError or LoginError before anything was sent, where one of the repositories
    allows no deletion, and UnreachableError where the registry does not answer. What fails later is an outcome, or the
    result's `error`.
    """
    limit = asyncio.Semaphore(registry.repositories_at_once)
    run = Run(registry, plan, known or Known(), recorder or NoRecorder(), on_outcome or (lambda _: None))
    run.readings = readings or Readings()
    run.untagger.on_swept = on_swept or run.untagger.on_swept
    run.stop = stop or run.stop
    intents = run.take_up(earlier)
    steps = plan.by_repository

    async def carry_out(repository: Repository) -> None:
        async with limit:
            await _carry_out(run, repository, steps[repository], intents.get(repository, []))

    left = [repository for repository in steps if earlier is None or repository not in earlier.looked]
    await for_each(left, registry.check_deletion, at_once=registry.concurrency)
    await gather_all(carry_out(repository) for repository in left)
    return run.result()


async def _carry_out(run: Run, repository: Repository, steps: Sequence[Step], intents: list[Intent]) -> None:
    if run.stop.is_set():
        return
    try:
        await RepositoryRun(run, repository, steps).run(intents)
        if all(run.is_settled(step) for step in steps):
            run.recorder.looked(repository)
    except (UnreachableError, LoginError, JournalError) as error:
        run.fail(error)
    except DregutilError as error:
        run.error = run.error or error

"""Plan → registry: carries out what was shown and still holds.

First every repository of the plan is asked whether it allows deletion. Then the repositories are worked on, several at
a time, each by itself (`repository`). A run that was cut off goes on where its record ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from dregutil.apply.cut_off import lost_when_cut_off
from dregutil.apply.repository import RepositoryRun
from dregutil.apply.run import AsksHolds, Run, no_holds
from dregutil.errors import DregutilError, JournalError, LoginError, UnreachableError
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.journal.claims import Claim, Claims, OnlyProcess
from dregutil.journal.record import RunRecord
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Outcome, Recorder, RunResult
from dregutil.registry.permit import permitted
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each, gather_all
from dregutil.registry.writer import WritableRegistry

__all__ = ["apply_plan"]


async def apply_plan(
    registry: Registry,
    plan: Plan,
    *,
    recorder: Recorder,
    known: Known | None = None,
    readings: FreshSurveys | None = None,
    earlier: RunRecord | None = None,
    claims: Claims | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    on_swept: Callable[[], None] | None = None,
    on_put_back: Callable[[], None] | None = None,
    stop: asyncio.Event | None = None,
    holds: AsksHolds = no_holds,
) -> RunResult:
    """Carry out `plan`.

    `recorder` keeps the record by which the run can be resumed and undone; with a `NoRecorder` it can be neither.
    `earlier` is the record of this very plan, cut off: what it began is completed first. `claims` gives the
    repositories that are left, of a run that other processes may carry out too. `known` is what was seen before: a list
    that omits a tag of it is not believed, and indexes that no tag names hold their children. `readings` are those that
    the plan was made from, taken where they are only seconds old. `holds` returns those of now, and is called before
    each step; it may raise JournalError, which ends the run: only a store that is away is asked again.

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
    run.untagger.progress.tell(on_swept, on_put_back)
    if earlier is not None:
        run.take_up(earlier.outcomes)
    await _carry_out_all(run, claims or OnlyProcess(plan, earlier))
    return run.result()


async def _carry_out_all(run: Run, claims: Claims) -> None:
    """Ask every repository whether it allows deletion, then carry out the steps of each."""
    if not claims.joins:
        await for_each(claims.left, run.registry.check_deletion, at_once=run.registry.concurrency)
    await gather_all(_carry_out_some(run, claims) for _ in range(run.registry.repositories_at_once))
    if isinstance(run.error, JournalError):
        return  # the record cannot be asked
    try:
        run.take_up(await claims.latest())
    except JournalError as error:
        run.fail(error)


async def _carry_out_some(run: Run, claims: Claims) -> None:
    """Carry out repositories, one after another, until none is left."""
    try:
        while (claim := await claims.next(run.stop)) is not None:
            is_settled = False
            try:
                with permitted(claim.permit):
                    is_settled = await _carry_out(run, claim, checks=claims.joins)
            finally:
                await claims.release(claim, settled=is_settled)
    except JournalError as error:
        run.fail(error)


async def _carry_out(run: Run, claim: Claim, *, checks: bool) -> bool:
    """Carry out the steps of one repository; an error of the whole registry ends the run everywhere.

    Returns whether every write that was sent there has an answer. `checks`: it was not asked yet whether it allows
    deletion.
    """
    repository, earlier = claim.repository, claim.earlier
    work = RepositoryRun(run, repository)
    try:
        run.take_up(earlier.outcomes)
        if checks:
            await run.registry.check_deletion(repository)
        if earlier.unanswered is not None:
            # Nothing is put back here: another user may have removed such a tag since.
            for lost in await lost_when_cut_off(run.registry, repository, earlier.unanswered):
                run.note_lost(lost)
        await work.run(earlier.intents)
        broken = any(name == repository for name, _ in run.broken)
        if not broken and all(run.is_settled(state.step) for state in run.steps[repository]):
            run.recorder.looked(repository)
    except (UnreachableError, LoginError, JournalError) as error:
        run.fail(error)
        return False
    except DregutilError as error:
        run.error = run.error or error
    return not work.has_unanswered

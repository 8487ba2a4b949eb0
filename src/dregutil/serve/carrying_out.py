"""Approved plans are carried out, and runs continued and undone, each by a process of its own.

Nothing here decides what is removed: `apply` takes the plan's file, refuses it unless its sum is the approved one, and
checks each step again before it is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime

from dregutil.errors import DregutilError, UsageError
from dregutil.oci.names import Reference
from dregutil.pages.label import label
from dregutil.plan import approval
from dregutil.serve.answers import RequestError
from dregutil.serve.child import Ended
from dregutil.serve.model import Job, JobKind
from dregutil.serve.people import Person
from dregutil.serve.plan_store import StoredPlan
from dregutil.serve.plans import BY_ITSELF, Plans
from dregutil.serve.records import RunSeen

__all__ = ["MOST_TO_UNDO", "CarryingOut"]

MOST_TO_UNDO = 500  # images that are named on one command line
_DONE_CODES = (0, 3)  # 3: done, but something was left, or went wrong and is said
_BUSY = "another run is at work"


class CarryingOut:
    """Carries out the plans of `plans`. `on_end` is called after each run."""

    def __init__(self, plans: Plans, on_end: Callable[[], None]) -> None:
        self._plans = plans
        self._site = plans.site
        self._on_end = on_end
        self._following: set[asyncio.Task[None]] = set()

    async def apply(self, text: str, person: Person, confirm_tags: int | None) -> Job:
        """Begin to carry out a plan. Raises RequestError (403, 404, 409) and JournalError."""
        plans = self._plans
        async with plans.lock:
            plan = plans.get(text)
            facts, now = await plans.known(plan), datetime.now(UTC)
            why = plans.why_not_apply(plan, facts, person, now)
            if why is not None:
                raise plans.refused(facts, why, now)
            _check_number(plan, confirm_tags)
            await self._check_alone()
            await plans.check(plan)
            people = [one.by for one in approval.standing(facts, now)]
            await plans.decide(plans.store.begin, plan, now)
            plans.taken.add(plan.sum)
            try:
                job = await self._started(plan, person, confirm_tags, people)
            except BaseException:
                plans.taken.discard(plan.sum)
                raise
        self._follow(job, plan.sum)
        return job

    async def undo(self, run: str, person: Person, images: Sequence[str] | None) -> Job:
        """Begin to put back what a run removed, or some of its images. Raises RequestError (400, 404, 409, 413)."""
        seen = await asyncio.to_thread(self._plans.records.find, run)
        if seen is None:
            raise RequestError(404, "there is no such run on this registry")
        if seen.header.undoes:
            raise RequestError(409, "this run is an undo", f"undo the run that it put back: {seen.header.undoes}")
        chosen = [] if images is None else _parse_removed(images)
        what = f"put back {len(chosen):,} of the images of {run}" if chosen else f"put back what {run} removed"
        async with self._plans.lock:
            await self._check_alone()
            job = await self._begin("undo", what, person, ("undo", "-y", run, *chosen), run)
        self._follow(job)
        return job

    async def resume(self, run: str, person: Person) -> Job:
        """Begin to continue a run that was interrupted. Raises RequestError (404, 409)."""
        records = self._plans.records
        seen = await asyncio.to_thread(records.find, run)
        if seen is None:
            raise RequestError(404, "there is no such run on this registry")
        why = self.why_not_resume(seen)
        if why is not None:
            raise RequestError(409, why, f"{self._site.advised('apply', '--resume', run)} continues it, or undo it")
        async with self._plans.lock:
            await self._check_alone()
            words = await asyncio.to_thread(records.continues, run)
            if words is None:
                raise RequestError(409, "this run has nothing left to do, or is undone")
            job = await self._begin("resume", f"continue {run}", person, (*words, "-y"), run)
        self._follow(job)
        return job

    def why_not_resume(self, seen: RunSeen) -> str | None:
        """Why an interrupted run may not be continued here; None if it may."""
        return self._plans.why_not_resume(seen.header)

    async def _check_alone(self) -> None:
        if self._site.jobs.is_writing or await asyncio.to_thread(self._plans.records.is_busy):
            raise RequestError(409, _BUSY, "wait until it has ended")

    async def _started(self, plan: StoredPlan, person: Person, confirm_tags: int | None, people: Sequence[str]) -> Job:
        words = ("apply", str(self._plans.store.file(plan.sum)), f"--expect={plan.sum}", "-y")

        async def then(_ended: Ended) -> dict[str, str] | None:
            run = await self._run_of(plan.sum)
            return None if run is None else {"run": run.header.run}

        return await self._site.jobs.start(
            "apply",
            f"carry out the plan {plan.title}",
            person.name,
            (*words, f"--yes-remove={confirm_tags or 0}"),  # what was typed, or a number that is refused
            then=then,
            done_codes=_DONE_CODES,
            environment={"DREGUTIL_PLANNED_BY": plan.by or BY_ITSELF, "DREGUTIL_APPROVED_BY": "\n".join(people)},
        )

    async def _run_of(self, sum_: str) -> RunSeen | None:
        """The run that carried out a plan, up to now."""
        with suppress(DregutilError):  # then what is known without it
            await asyncio.to_thread(self._plans.records.renew)
        return (await asyncio.to_thread(self._plans.records.by_plan)).get(sum_)

    async def _begin(self, kind: JobKind, what: str, person: Person, words: Sequence[str], run: str) -> Job:
        async def then(_ended: Ended) -> dict[str, str]:
            with suppress(DregutilError):
                await asyncio.to_thread(self._plans.records.renew)
            undo = await asyncio.to_thread(self._plans.records.undo_of, run)
            return {"run": undo or run if kind == "undo" else run}

        return await self._site.jobs.start(kind, what, person.name, words, then=then, done_codes=_DONE_CODES)

    def _follow(self, job: Job, sum_: str | None = None) -> None:
        task = asyncio.create_task(self._ended(job, sum_))
        self._following.add(task)
        task.add_done_callback(self._following.discard)

    async def _ended(self, job: Job, sum_: str | None) -> None:
        """Note the run of a plan once its process has ended, however it ended, and make again what it changed."""
        plans = self._plans
        try:
            await self._site.jobs.ended(job)
            if sum_ is not None:
                async with plans.lock:
                    run = await self._run_of(sum_)
                    if run is not None:
                        await plans.decide(plans.store.ended, sum_, run.header.run)
        except DregutilError:
            pass  # the records say the same when they can be read
        finally:
            if sum_ is not None:
                plans.taken.discard(sum_)
            self._on_end()
            self._site.events.changed("runs")
            self._site.events.changed("plans")
            self._site.reported.forget_check()
            self._site.renewal.changed()


def _check_number(plan: StoredPlan, typed: int | None) -> None:
    """Raises RequestError (409) for a plan that removes most of a repository, unless its number of tags was typed."""
    if plan.confirm_tags is None or typed == plan.confirm_tags:
        return
    where = ", ".join(map(label, plan.most_of[:3])) + (" and more" if len(plan.most_of) > 3 else "")
    given = "" if typed is None else f", not {typed:,}"
    raise RequestError(
        409,
        f"this plan removes {plan.confirm_tags:,} tags{given}, and more than half of what {where} has",
        "type the number of tags to carry it out",
    )


def _parse_removed(images: Sequence[str]) -> list[str]:
    """Raises RequestError (400, 413)."""
    if not images:
        raise RequestError(400, "no image is named", "name at least one, or none at all for the whole run")
    if len(images) > MOST_TO_UNDO:
        raise RequestError(413, f"at most {MOST_TO_UNDO} images are put back at once", "undo the whole run")
    found: dict[str, None] = {}
    for text in images:
        try:
            image = Reference.parse(text)
        except UsageError as error:
            raise RequestError(400, error.message, error.advice) from error
        if (image.tag is None) == (image.digest is None) or str(image) != text:
            raise RequestError(400, f"{label(text)} is not an image", "name repository:tag or repository@digest")
        found[text] = None
    return [*found]

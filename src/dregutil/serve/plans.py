"""Plans and what people decide about them: approvals, their end, and what state each plan has.

The state follows from what is on the disk: the plan's file, the approvals, and the records of runs. So a server that
was killed and started again shows the same. Of a plan in a team's store, that store has decided it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ParamSpec

import msgspec

from dregutil.errors import NotFoundError, PlanRefusedError
from dregutil.journal.record import RunHeader
from dregutil.pages.label import label
from dregutil.plan import approval
from dregutil.plan.approval import Approved, Facts, State
from dregutil.serve.answers import RequestError
from dregutil.serve.model import Approval as ShownApproval
from dregutil.serve.model import PlanDetail, PlanSummary
from dregutil.serve.people import Person, Role
from dregutil.serve.plan_keeper import PlanKeeper
from dregutil.serve.plan_store import Approval, StoredPlan
from dregutil.serve.records import Records, RunSeen
from dregutil.serve.site import Site

__all__ = ["BY_ITSELF", "Plans"]

P = ParamSpec("P")

BY_ITSELF = "dregutil serve"
"""Who made a plan that nobody asked for."""

_IN_USE: frozenset[State] = frozenset(("approved", "running", "failed"))


class Plans:
    """The plans of a server. Changes are made one after the other, under `lock`. `taken`: the sums of those that are
    about to be carried out by this server."""

    def __init__(self, site: Site, store: PlanKeeper, records: Records) -> None:
        self.site = site
        self.store = store
        self.records = records
        self.lock = asyncio.Lock()
        self.taken: set[str] = set()

    def get(self, text: str) -> StoredPlan:
        """The plan with a sum. Raises RequestError (404)."""
        try:
            return self.store.get(text)
        except NotFoundError as error:
            raise RequestError(404, error.message, error.advice) from error

    async def list(self) -> list[PlanSummary]:
        """The newest first."""
        runs, now = await asyncio.to_thread(self.records.by_plan), _now()
        tonight = self.tonight(runs, now)
        return [self._summary(one, runs, now, tonight) for one in self.store.all]

    async def detail(self, text: str, person: Person) -> PlanDetail:
        """A plan with its reasons, and what this person may do with it. Raises JournalError."""
        plan = self.get(text)
        page = await asyncio.to_thread(self.store.page, plan.sum)
        runs, now = await asyncio.to_thread(self.records.by_plan), _now()
        facts = self.facts(plan, runs.get(plan.sum))
        no_approval = self.why_not_approve(plan, facts, person, now)
        no_run = self.why_not_apply(plan, facts, person, now)
        if no_run is None and self.site.jobs.is_writing:
            no_run = "another run is at work: wait until it has ended"
        reasons = [one for one in (no_run, no_approval if no_run else None) if one is not None]
        return PlanDetail(
            summary=self._summary(plan, runs, now, self.tonight(runs, now)),
            plan=msgspec.structs.replace(page, source=plan.title, command=None),
            may_approve=no_approval is None,
            may_apply=no_run is None,
            why_not="; ".join(dict.fromkeys(reasons)) or None,
            command=self._command(plan, may_apply=no_run is None),
        )

    async def approve(self, text: str, person: Person) -> PlanDetail:
        """Note that this person approves the plan; it is on the disk before this returns. Raises RequestError (403,
        404, 409), and JournalError."""
        async with self.lock:
            plan = self.get(text)
            facts, now = await self.known(plan), _now()
            why = self.why_not_approve(plan, facts, person, now)
            if why is not None:
                raise self.refused(facts, why, now)
            await self.check(plan)
            await self.decide(self.store.approve, plan, person.name, now)
        return await self.detail(plan.sum, person)

    async def withdraw(self, text: str, person: Person) -> PlanDetail:
        """Forget this person's approval. Raises RequestError (404, 409) and JournalError."""
        async with self.lock:
            plan = self.get(text)
            if all(one.by != person.name for one in plan.approvals):
                raise RequestError(409, f"{person.name} has not approved this plan")
            facts, now = await self.known(plan), _now()
            if approval.state_of(facts, now) in ("running", "failed", "done"):
                raise self.refused(facts, approval.why_not_apply(facts, person.name, now) or "", now)
            await self.decide(self.store.withdraw, plan, person.name)
        return await self.detail(plan.sum, person)

    async def discard(self, text: str, person: Person) -> None:
        """Remove a plan. Raises RequestError (403, 404, 409)."""
        async with self.lock:
            plan = self.get(text)
            if not person.has(Role.APPROVER) and person.name != plan.by:
                raise RequestError(403, "only who made a plan, or an approver, discards it")
            if approval.state_of(await self.known(plan), _now()) == "running":
                raise RequestError(409, "it is being carried out", "cancel that first")
            await self.decide(self.store.discard, plan, person.name)
        if plan.kind == "policy":
            await self.site.images.build()  # it had the verdicts

    async def decide(self, how: Callable[P, object], *args: P.args, **named: P.kwargs) -> None:
        """Let the store keep a decision, durably. The caller holds the lock. Raises RequestError (409) for one that
        comes too late, and JournalError."""
        try:
            await asyncio.to_thread(how, *args, **named)
        except PlanRefusedError as error:
            raise RequestError(409, error.message, error.advice or "look at the plan again") from error
        finally:
            self.site.events.changed("plans")

    async def check(self, plan: StoredPlan) -> None:
        """Raises RequestError (409) unless the plan's file is what its sum says."""
        try:
            await asyncio.to_thread(self.store.check, plan.sum)
        except PlanRefusedError as error:
            raise RequestError(409, error.message, error.advice) from error

    async def prune(self) -> None:
        """Remove what is old. The caller holds the lock."""
        runs, now = await asyncio.to_thread(self.records.by_plan), _now()
        used = {
            one.sum
            for one in self.store.all
            if approval.state_of(self.facts(one, runs.get(one.sum)), now) in _IN_USE or one.sum in self.taken
        }
        await asyncio.to_thread(self.store.prune, now, used)

    async def known(self, plan: StoredPlan) -> Facts:
        """What is known of a plan now."""
        return self.facts(plan, (await asyncio.to_thread(self.records.by_plan)).get(plan.sum))

    def facts(self, plan: StoredPlan, run: RunSeen | None) -> Facts:
        return Facts(
            plan.sum,
            plan.by,
            plan.needed or self.site.options.approvals,
            [Approved(one.by, one.when, one.plan) for one in plan.approvals],
            None if run is None else run.state,
            is_taken=plan.sum in self.taken,
            is_spent=plan.run is not None,
            is_empty=not plan.steps,
            is_replaced=plan.replaced is not None,
            may_approve=self._may_approve if plan.decided is None else bool,  # in a team's store, its roles decide
            decided=plan.decided,
            why=plan.why,
        )

    def why_not_approve(self, plan: StoredPlan, facts: Facts, person: Person, now: datetime) -> str | None:
        """Why this person may not approve a plan here; None if they may."""
        if plan.decided is None or approval.over(facts, now) is not None:
            return approval.why_not_approve(facts, person.name, now)
        if not self._may_approve(person.name):
            return "only an approver approves plans"
        if facts.needed < self.site.options.approvals:
            return f"it asks for {_approvals(facts.needed)}, and this server for {self.site.options.approvals}"
        return approval.why_not_approve(facts, person.name, now) or (
            "it is approved already" if plan.decided == "approved" else None
        )

    def why_not_apply(self, plan: StoredPlan, facts: Facts, person: Person, now: datetime) -> str | None:
        """Why this person may not carry out a plan here; None if they may."""
        if plan.decided is None or approval.over(facts, now) is not None:
            return approval.why_not_apply(facts, person.name, now)
        if not self._may_approve(person.name):
            return "only an approver carries out plans"
        return approval.why_not_apply(replace(facts, needed=self._least(facts)), person.name, now)

    def _least(self, facts: Facts) -> int:
        return max(facts.needed, self.site.options.approvals)

    def tonight(self, runs: Mapping[str, RunSeen], now: datetime) -> StoredPlan | None:
        """The newest plan of the policy that can still be carried out."""
        for one in self.store.all:
            state = approval.state_of(self.facts(one, runs.get(one.sum)), now)
            if one.kind == "policy" and state in ("waiting", "approved", "expired"):
                return one
        return None

    async def tonights_file(self) -> Path | None:
        """The file of tonight's plan; None if there is none."""
        found = self.tonight(await asyncio.to_thread(self.records.by_plan), _now())
        return None if found is None else self.store.file(found.sum)

    def refused(self, facts: Facts, why: str, now: datetime) -> RequestError:
        """The answer to who may not approve or carry out a plan: 409 for its state, 403 for the person."""
        is_over = approval.over(facts, now) is not None or "missing" in why or "already" in why
        return RequestError(409 if is_over else 403, why, "look at the plan again" if is_over else "")

    def why_not_resume(self, run: RunHeader) -> str | None:
        """Why an interrupted run may not be continued here; None if it may. Where several people must approve, its
        record names them: of a run that somebody began in a terminal it names nobody."""
        needed = self.site.options.approvals
        person = approval.one_person
        people = {person(name) for name in run.approved_by if self._may_approve(name)} - {person(run.planned_by or "")}
        if run.undoes or needed < 2 or len(people) >= needed:
            return None
        return f"{needed} people must approve a removal, and its record names {len(people)} who did"

    def _command(self, plan: StoredPlan, *, may_apply: bool) -> str:
        """What shows the plan in a terminal, or carries it out for who may do that now."""
        show, carry_out = self.store.commands(plan)
        return self.site.advised(*(carry_out if may_apply else show))

    def _may_approve(self, name: str) -> bool:
        options = self.site.options
        if options.user_header is None:
            return name == options.owner.name and options.owner.has(Role.APPROVER)
        return options.roles.of(name).has(Role.APPROVER)

    def _summary(
        self, plan: StoredPlan, runs: Mapping[str, RunSeen], now: datetime, tonight: StoredPlan | None
    ) -> PlanSummary:
        run = runs.get(plan.sum)
        facts = self.facts(plan, run)
        return PlanSummary(
            sum=plan.sum,
            title=label(plan.title),
            kind=plan.kind,
            by=label(plan.by or BY_ITSELF),
            made=plan.made,
            tags=plan.tags,
            untagged=plan.untagged,
            frees=plan.frees,
            exact=plan.exact,
            state=approval.state_of(facts, now),
            approvals=[
                ShownApproval(by=label(one.by), when=one.when, expires=_expires(plan, one)) for one in plan.approvals
            ],
            needed=facts.needed,
            run=plan.run if run is None else run.header.run,
            tonight=tonight is not None and tonight.sum == plan.sum,
            why=label(plan.why, 1000) or None,
        )


def _expires(plan: StoredPlan, given: Approval) -> datetime:
    """When an approval ends: with its plan, if that ends before."""
    own = given.when + approval.LASTS
    return own if plan.expires is None else min(own, plan.expires)


def _approvals(number: int) -> str:
    return "1 approval" if number == 1 else f"{number} approvals"


def _now() -> datetime:
    return datetime.now(UTC)

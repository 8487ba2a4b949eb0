"""What a session removes: plans, runs and resume.

A plan is made with the client that only reads. `apply` writes, locked and recorded.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from dregutil.errors import (
    BrakeError,
    DamagedRecordError,
    JournalError,
    NotFoundError,
    PlanRefusedError,
    RefusedError,
    UsageError,
)
from dregutil.oci.names import registry_key
from dregutil.session.protected import ProtectedSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from dregutil.apply.run import AsksHolds
    from dregutil.journal.record import RunHeader, RunRecord
    from dregutil.plan.cleanup import Proposal
    from dregutil.plan.model import Plan
    from dregutil.plan.outcome import RunResult
    from dregutil.retention.holds import Holds
    from dregutil.session.stop import Stop

__all__ = ["RemovalSession", "damaged_error"]


class RemovalSession(ProtectedSession):
    """A session that reads and removes."""

    async def still_planned(self, plan: Plan) -> Plan:
        """What a run of a saved plan would do now: the steps that still hold in the registry. The others are in `kept`,
        each with the reason. Nothing is changed. Raises UnreachableError and LoginError."""
        from dregutil.plan.still import still_planned

        self.check_is_own(plan.registry, "plan")
        holds = await self._with_protected(plan, self._current_holds)
        known = self.known()
        if plan.removed_untagged:
            lost = {name: self.records.history.untagged(name) for name in plan.repositories}
            known = known.with_indexes({name: frozenset(since) for name, since in lost.items()})
        async with self.connected() as registry:
            return await still_planned(registry, plan, known, holds())

    async def apply(
        self,
        plan: Plan | Proposal,
        *,
        confirm_tags: int | None = None,
        record: bool = True,
        stop: Stop | None = None,
        ends_at: float | None = None,
    ) -> RunResult:
        """Remove what a plan, or the plan of a cleanup, says. The run is locked and recorded, and each step is checked
        again just before it.

        If the plan removes most of a repository, `confirm_tags` must be `plan.removed_tags`. With `record=False` the
        run can be neither resumed nor undone; a session with a shared store refuses that. Once `stop` is set, no other
        step begins; nor does one after `ends_at` (on the clock of `time.monotonic`).

        Raises, before anything is sent: BrakeError; UsageError; RefusedError if another run is active; PlanRefusedError
        if the plan is for another registry; JournalError if nothing can be recorded; DeletionDisabledError,
        DeniedError, LoginError and UnreachableError. What fails later is in the result.
        """
        from dregutil.plan.brake import check_brake
        from dregutil.plan.cleanup import Proposal

        if not record and self._shared is not None:  # it would pass by approvals, leases, and everybody's undo
            raise UsageError("a run on a shared store is recorded there", advice="leave record=False out")
        proposal = plan if isinstance(plan, Proposal) else None
        if proposal is not None and proposal.refused:
            named = ", ".join(f"{one.name} ({one.taken})" for one in proposal.refused)
            raise BrakeError(f"more than max_remove would go: {named}; nothing was removed")
        steps = plan.plan if isinstance(plan, Proposal) else plan
        self.check_is_own(steps.registry, "plan")
        check_brake(steps, confirm_tags)
        with suppress(JournalError):  # a run that cannot be recorded says so itself
            self.records.wait()
        result = await self._run(steps, None, record=record, stop=stop, ends_at=ends_at)
        if proposal is not None:
            self.remember(proposal)
        return result

    async def resume(self, run: str, *, stop: Stop | None = None) -> RunResult:
        """Continue a run that was interrupted, or has an unknown outcome. Raises what `to_resume` and `apply` raise."""
        from dregutil.plan.outcome import RunResult

        record = self.to_resume(run)
        if record is None:
            return RunResult((), id=run)
        return await self._run(record.plan, record, record=True, stop=stop, ends_at=None)

    def to_resume(self, run: str) -> RunRecord | None:
        """The record of a run to resume; None if nothing is left to do. Raises NotFoundError, RefusedError if the run
        was undone, PlanRefusedError for a run on another registry, DamagedRecordError."""
        record = self.store.get(run)
        if not record.plan.registry:
            raise damaged_error(record, self._advise)
        self.check_is_own(record.plan.registry, "run")
        if record.undoes:
            how = self._advise(f"undo {record.undoes}")
            raise UsageError(f"{record.run} is an undo", advice=f"{how} continues it")
        undos = self.history.undos_of(record.run)
        if undos:
            how = self._advise(f"undo {record.run}")
            raise RefusedError(
                f"{record.run} was undone, at least in part, by {undos[-1].run}",
                advice=f"{how} puts back the rest; then plan the removal again",
            )
        if record.missing_steps and record.intents:
            raise damaged_error(record, self._advise)
        if record.missing_steps:
            raise NotFoundError(f"{record.run} was interrupted before it began: it changed nothing")
        return record if record.is_unfinished else None

    def runs(self) -> tuple[RunRecord, ...]:
        """The recorded runs on this registry, oldest first. Raises JournalError if one cannot be read."""
        store = self.store
        return tuple(store.read(header) for header in store.headers(self.identity))

    def damaged_runs(self) -> list[RunRecord]:
        """The runs on this registry with a damaged record, oldest first. Raises JournalError if one cannot be read."""
        return self.history.damaged()

    def run(self, name: str) -> RunRecord:
        """A run by its name, or a unique prefix of it. Raises NotFoundError and JournalError."""
        return self.store.get(name)

    def interrupted(self) -> list[tuple[RunHeader, str]]:
        """The interrupted runs on this registry that are not undone, each with the command that continues it."""
        return self.history.interrupted()

    def remember(self, proposal: Proposal) -> None:
        """Save the counts of a cleanup that was carried out, to compare with the next by the same policy file."""
        from dregutil.journal.policy_file import policy_text
        from dregutil.retention.names import list_sizes

        if proposal.path is None:
            return
        file = self._last_cleanup_file(proposal.path)
        selected = {one.name: one.selected for one in proposal.summaries}
        removed = {one.name: one.removed for one in proposal.summaries}
        try:
            if self.facts is not None:
                self.facts.note_policy(policy_text(proposal.path))
            file.write(datetime.now(UTC), selected, removed, list_sizes(proposal.judged.policies))
        except OSError as error:
            self._warn(f"{file.path} was not written: {error.strerror or error}")
        except (JournalError, UsageError) as error:
            self._warn(f"this cleanup was not noted in the store: {error.message}", error.advice)

    def check_is_own(self, registry: str, what: str) -> None:
        """Raises PlanRefusedError if a plan or a run is for another registry."""
        if registry_key(registry) != self.address.key:
            raise PlanRefusedError(
                f"the {what} is for {registry}, and -reg names {self.identity}",
                advice=f"name the {what}'s own registry with -reg",
            )

    async def _run(
        self, plan: Plan, earlier: RunRecord | None, *, record: bool, stop: Stop | None, ends_at: float | None
    ) -> RunResult:
        from dregutil.apply.apply import apply_plan
        from dregutil.apply.recorded import apply_recorded
        from dregutil.plan.outcome import NoRecorder, RunResult
        from dregutil.session.stop import Stop

        seconds, surveys = (self.seconds_for(plan), self.surveys) if plan is self._planned else (None, None)
        self._recall()
        untagged_in = plan.repositories if plan.removed_untagged else ()
        run = "" if earlier is None else earlier.run
        with self._working(run=run), (stop or Stop()).event() as event:
            if earlier is not None:  # another machine may have undone it, or done the rest, before the lock was ours
                earlier = self.to_resume(earlier.run)
                if earlier is None:
                    return RunResult((), id=run)
            holds = await self._asked_holds(plan)  # under the lock: no undo comes between
            known = self._known_untagged(*untagged_in)
            async with self.connected() as registry:
                if not record:
                    result = await apply_plan(
                        registry, plan, recorder=NoRecorder(), known=known, readings=surveys, stop=event, holds=holds
                    )
                else:
                    result = await apply_recorded(
                        registry,
                        plan,
                        self.store,
                        known=known,
                        readings=surveys,
                        earlier=earlier,
                        on_progress=self._tell,
                        seconds=seconds,
                        stop=event,
                        ends_at=ends_at,
                        holds=holds,
                    )
        self._learn_result(result)
        return result

    async def _asked_holds(self, plan: Plan) -> AsksHolds:
        """How the holds of now are asked for while a run is at work. A store is asked in a thread, so that answers to
        DELETEs are read meanwhile."""
        from dregutil.session.off_loop import OffLoop

        holds = await self._with_protected(plan, self._watched_holds())
        if self.facts is not None:
            return OffLoop(holds)

        async def at_once() -> Holds:
            return holds()

        return at_once

    def _learn_result(self, result: RunResult) -> None:
        self._recorded_indexes = None
        self._tags.update(result.tags_after)
        if result.tags_after and self._is_whole:
            self._update_cache(lambda _: result.tags_after)


def damaged_error(record: RunRecord, advise: Callable[[str], str]) -> DamagedRecordError:
    """The error for a run that cannot be resumed because its record lacks steps."""
    return DamagedRecordError(
        f"the record of {record.run} is damaged: some of its steps cannot be read",
        advice=f"{advise(f'undo {record.run}')} puts back what it removed",
    )

"""What the repositories of one run share: the plan, the record, what became of each step so far."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping

from dregutil.apply.put_back import if_free, put_back_tags, put_back_unread
from dregutil.apply.steps import Steps, StepState
from dregutil.apply.untag.untagger import Untagger
from dregutil.errors import DregutilError, JournalError, LoginError, OutcomeUnknownError, StoreError, UnreachableError
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.known import Known
from dregutil.journal.record import Settled
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Plan, Step
from dregutil.plan.outcome import BrokenTag, LostTag, Outcome, Recorder, Result, RunResult
from dregutil.registry.permit import check_permit
from dregutil.registry.writer import WritableRegistry
from dregutil.retention.holds import Holds

__all__ = ["AsksHolds", "Run", "StopRepositoryError", "ends_run", "no_holds"]

AsksHolds = Callable[[], Awaitable[Holds]]
"""Asks for the holds of now."""

_AGAIN = 0.2  # seconds, until a store that is away is asked again


async def no_holds() -> Holds:
    """Nothing is held."""
    return Holds()


class StopRepositoryError(Exception):
    """Nothing more may be tried in this repository; the message says why."""


def ends_run(error: DregutilError) -> bool:
    """Whether an error ends the whole run: without an answer, a login or a record nothing more can be done. An answer
    that was lost is about one request only."""
    return isinstance(error, (UnreachableError, LoginError, JournalError)) and not isinstance(
        error, OutcomeUnknownError
    )


class Run:
    """What the repositories of one run share."""

    def __init__(
        self,
        registry: WritableRegistry,
        plan: Plan,
        known: Known,
        recorder: Recorder,
        on_outcome: Callable[[Outcome], None],
    ) -> None:
        self.registry = registry
        self.plan = plan
        self.known = known
        self.recorder = recorder
        self.readings = FreshSurveys()
        self.holds: AsksHolds = no_holds  # those of now: somebody may hold an image while the run is at work
        self.stop = asyncio.Event()
        self.untagger = Untagger(registry, recorder)
        self._states = {step.number: StepState(step) for step in plan.steps}
        self.steps = {
            repository: Steps([self._states[step.number] for step in steps])
            for repository, steps in plan.by_repository.items()
        }
        self.tags_after: dict[Repository, Mapping[Tag, Digest]] = {}
        self.vanished: dict[Repository, tuple[Tag, ...]] = {}
        self.lost: dict[tuple[Repository, Tag], LostTag] = {}
        self.broken: dict[tuple[Repository, Tag], BrokenTag] = {}
        self.still_listed: dict[Repository, tuple[Tag, ...]] = {}
        self.longest_gap = 0.0
        self.error: DregutilError | None = None
        self.has_looked = False  # whether the registry really does what it accepts, at its first DELETE
        self.tags_stay: bool | None = None  # whether it goes on answering by the tags of a digest that it deleted
        self.learning = asyncio.Lock()  # held by the DELETE that shows it: the others follow
        self._on_outcome = on_outcome
        self._found_out: dict[int, Outcome] = {}  # what had been left open here
        self._apart: set[tuple[Repository, Repository]] = set()  # a first DELETE has shown that they are two stores
        self._looking_elsewhere = asyncio.Lock()

    async def current_holds(self) -> Holds:
        """Those of now, asked for again where a shared store is away, until the lease is over. Raises JournalError."""
        while True:
            try:
                return await self.holds()
            except StoreError as error:
                if not error.may_repeat:
                    raise
            check_permit()
            await asyncio.sleep(_AGAIN)

    def take_up(self, outcomes: Mapping[int, Settled]) -> None:
        """Take over what an earlier part of this run settled, or another process that carries it out."""
        for number, settled in outcomes.items():
            state = self._states.get(number)
            if state is None:
                continue
            if state.outcome is None:
                state.settle(Outcome(state.step, settled.result, settled.why))
            elif state.outcome.is_open:  # another process has found out since
                self._found_out[number] = Outcome(state.step, settled.result, settled.why)

    def note(self, step: Step, result: Result, why: str = "") -> None:
        outcome = Outcome(step, result, why)
        self._states[step.number].settle(outcome)
        self.recorder.outcome(outcome)
        self._on_outcome(outcome)

    def note_open(self, step: Step, why: str) -> None:
        """A step failed since no answer came. The record gets no outcome, so that a resumed run tries it again."""
        outcome = Outcome(step, Result.FAILED, why, is_open=True)
        self._states[step.number].settle(outcome)
        self._on_outcome(outcome)

    def note_lost(self, lost: LostTag) -> None:
        """A tag went with what was deleted; noted again once it is put back."""
        self.lost[lost.repository, lost.tag] = lost
        self.recorder.lost(lost)

    def result_of(self, number: int) -> Result | None:
        """What became of a step so far."""
        state = self._states.get(number)
        return None if state is None else state.result

    def is_settled(self, step: Step) -> bool:
        """Whether the record has a step's outcome."""
        outcome = self._states[step.number].outcome
        return outcome is not None and not outcome.is_open

    def fail(self, error: DregutilError) -> None:
        """End the run: no other step is started anywhere."""
        self.error = self.error or error
        self.stop.set()

    def result(self) -> RunResult:
        """What became of the plan so far. Steps without an outcome are left; that is not for the record."""
        why = self.error.message if self.error is not None else "the run was interrupted"
        outcomes = [
            self._found_out.get(number, state.outcome) or Outcome(state.step, Result.LEFT, why, tried=False)
            for number, state in self._states.items()
        ]
        return RunResult(
            tuple(outcomes),
            self.tags_after,
            self.error,
            self.error is None and not all(outcome.tried for outcome in outcomes),
            self.vanished,
            lost=tuple(self.lost.values()),
            broken=tuple(self.broken.values()),
            still_listed=self.still_listed,
            longest_gap=self.longest_gap,
        )

    def not_seen_apart(self, step: Step) -> tuple[Repository, ...]:
        """The repositories that hold a step's digest too, and may be the same store by another name."""
        return tuple(other for other in step.also_in if (step.repository, other) not in self._apart)

    async def look_elsewhere(self, step: Step, manifest: Manifest) -> None:
        """Two names may be one store: after the first DELETE of a digest that another repository holds, look there."""
        async with self._looking_elsewhere:
            for other in self.not_seen_apart(step):
                if await self.registry.resolve(other, step.digest) is None:
                    await self._put_back_whole(step, manifest)
                    error = DregutilError(
                        f"{step.digest.short} deleted in {step.repository} also went from {other}; it was put back",
                        advice="the two names are one store on this registry: clean up under one of them only",
                    )
                    self.fail(error)
                    raise StopRepositoryError(error.message)
                self._apart.add((step.repository, other))

    async def _put_back_whole(self, step: Step, manifest: Manifest) -> None:
        await put_back_unread(self.registry, step.repository, manifest)
        await put_back_tags(self.registry, step.repository, manifest, step.tags, guard=if_free)

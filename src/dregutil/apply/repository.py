"""The steps of one repository, from its live reading to the last look: their order, and how many at once.

Each step is recorded before it is sent. After each DELETE a look says whether it went, and only then what needs it is
done. What no longer holds is left with its reason, and its dependents with it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import partial

from dregutil.apply.delete import delete
from dregutil.apply.last_look import LastLook
from dregutil.apply.repair import bring_what_came_needs
from dregutil.apply.resume import complete
from dregutil.apply.run import Run, StopRepositoryError
from dregutil.apply.steps import Phase, StepState
from dregutil.apply.sweep import restore_tags, sweep
from dregutil.apply.work import Work
from dregutil.errors import (
    DeletionDisabledError,
    DeniedError,
    DregutilError,
    JournalError,
    LoginError,
    OutcomeUnknownError,
    UnreachableError,
)
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import LEFT_BEHIND, is_placeholder
from dregutil.plan.model import Action
from dregutil.plan.outcome import Intent, Result
from dregutil.registry.workers import for_each

__all__ = ["RepositoryRun"]

_FEW_TAGS = 500
_STEPS_AT_ONCE = 16  # in a small repository
_STEPS_AT_ONCE_LARGE = 4  # a server reads every tag of the repository for each DELETE: few at once


class RepositoryRun:
    """The part of `run` that is about one repository."""

    def __init__(self, run: Run, repository: Repository) -> None:
        self.work = Work.of(run, repository)
        self._run = run
        self._stopped = ""  # why nothing more is tried here
        self._tags_before = 0
        self._has_lost_answer = False  # also of a tag, whose step then counts as failed

    @property
    def has_unanswered(self) -> bool:
        """Whether a DELETE, of a digest or a tag, was sent here and has no answer: it may still be carried out."""
        if self._has_lost_answer:
            return True
        return any(state.phase in (Phase.SENT, Phase.UNKNOWN) or state.is_left_open for state in self.work.steps)

    async def run(self, intents: Sequence[Intent]) -> None:
        """Carry out the steps; `intents` are those of an earlier part of this run. Raises DregutilError."""
        work = self.work
        if intents:
            await self._take_up(intents)
        await work.live.begin()
        work.looks.begin()
        first = work.live.graph
        self._tags_before = len(first.tags)
        try:
            await sweep(work, self._carry_out)
            await self._all_steps()
        finally:
            if intents or work.steps.has_begun:
                await self._look_last({} if intents else first.tags, first.dangling)

    async def _look_last(self, before: Mapping[Tag, Digest], dangling: Collection[Tag]) -> None:
        work = self.work
        listed = await work.looks.finish()
        last = LastLook(work, before=before, dangling=dangling)
        self._run.tags_after[work.repository] = await last.look(listed)
        vanished = await last.vanished(work.live.staying_tags)
        if vanished:
            self._run.vanished[work.repository] = vanished

    async def _take_up(self, intents: Sequence[Intent]) -> None:
        """Complete what was begun: each open intent is found done, or its effects so far are taken back."""
        steps = self.work.steps
        done = await complete(self._run.registry, self.work.repository, intents, steps)
        for number in done:
            self._run.note(steps[number].step, Result.REMOVED)
        for intent in intents:
            state = steps[intent.step]
            if state.result is Result.REMOVED and state.step.action is Action.DELETE:
                state.take_up(intent)
                steps.remove(state)

    async def _all_steps(self) -> None:
        """Carry out the steps in batches, with a look at the tags before each."""
        work, stop = self.work, self._run.stop
        at_once = _STEPS_AT_ONCE_LARGE if self._tags_before > _FEW_TAGS else _STEPS_AT_ONCE
        at_once = max(at_once, self._run.registry.deletes_at_once)
        ready = self._ready()
        if ready and work.looks.is_over and not stop.is_set():
            await self._look()
        while ready and not stop.is_set():
            await for_each(ready[:1] if work.looks.one_by_one else ready, self._in_batch, at_once=at_once)
            ready = self._ready()
            if ready and not stop.is_set():
                await self._look()
        await for_each(work.steps.pending, self._carry_out)  # where the run was stopped

    async def _look(self) -> None:
        await self.work.looks.look()
        await bring_what_came_needs(self.work)

    def _ready(self) -> list[StepState]:
        """The steps that may be next: what they need has an outcome, and a look was made since."""
        result_of = self._run.result_of
        return [
            state for state in self.work.steps.pending if all(result_of(need) is not None for need in state.step.needs)
        ]

    async def _in_batch(self, state: StepState) -> None:
        """Carry out a step, unless the batch is over by now: then it is for the next one."""
        if not self.work.looks.is_over and not self._run.stop.is_set():
            await self._carry_out(state)

    async def _carry_out(self, state: StepState) -> None:
        try:
            if not self._run.stop.is_set():
                await self._attempt(state)
            elif self._run.error is None:
                await restore_tags(self.work, state)  # it is left, so its tags are too
        except JournalError as error:
            self._run.fail(error)
        except (UnreachableError, LoginError) as error:
            self._run.note_open(state.step, error.message)
            self._run.fail(error)

    async def _attempt(self, state: StepState) -> None:
        """Carry out a step, or say why not. Raises what ends the whole run."""
        step = state.step
        try:
            why = await self._reason_to_leave(state)
            if why:
                await restore_tags(self.work, state)
                self._run.note(step, Result.LEFT, why)
            elif step.action is Action.UNTAG:
                await self._untag(state)
            else:
                await delete(self.work, state)
        except StopRepositoryError as error:
            self._stopped = str(error)
            self._run.note(step, Result.LEFT, str(error))
        except (DeletionDisabledError, DeniedError, OutcomeUnknownError) as error:
            # Whatever follows here would fail as this did.
            self._stopped = error.message
            self._has_lost_answer |= isinstance(error, OutcomeUnknownError)
            await self._failed(state, error)
        except (UnreachableError, LoginError, JournalError):
            raise
        except DregutilError as error:
            await self._failed(state, error)

    async def _failed(self, state: StepState, error: DregutilError) -> None:
        await restore_tags(self.work, state)
        self._run.note(state.step, Result.FAILED, error.message)

    async def _reason_to_leave(self, state: StepState) -> str:
        if self._stopped:
            return self._stopped
        await self.work.live.renew()
        for need in state.step.needs:
            result = self._run.result_of(need)
            if result is None or not result.is_done:
                return f"what it belongs to was not removed (step {need})"
        return state.dropped

    async def _why_held(self, state: StepState) -> str:
        """Why a step is left after all, where somebody has held what it takes while its intent was written."""
        await self.work.live.heed_holds()
        return state.dropped

    async def _untag(self, state: StepState) -> None:
        """Remove a tag alone; its digest stays."""
        step, run, live = state.step, self._run, self.work.live
        manifest = live.graph.manifests.get(step.digest)
        tag = step.tags[0]
        if live.graph.tags.get(tag) is None:
            run.note(step, Result.GONE)
        elif manifest is None:
            run.note(step, Result.LEFT, "its manifest could not be read")
        elif is_placeholder(manifest):
            run.note(step, Result.LEFT, LEFT_BEHIND)
        else:
            tags = live.graph.tags_of.get(step.digest, ())
            beside = tuple(other for other in tags if other not in live.own_tags)  # those that stay
            intent = Intent(step.number, step.repository, (tag,), manifest, beside=beside)
            state.hand_over(intent)
            self.work.looks.note_gap()
            why = await run.untagger.untag(intent, self.work.looks.check_copies, partial(self._why_held, state))
            if not why and not run.registry.deletes_tags:
                self.work.looks.note_untagged(state)
            run.note(step, Result.LEFT if why else Result.REMOVED, why)

"""The steps of one repository, from its live reading to the last look.

Each step is recorded before it is sent. After each DELETE a look says whether it went, and only then what needs it is
done. What no longer holds is left with its reason, and its dependents with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from dregutil.errors import (
    DeletionDisabledError,
    DeniedError,
    DregutilError,
    JournalError,
    LoginError,
    ManifestError,
    OutcomeUnknownError,
    ProtocolError,
    PushedBackError,
    RegistryError,
    UnreachableError,
)
from dregutil.estimate import tags_first_pays, tags_first_steps
from dregutil.intents import Intents, intent_of
from dregutil.live_reading import LiveReading
from dregutil.manifest import Manifest
from dregutil.mend import Mender, bring_company, complete
from dregutil.outcome import Intent, Result
from dregutil.placeholder import LEFT_BEHIND, is_placeholder
from dregutil.plan import Action, Step
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry.throttle import PATIENCE
from dregutil.run import Run, StopRepositoryError
from dregutil.workers import for_each, gather_all

__all__ = ["RepositoryRun"]

_FEW_TAGS = 500
_STEPS_AT_ONCE = 16  # in a small repository
_STEPS_AT_ONCE_LARGE = 4  # a server reads every tag of the repository for each DELETE: few at once
_ATTEMPTS = 2  # of a write whose outcome was unknown, each from the full look
_TAGS_FIRST = "GOOGLE_MANIFEST_DANGLING_TAG"
_SETTLE = 1.0  # seconds between two readings that must be equal before an unknown outcome is believed


class RepositoryRun:
    def __init__(self, run: Run, repository: Repository, steps: Sequence[Step]) -> None:
        self.run_ = run
        self.registry = run.registry
        self.repository = repository
        self.steps = steps
        self.removed: dict[Digest, tuple[Step, Manifest]] = {}
        self.live = LiveReading(run, repository, steps, self.removed)
        self._intents = Intents(run, steps)
        self._deletes = {step.digest: step.number for step in steps if step.action is Action.DELETE}
        self._stopped = ""

    async def run(self, intents: Sequence[Intent]) -> None:
        """Carry out the steps; `intents` are those of an earlier part of this run."""
        if intents:
            await self._take_up(intents)
        await self.live.begin()
        try:
            await self._tags_first()
            await self._all_steps()
        finally:
            if intents or self.removed or self._intents.noted:
                mender = Mender(self.run_, self.repository, self.live.graph, self.removed, all_new=bool(intents))
                self.run_.tags_after[self.repository] = await mender.last_look()
                vanished = await mender.vanished(self.live.staying_tags)
                if vanished:
                    self.run_.vanished[self.repository] = vanished

    async def _take_up(self, intents: Sequence[Intent]) -> None:
        """Complete what was begun: each open intent is found done, or its effects so far are taken back."""
        steps = {step.number: step for step in self.steps}
        done = await complete(self.registry, self.repository, intents, steps, self.run_.outcomes.keys())
        for number in done:
            self.run_.note(steps[number], Result.REMOVED)
        for intent in intents:
            outcome = self.run_.outcomes.get(intent.step)
            if outcome is not None and outcome.result is Result.REMOVED and outcome.step.action is Action.DELETE:
                self.removed[intent.manifest.digest] = (outcome.step, intent.manifest)

    async def _all_steps(self) -> None:
        done = {step.number: asyncio.Event() for step in self.steps}
        large = len(self.live.graph.tags) > _FEW_TAGS
        limit = asyncio.Semaphore(_STEPS_AT_ONCE_LARGE if large else _STEPS_AT_ONCE)

        async def carry_out(step: Step) -> None:
            try:
                for need in step.needs:
                    await done[need].wait()
                async with limit:
                    await self._carry_out(step)
            finally:
                done[step.number].set()

        for step in self.steps:
            if step.number in self.run_.outcomes:
                done[step.number].set()
        await gather_all(carry_out(step) for step in self.live.pending)

    async def _carry_out(self, step: Step) -> None:
        try:
            if not self.run_.stop.is_set():
                await self._attempt(step)
            elif self.run_.error is None:
                await self._restore_tags(step)  # it is left, so its tags are too
        except JournalError as error:
            self.run_.fail(error)
        except (UnreachableError, LoginError) as error:
            self.run_.note_open(step, error.message)
            self.run_.fail(error)

    async def _attempt(self, step: Step) -> None:
        """Carry out a step, or say why not. Raises what ends the whole run."""
        try:
            why = await self._reason_to_leave(step)
            if why:
                await self._restore_tags(step)
                self.run_.note(step, Result.LEFT, why)
            elif step.action is Action.UNTAG:
                await self._untag(step)
            else:
                await self._delete(step)
        except StopRepositoryError as error:
            self._stopped = str(error)
            self.run_.note(step, Result.LEFT, str(error))
        except (DeletionDisabledError, DeniedError, OutcomeUnknownError) as error:
            # Whatever follows here would fail as this did.
            self._stopped = error.message
            await self._failed(step, error)
        except (UnreachableError, LoginError, JournalError):
            raise
        except DregutilError as error:
            await self._failed(step, error)

    async def _failed(self, step: Step, error: DregutilError) -> None:
        await self._restore_tags(step)
        self.run_.note(step, Result.FAILED, error.message)

    async def _reason_to_leave(self, step: Step) -> str:
        if self._stopped:
            return self._stopped
        await self.live.renew()
        for need in step.needs:
            outcome = self.run_.outcomes.get(need)
            if outcome is None or not outcome.result.is_done:
                return f"what it belongs to was not removed (step {need})"
        return self.live.dropped.get(step.number, "")

    async def _tags_first(self) -> None:
        """In a large repository, remove the doomed tags in one sweep: each later DELETE is then cheap."""
        tags_of, dropped = self.live.graph.tags_of, self.live.dropped
        steps = [step for step in self.live.pending if step.number not in dropped and step.digest in tags_of]
        if not tags_first_pays(steps, len(self.live.graph.tags)) or self.run_.stop.is_set():
            return
        steps = await self._first_alone(steps)
        intents = {
            step.number: intent_of(step, self.live.graph)
            for step in tags_first_steps(steps)
            if step.digest in self.live.graph.manifests
        }
        if not intents:
            return
        self._intents.noted.update(intents)
        self.live.swept = frozenset(intents)
        try:
            await self.run_.untagger.untag_doomed(list(intents.values()), self.run_.stop.is_set)
        except DregutilError as error:
            if isinstance(error, (UnreachableError, LoginError, JournalError)) and not isinstance(
                error, OutcomeUnknownError
            ):
                raise
            # The registry does not let its tags be moved (immutable tags, no right to push): the plain way remains.
            self.live.swept = frozenset()
            self._intents.doubt(intents)
            await self.live.read_again()

    async def _first_alone(self, steps: list[Step]) -> list[Step]:
        """Where other names may be the same store, steps go one by one before the sweep until they show otherwise."""
        left = []
        for step in steps:
            if step.needs or not self.run_.not_seen_apart(step):
                left.append(step)
                continue
            await self._carry_out(step)
            if self.run_.stop.is_set():
                return []
        return left

    async def _restore_tags(self, step: Step) -> None:
        """Where the tags went first and their manifest stays after all, they come back."""
        intent = self._intents.noted.get(step.number)
        if intent is None or step.number not in self.live.swept:
            return
        if await self.registry.resolve(self.repository, step.digest) is None:
            return

        async def put(tag: Tag) -> None:
            if await self.registry.resolve(self.repository, tag) is None:
                manifest = intent.manifest
                await self.registry.put_manifest(self.repository, tag, manifest.raw, manifest.media_type)

        await for_each(intent.tags, put)

    async def _untag(self, step: Step) -> None:
        manifest = self.live.graph.manifests.get(step.digest)
        tag = step.tags[0]
        if self.live.graph.tags.get(tag) is None:
            self.run_.note(step, Result.GONE)
        elif manifest is None:
            self.run_.note(step, Result.LEFT, "its manifest could not be read")
        elif is_placeholder(manifest):
            self.run_.note(step, Result.LEFT, LEFT_BEHIND)
        else:
            tags = self.live.graph.tags_of.get(step.digest, ())
            beside = tuple(other for other in tags if other not in self.live.own_tags)  # those that stay
            intent = Intent(step.number, self.repository, (tag,), manifest, beside=beside)
            self._intents.noted[step.number] = intent
            why = await self.run_.untagger.untag(intent)
            self.run_.note(step, Result.LEFT if why else Result.REMOVED, why)

    async def _delete(self, step: Step) -> None:
        manifest = self.live.graph.manifests.get(step.digest)
        if manifest is None:
            self._note_gone(step)
            return
        graph = self.live.graph
        await self._intents.record(step, manifest, lambda: self.live.graph, self.live.dropped)
        # Another step may have read the repository again while this one's intent was written.
        accepted = None if step.number in self.live.dropped else await self._send_delete(step, manifest)
        if accepted is None:
            await self._restore_tags(step)
            self.run_.note(step, Result.LEFT, self.live.dropped[step.number])
            return
        self.removed[step.digest] = (step, manifest)
        await bring_company(self.registry, graph, step.digest, self._goes)
        if self._must_look(step) or not accepted:
            await self._look(step, manifest, ours=accepted)
        else:
            self.run_.note(step, Result.REMOVED)

    def _goes(self, digest: Digest) -> bool:
        number = self._deletes.get(digest)
        return number is not None and number not in self.live.dropped

    async def _send_delete(self, step: Step, manifest: Manifest) -> bool | None:
        """Send a step's DELETE. True: it went by us; False: it was not there; None: by now the step no longer holds.

        Where its outcome is not known, or the registry pushed it back until the look was old, it begins again from
        the full look.
        """
        unknown, has_untagged = 0, False
        patient_until = time.monotonic() + PATIENCE
        while True:
            try:
                return await self.registry.delete_manifest(self.repository, step.digest) or unknown > 0 or has_untagged
            except RegistryError as error:
                # GCR and Artifact Registry: a digest goes only when no tag is left on it.
                if has_untagged or unknown or _TAGS_FIRST not in error.codes:
                    raise
                has_untagged = True
                self.live.swept |= {step.number}
                if not await self.run_.untagger.untag_first(self._intents.noted[step.number]):
                    raise
                continue
            except PushedBackError as error:
                failed: UnreachableError = error
            except OutcomeUnknownError as error:
                failed = error
                unknown += 1
                self.removed[step.digest] = (step, manifest)
                if await self._went_after_all(step):
                    return True
            await self.live.read_again()
            if step.digest in self.live.graph.tags_of:  # maybe with a tag that was not on it before
                await self._intents.record(step, manifest, lambda: self.live.graph, self.live.dropped)
            if step.number in self.live.dropped:
                return None
            if unknown >= _ATTEMPTS or time.monotonic() > patient_until:
                raise failed

    def _must_look(self, step: Step) -> bool:
        """Whether one must look at once if a digest is gone.

        Always where others wait for it, where no tag shows it later, and at the first of a run; for the others the
        last look, which reads every tag that is still listed, says so.
        """
        first, self.run_.has_looked = not self.run_.has_looked, True
        waits = self._intents.has_dependents(step)
        elsewhere = bool(self.run_.not_seen_apart(step))
        return first or waits or not step.tags or step.number in self.live.swept or elsewhere

    async def _look(self, step: Step, manifest: Manifest, *, ours: bool) -> None:
        """Whether the digest is really gone; `ours`: it went by a request of this run.

        Where the registry cannot say (status 500, or nothing that can be read), that is no outcome for the record.
        """
        try:
            found = await self.registry.look_for(self.repository, step.digest)
        except (RegistryError, ProtocolError, ManifestError) as error:
            self.run_.note_open(step, f"whether it went is not known: {error.message}")
            await self.run_.look_elsewhere(step, manifest)  # another name of this store may have lost it all the same
            return
        if found is not None:
            await self._restore_tags(step)
            if ours:
                why = "the registry accepted the deletion, and the manifest is still there"
                self.run_.note(step, Result.FAILED, why)
            elif step.tags:
                self.run_.note(step, Result.FAILED, "the registry says that it is not there, and still has it")
            else:
                # Quay deletes only what a tag names, and collects the rest in its own time.
                self.run_.note(step, Result.LEFT, "the registry deletes no untagged manifest; it collects them itself")
            return
        await self.run_.look_elsewhere(step, manifest)
        if ours:
            self.run_.note(step, Result.REMOVED)
        else:
            self._note_gone(step)

    def _note_gone(self, step: Step) -> None:
        """A digest that is not there: it went with its last tag or with what it belongs to, by this run, or before."""
        intent = self._intents.noted.get(step.number)
        ours = step.number in self.live.swept or any(self.run_.result_of(need) is Result.REMOVED for need in step.needs)
        if intent is not None and ours:
            self.removed[step.digest] = (step, intent.manifest)
            self.run_.note(step, Result.REMOVED)
        else:
            self.run_.note(step, Result.GONE)

    async def _went_after_all(self, step: Step) -> bool:
        """After a write whose answer was lost: believe only two equal readings, the server may still be at work."""
        before = await self.registry.resolve(self.repository, step.digest)
        while True:
            await asyncio.sleep(_SETTLE)
            after = await self.registry.resolve(self.repository, step.digest)
            if (before is None) == (after is None):
                return after is None
            before = after

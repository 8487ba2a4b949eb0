"""The steps of one repository, from its live reading to the last look.

Each step is recorded before it is sent. After each DELETE a look says whether it went, and only then what needs it is
done. What no longer holds is left with its reason, and its dependents with it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence

from dregutil.apply.intents import Intents, intent_of
from dregutil.apply.last_look import LastLook, bring_company, complete
from dregutil.apply.live_graph import LiveReading
from dregutil.apply.looks import Looks
from dregutil.apply.put_back import if_free, put_back, put_back_tags
from dregutil.apply.run import Run, StopRepositoryError
from dregutil.apply.settle import went_after_all
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
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import LEFT_BEHIND, is_placeholder
from dregutil.plan.cost import tags_first_pays, tags_first_steps
from dregutil.plan.model import Action, Step
from dregutil.plan.outcome import Intent, Result
from dregutil.registry.http.retry import wait_before
from dregutil.registry.http.throttle import PATIENCE
from dregutil.registry.workers import for_each

__all__ = ["RepositoryRun"]

_FEW_TAGS = 500
_STEPS_AT_ONCE = 16  # in a small repository
_STEPS_AT_ONCE_LARGE = 4  # a server reads every tag of the repository for each DELETE: few at once
_TAGS_AT_ONCE = 32  # put back
_ATTEMPTS = 2  # of a write whose outcome was unknown, each from the full look
_THROTTLED = 503  # what a registry answers whose store pushes back
_LONGEST_WAIT = 5  # as the wait before a fifth attempt: about 8 s
_TAGS_FIRST = "GOOGLE_MANIFEST_DANGLING_TAG"


class RepositoryRun:
    def __init__(self, run: Run, repository: Repository, steps: Sequence[Step]) -> None:
        self.run_ = run
        self.registry = run.registry
        self.repository = repository
        self.steps = steps
        self.removed: dict[Digest, tuple[Step, Manifest]] = {}
        self.live = LiveReading(run, repository, steps, self.removed)
        self.looks = Looks(run, repository, self.live, self.removed)
        self._intents = Intents(run, steps)
        self._deletes = {step.digest: step.number for step in steps if step.action is Action.DELETE}
        self._stopped = ""
        self._tags_before = 0

    async def run(self, intents: Sequence[Intent]) -> None:
        """Carry out the steps; `intents` are those of an earlier part of this run."""
        if intents:
            await self._take_up(intents)
        await self.live.begin()
        self.looks.begin()
        first = self.live.graph
        self._tags_before = len(first.tags)
        try:
            await self._tags_first()
            await self._all_steps()
        finally:
            if intents or self.removed or self._intents.noted:
                await self._look_last({} if intents else first.tags, first.dangling)

    async def _look_last(self, before: Mapping[Tag, Digest], dangling: Collection[Tag]) -> None:
        listed = await self.looks.finish()
        graph = self.live.graph
        last = LastLook(self.run_, self.repository, graph, self.removed, before=before, dangling=dangling)
        self.run_.tags_after[self.repository] = await last.last_look(listed)
        vanished = await last.vanished(self.live.staying_tags)
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
        """Carry out the steps in batches, with a look at the tags before each."""
        at_once = _STEPS_AT_ONCE_LARGE if self._tags_before > _FEW_TAGS else _STEPS_AT_ONCE
        ready = self._ready()
        if ready and self.looks.is_over and not self.run_.stop.is_set():
            await self.looks.look()
        while ready and not self.run_.stop.is_set():
            await for_each(ready[:1] if self.looks.one_by_one else ready, self._in_batch, at_once=at_once)
            ready = self._ready()
            if ready and not self.run_.stop.is_set():
                await self.looks.look()
        await for_each(self.live.pending, self._carry_out)  # where the run was stopped

    def _ready(self) -> list[Step]:
        """The steps that may be next: what they need has an outcome, and a look was made since."""
        outcomes = self.run_.outcomes
        return [step for step in self.live.pending if all(need in outcomes for need in step.needs)]

    async def _in_batch(self, step: Step) -> None:
        """Carry out a step, unless the batch is over by now: then it is for the next one."""
        if not self.looks.is_over and not self.run_.stop.is_set():
            await self._carry_out(step)

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
        by_number = {step.number: step for step in steps}
        taken = {intent.manifest.digest: (by_number[number], intent.manifest) for number, intent in intents.items()}
        try:
            await self.run_.untagger.untag_doomed(list(intents.values()), self.run_.stop.is_set, self.looks.check_ours)
        except DregutilError as error:
            if isinstance(error, (UnreachableError, LoginError, JournalError)) and not isinstance(
                error, OutcomeUnknownError
            ):
                raise
            # The registry does not let its tags be moved (immutable tags, no right to push): the plain way remains.
            self.live.swept = frozenset()
            self._intents.doubt(intents)
            if not self.run_.stop.is_set():
                await self.looks.after_broken_sweep(taken)
            return
        if not self.run_.stop.is_set():
            await self.looks.after_sweep(taken)

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
            if not self.run_.untagger.goes_by_tag:
                return
            # Some servers take a manifest with its last tag, and it is needed after all.
            await put_back(self.registry, self.repository, intent.manifest, below=self.live.graph.manifests)
        await put_back_tags(
            self.registry, self.repository, intent.manifest, intent.tags, guard=if_free, at_once=_TAGS_AT_ONCE
        )

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
            self.run_.longest_gap = max(self.run_.longest_gap, time.monotonic() - self.looks.at)
            why = await self.run_.untagger.untag(intent, self.looks.check_ours)
            if not why and not self.run_.untagger.goes_by_tag:
                self.looks.note_untagged(step, manifest)
            self.run_.note(step, Result.LEFT if why else Result.REMOVED, why)

    async def _delete(self, step: Step) -> None:
        manifest = self.live.graph.manifests.get(step.digest)
        if manifest is None:
            self._note_gone(step)
            return
        graph = self.live.graph
        await self._intents.record(step, manifest, lambda: self.live.graph, self.live.dropped)
        if self.looks.is_over:
            return  # the disk took too long: the next batch has another look
        # Another step may have read the repository again while this one's intent was written.
        accepted = None if step.number in self.live.dropped else await self._send_delete(step, manifest)
        if accepted is None:
            await self._restore_tags(step)
            self.run_.note(step, Result.LEFT, self.live.dropped[step.number])
            return
        self.removed[step.digest] = (step, manifest)
        await bring_company(self.run_, graph, step.digest, self._goes)
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
        the full look; where the registry says that it is overloaded, for as long as such a store may need.
        """
        unknown, has_untagged, attempts = 0, False, _ATTEMPTS
        patient_until = time.monotonic() + PATIENCE
        while True:
            try:
                self.run_.longest_gap = max(self.run_.longest_gap, time.monotonic() - self.looks.at)
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
                if await went_after_all(self.registry, self.repository, step.digest):
                    return True
                if error.status == _THROTTLED and time.monotonic() <= patient_until:
                    await asyncio.sleep(wait_before(min(unknown, _LONGEST_WAIT), None))
                    attempts = unknown + 1
            await self.looks.read_again()
            if step.digest in self.live.graph.tags_of:  # maybe with a tag that was not on it before
                await self._intents.record(step, manifest, lambda: self.live.graph, self.live.dropped)
            if step.number in self.live.dropped:
                return None
            if unknown >= attempts or time.monotonic() > patient_until:
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
        if await self._still_answers(step):
            await put_back(self.registry, self.repository, manifest, below={})
            self.removed.pop(step.digest, None)
            self.run_.note(step, Result.FAILED, f"the registry deleted it, and still answers by '{step.tags[0]}'")
        elif ours:
            self.run_.note(step, Result.REMOVED)
        else:
            self._note_gone(step)

    async def _still_answers(self, step: Step) -> bool:
        """Whether a tag still names a digest that is gone, and cannot be removed by its name.

        Some servers keep an image by its tag when its digest is deleted. Where others wait for the step, this is asked
        at once: what such an image needs must not go. For the others the last look shows it.
        """
        intent = self._intents.noted.get(step.number)
        if intent is None or not self._intents.has_dependents(step):
            return False
        for attempt in range(2):
            found = [await self.registry.resolve(self.repository, tag) for tag in step.tags]
            if not any(resolved is not None and resolved.digest == step.digest for resolved in found):
                return False
            if attempt == 0 and not await self.run_.untagger.untag_first(intent):
                break
        return True

    def _note_gone(self, step: Step) -> None:
        """A digest that is not there: it went with its last tag or with what it belongs to, by this run, or before."""
        intent = self._intents.noted.get(step.number)
        ours = step.number in self.live.swept or any(self.run_.result_of(need) is Result.REMOVED for need in step.needs)
        if intent is not None and ours:
            self.removed[step.digest] = (step, intent.manifest)
            self.run_.note(step, Result.REMOVED)
        else:
            self.run_.note(step, Result.GONE)

"""Plan → registry: carries out what was shown and still holds.

For each repository of the plan: is deletion allowed, then read it again, live; each step that no longer holds is left
with its reason, its dependents with it. After each DELETE a look says whether it went. At the end the tags are read
once more: what a tag that came or moved meanwhile needs, and we deleted, is put back at once.
"""

from __future__ import annotations

import asyncio
import enum
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field

from dregutil.errors import (
    DeletionDisabledError,
    DeniedError,
    DregutilError,
    LoginError,
    OutcomeUnknownError,
    UnreachableError,
)
from dregutil.graph import RepositoryGraph
from dregutil.manifest import Manifest
from dregutil.plan import Action, Plan, Step, recheck
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry.client import WritableRegistry
from dregutil.survey import survey_repository
from dregutil.untag import Untagger

__all__ = ["Outcome", "Result", "RunResult", "apply_plan"]

_REPOSITORIES_AT_ONCE = 8
_STEPS_AT_ONCE = 4  # a server reads every tag of the repository for each DELETE: few at once
_LOOK_LIVES = 60.0  # seconds after which a repository is read again before the next DELETE
_ATTEMPTS = 2  # of a write whose outcome was unknown, each from the full look
_SETTLE = 1.0  # seconds between two readings that must be equal before an unknown outcome is believed


class Result(enum.Enum):
    REMOVED = "removed"
    GONE = "gone"
    LEFT = "left"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step, and why. GONE: somebody else had removed it before."""

    step: Step
    result: Result
    why: str = ""


@dataclass(frozen=True, slots=True)
class RunResult:
    """A plan carried out. `tags_after` is the last live reading of each repository that was read to the end.

    `error` is what ended the run early, if anything did.
    """

    outcomes: tuple[Outcome, ...]
    tags_after: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    error: DregutilError | None = None

    def of(self, result: Result) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.result is result)


class _StopRepositoryError(Exception):
    """Nothing more may be tried in this repository; the cause says why."""


async def apply_plan(
    registry: WritableRegistry,
    plan: Plan,
    *,
    known_tags: Mapping[Repository, Mapping[Tag, Digest]] | None = None,
    on_outcome: Callable[[Outcome], None] | None = None,
    stop: asyncio.Event | None = None,
) -> RunResult:
    """Carry out `plan`. `known_tags` are earlier readings, against which the server's lists are doubted.

    `stop`, once set, lets the steps in flight end and starts no other. Raises DeletionDisabledError, DeniedError or
    LoginError before anything was sent, where one of the repositories allows no deletion, and UnreachableError where
    the registry does not answer. What fails later is an outcome, or the result's `error`.
    """
    limit = asyncio.Semaphore(_REPOSITORIES_AT_ONCE)
    run = _Run(registry, plan, known_tags or {}, on_outcome or (lambda _: None), stop or asyncio.Event())

    async def preflight(repository: Repository) -> None:
        async with limit:
            await registry.check_deletion(repository)

    async def carry_out(repository: Repository) -> None:
        async with limit:
            await run.carry_out(repository)

    await _gather_all([preflight(repository) for repository in plan.repositories])
    await _gather_all([carry_out(repository) for repository in plan.repositories])
    return run.result()


class _Run:
    """What is shared by the repositories of one run."""

    def __init__(
        self,
        registry: WritableRegistry,
        plan: Plan,
        known_tags: Mapping[Repository, Mapping[Tag, Digest]],
        on_outcome: Callable[[Outcome], None],
        stop: asyncio.Event,
    ) -> None:
        self.registry = registry
        self.plan = plan
        self.known_tags = known_tags
        self.on_outcome = on_outcome
        self.stop = stop
        self.untagger = Untagger(registry)
        self.outcomes: dict[int, Outcome] = {}
        self.tags_after: dict[Repository, Mapping[Tag, Digest]] = {}
        self.error: DregutilError | None = None
        self.stores_differ = False  # a first delete has shown that other repositories keep theirs
        self._first_shared = asyncio.Lock()

    def note(self, step: Step, result: Result, why: str = "") -> None:
        outcome = Outcome(step, result, why)
        self.outcomes[step.number] = outcome
        self.on_outcome(outcome)

    def fail(self, error: DregutilError) -> None:
        """End the run: no other step is started anywhere."""
        self.error = self.error or error
        self.stop.set()

    def result(self) -> RunResult:
        for step in self.plan.steps:
            if step.number not in self.outcomes:
                why = self.error.message if self.error is not None else "the run was interrupted before it"
                self.note(step, Result.LEFT, f"not tried: {why}")
        outcomes = tuple(self.outcomes[step.number] for step in self.plan.steps)
        return RunResult(outcomes, self.tags_after, self.error)

    async def carry_out(self, repository: Repository) -> None:
        steps = [step for step in self.plan.steps if step.repository == repository]
        work = _RepositoryRun(self, repository, steps)
        try:
            await work.run()
        except (UnreachableError, LoginError) as error:
            self.fail(error)
        except DregutilError as error:
            self.error = self.error or error

    async def look_elsewhere(self, step: Step, manifest: Manifest) -> None:
        """Two names may be one store: after the first delete of a digest that others hold too, look at theirs."""
        async with self._first_shared:
            if self.stores_differ or not step.also_in:
                return
            for other in step.also_in:
                if await self.registry.resolve(other, step.digest) is None:
                    await self._put_back_whole(step, manifest)
                    error = DregutilError(
                        f"{step.digest.short} deleted in {step.repository} also went from {other}; it was put back",
                        advice="the two names are one store on this registry: clean up under one of them only",
                    )
                    self.fail(error)
                    raise _StopRepositoryError(error.message)
            self.stores_differ = True

    async def _put_back_whole(self, step: Step, manifest: Manifest) -> None:
        await self.registry.put_manifest(step.repository, step.digest, manifest.raw, manifest.media_type)
        for tag in step.tags:
            if await self.registry.resolve(step.repository, tag) is None:
                await self.registry.put_manifest(step.repository, tag, manifest.raw, manifest.media_type)


class _RepositoryRun:
    """The steps of one repository, from its live reading to the last look."""

    def __init__(self, run: _Run, repository: Repository, steps: list[Step]) -> None:
        self.run_ = run
        self.registry = run.registry
        self.repository = repository
        self.steps = steps
        self.graph = RepositoryGraph(repository)
        self.read_at = 0.0
        self.dropped: dict[int, str] = {}
        self.removed: dict[Digest, tuple[Step, Manifest]] = {}
        self._reading = asyncio.Lock()
        self._stopped = ""

    async def run(self) -> None:
        await self._read_again(self.steps)
        done = {step.number: asyncio.Event() for step in self.steps}
        limit = asyncio.Semaphore(_STEPS_AT_ONCE)

        async def carry_out(step: Step) -> None:
            try:
                for need in step.needs:
                    await done[need].wait()
                async with limit:
                    await self._carry_out(step)
            finally:
                done[step.number].set()

        try:
            await _gather_all([carry_out(step) for step in self.steps])
        finally:
            if self.removed or any(step.action is Action.UNTAG for step in self.steps):
                await self._last_look()

    async def _read_again(self, steps: list[Step]) -> None:
        """Read the repository live, and drop the steps that no longer hold."""
        self.graph = await survey_repository(
            self.registry,
            self.repository,
            [step.digest for step in steps],
            known_tags=() if self.removed else self.run_.known_tags.get(self.repository, ()),
        )
        self.read_at = time.monotonic()
        self.dropped.update(recheck(steps, self.graph, self.run_.plan.options))

    async def _carry_out(self, step: Step) -> None:
        if self.run_.stop.is_set():
            return
        why = await self._reason_to_leave(step)
        if why:
            self.run_.note(step, Result.LEFT, why)
            return
        try:
            if step.action is Action.UNTAG:
                await self._untag(step)
            else:
                await self._delete(step)
        except (DeletionDisabledError, DeniedError) as error:
            self._stopped = error.message
            self.run_.note(step, Result.FAILED, error.message)
        except _StopRepositoryError as error:
            self._stopped = str(error)
            self.run_.note(step, Result.LEFT, str(error))
        except (UnreachableError, LoginError) as error:
            self.run_.note(step, Result.FAILED, error.message)
            self.run_.fail(error)
        except DregutilError as error:
            self.run_.note(step, Result.FAILED, error.message)

    async def _reason_to_leave(self, step: Step) -> str:
        if self._stopped:
            return self._stopped
        async with self._reading:
            if time.monotonic() - self.read_at > _LOOK_LIVES:
                await self._read_again([other for other in self.steps if other.number not in self.run_.outcomes])
        for need in step.needs:
            outcome = self.run_.outcomes.get(need)
            if outcome is None or outcome.result not in (Result.REMOVED, Result.GONE):
                return f"what it belongs to was not removed (step {need})"
        return self.dropped.get(step.number, "")

    async def _untag(self, step: Step) -> None:
        manifest = self.graph.manifests.get(step.digest)
        tag = step.tags[0]
        if self.graph.tags.get(tag) is None:
            self.run_.note(step, Result.GONE)
        elif manifest is None:
            self.run_.note(step, Result.LEFT, "its manifest could not be read")
        else:
            others = tuple(other for other in self.graph.tags_of.get(step.digest, ()) if other != tag)
            why = await self.run_.untagger.untag(self.repository, tag, manifest, others)
            self.run_.note(step, Result.LEFT if why else Result.REMOVED, why)

    async def _delete(self, step: Step) -> None:
        manifest = self.graph.manifests.get(step.digest)
        if manifest is None:
            self.run_.note(step, Result.GONE)
            return
        for attempt in range(_ATTEMPTS):
            try:
                accepted = await self.registry.delete_manifest(self.repository, step.digest)
            except OutcomeUnknownError:
                self.removed[step.digest] = (step, manifest)
                if not await self._went_after_all(step):
                    async with self._reading:
                        await self._read_again([step])
                    if step.number in self.dropped:
                        self.run_.note(step, Result.LEFT, self.dropped[step.number])
                        return
                    if attempt + 1 < _ATTEMPTS:
                        continue
                    raise
                accepted = True
            self.removed[step.digest] = (step, manifest)
            await self._look(step, manifest, accepted=accepted)
            return

    async def _look(self, step: Step, manifest: Manifest, *, accepted: bool) -> None:
        """Whether the digest is really gone."""
        if await self.registry.resolve(self.repository, step.digest) is not None:
            self.run_.note(step, Result.FAILED, "the registry accepted the deletion, and the manifest is still there")
            return
        await self.run_.look_elsewhere(step, manifest)
        self.run_.note(step, Result.REMOVED if accepted else Result.GONE)

    async def _went_after_all(self, step: Step) -> bool:
        """After a write whose answer was lost: believe only two equal readings, the server may still be at work."""
        before = await self.registry.resolve(self.repository, step.digest)
        while True:
            await asyncio.sleep(_SETTLE)
            after = await self.registry.resolve(self.repository, step.digest)
            if (before is None) == (after is None):
                return after is None
            before = after

    async def _last_look(self) -> None:
        """Read the tags once more; what one that came or moved needs, and we deleted, is put back."""
        after: dict[Tag, Digest] = {}
        listed = await self.registry.tags(self.repository)
        limit = asyncio.Semaphore(32)

        async def look(tag: Tag) -> None:
            async with limit:
                found = await self.registry.resolve(self.repository, tag)
            if found is not None:
                after[tag] = found.digest
            if found is None and tag not in self.graph.dangling:
                await self._mend_dangling(tag, after)
            elif found is not None and self.graph.tags.get(tag) != found.digest:
                await self._mend(found.digest)

        await _gather_all([look(tag) for tag in listed])
        self.run_.tags_after[self.repository] = after

    async def _mend(self, digest: Digest) -> None:
        """Put back what `digest` needs of what we deleted, deepest first."""
        if digest in self.removed:
            await self._put_back(digest, "a tag that came meanwhile needs it")
        manifest = await self.registry.manifest(self.repository, digest)
        for child in () if manifest is None else manifest.children:
            if child.digest in self.removed:
                inner = self.removed[child.digest][1]
                for grandchild in inner.children:
                    await self._mend(grandchild.digest)
                await self._put_back(child.digest, "an index that came meanwhile needs it")
            else:
                await self._mend_nested(child.digest)

    async def _mend_nested(self, digest: Digest) -> None:
        manifest = self.graph.manifests.get(digest)
        if manifest is None or manifest.children:
            await self._mend(digest)

    async def _mend_dangling(self, tag: Tag, after: dict[Tag, Digest]) -> None:
        """A listed tag that resolves to nothing: a delete cut short, or a push that a delete overtook.

        One of ours is pushed once more and deleted (no other way removes it on distribution 2.8); one that is not
        ours may name anything that we deleted: each is tried, and kept where the tag then resolves.
        """
        for digest, (step, manifest) in self.removed.items():
            if tag in step.tags:
                await self.registry.put_manifest(self.repository, tag, manifest.raw, manifest.media_type)
                await self.registry.delete_manifest(self.repository, digest)
                return
        for digest, (_, manifest) in list(self.removed.items()):
            await self.registry.put_manifest(self.repository, digest, manifest.raw, manifest.media_type)
            found = await self.registry.resolve(self.repository, tag)
            if found is not None:
                after[tag] = found.digest
                await self._put_back(digest, f"'{tag}' came meanwhile and needs it")
                return
            await self.registry.delete_manifest(self.repository, digest)

    async def _put_back(self, digest: Digest, why: str) -> None:
        step, manifest = self.removed.pop(digest)
        await self.registry.put_manifest(self.repository, digest, manifest.raw, manifest.media_type)
        self.run_.note(step, Result.LEFT, f"put back: {why}")


async def _gather_all(work: Iterable[Coroutine[None, None, None]]) -> None:
    """Wait for all of it, then raise the first error: one that fails never cancels a write in flight."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result

"""What a run looks at last, and what a run that was cut off is brought back to.

The last look finds tags that came or moved while we deleted: what they need is put back at once. `complete` finds, for
each intent whose outcome nobody noted, that it was carried out, or takes back what there was of it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from dregutil.clearing import clear_placeholders, unclear_error
from dregutil.errors import DregutilError, JournalError, LoginError, RegistryError, UnreachableError
from dregutil.graph import RepositoryGraph
from dregutil.manifest import Manifest
from dregutil.outcome import Intent, Result
from dregutil.plan import Action, Step, StepKind
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry.client import Registry
from dregutil.registry.writing import WritableRegistry
from dregutil.run import Run
from dregutil.workers import for_each

__all__ = ["Mender", "bring_company", "complete", "restore"]

_THERE_AGAIN = "is still there, or there again"
_PASSES = 3  # looks, where the one before had something to mend


class Mender:
    """The last look at one repository. `removed` is what this run deleted there.

    `all_new`: there is no earlier reading to compare with, so every tag is read.
    """

    def __init__(
        self,
        run: Run,
        repository: Repository,
        graph: RepositoryGraph,
        removed: dict[Digest, tuple[Step, Manifest]],
        *,
        all_new: bool,
    ) -> None:
        self.run = run
        self.registry = run.registry
        self.repository = repository
        self.graph = graph
        self.removed = removed
        self.before: Mapping[Tag, Digest] = {} if all_new else graph.tags
        self.after: dict[Tag, Digest] = {}
        self._mending = asyncio.Lock()

    async def last_look(self) -> Mapping[Tag, Digest]:
        """Read the tags once more; what one that came or moved needs, and we deleted, is put back.

        Returns the tags as they are then.
        """
        for _ in range(_PASSES):
            if not await self._pass():
                return self.after
        await self._tell_still_listed()
        return self.after

    async def _tell_still_listed(self) -> None:
        """On some servers (Nexus) a tag outlives its manifest whatever one does: that is no success."""
        listed = frozenset(await self.registry.tags(self.repository))
        untagged = [
            outcome.step
            for outcome in self.run.outcomes.values()
            if outcome.step.repository == self.repository
            and outcome.step.action is Action.UNTAG
            and outcome.result is Result.REMOVED
        ]
        for step in (*(step for step, _ in self.removed.values()), *untagged):
            for tag in step.tags:
                if tag in listed and await self.registry.resolve(self.repository, tag) is None:
                    why = (
                        f"its manifest is gone, and '{tag}' is still listed: remove it in the registry's own interface"
                    )
                    self.run.note(step, Result.FAILED, why)
                    break

    async def _pass(self) -> bool:
        """Look at every tag once; whether something was put and taken away again, so that another look is due."""
        listed = await self.registry.tags(self.repository)
        dangling: list[Tag] = []
        untagged = self.run.untagged[self.repository]
        self.after = {}

        async def look(tag: Tag) -> None:
            found = await self.registry.resolve(self.repository, tag)
            if found is None:
                if tag not in self.graph.dangling:
                    dangling.append(tag)
                return
            digest = await self._off_ours(tag, found.digest)
            self.after[tag] = digest
            step = untagged.get(tag)
            if step is not None and step.digest == digest:
                self.run.note(step, Result.FAILED, f"'{tag}' {_THERE_AGAIN}")
            if self.before.get(tag) != digest or digest in self.removed:
                async with self._mending:
                    await self._there_again(tag, digest)
                    await self._mend(digest)

        await for_each(listed, look)
        for tag in dangling:
            await self._mend_dangling(tag)
        self.before = {**self.after}
        return bool(dangling)

    async def vanished(self, tags: Iterable[Tag]) -> tuple[Tag, ...]:
        """Those of `tags`, which were to stay, that are nowhere now; asked for by name, since a list may omit some."""
        gone: list[Tag] = []

        async def look(tag: Tag) -> None:
            found = await self.registry.resolve(self.repository, tag)
            if found is None:
                gone.append(tag)
            else:
                self.after[tag] = found.digest

        await for_each(sorted(set(tags) - self.after.keys()), look)
        return tuple(sorted(gone))

    async def _there_again(self, tag: Tag, digest: Digest) -> None:
        """A tag that was to go with its digest, and is on it: then what refers to that stays too."""
        if digest in self.removed and tag in self.removed[digest][0].tags:
            step, _ = self.removed.pop(digest)
            self.run.note(step, Result.FAILED, f"'{tag}' {_THERE_AGAIN}")
            await self._bring_referrers(step)

    async def _off_ours(self, tag: Tag, digest: Digest) -> Digest:
        """A tag that a late write left on a manifest of our own goes back to where it was."""
        original = self.run.untagger.original(self.repository, tag, digest)
        if original is None:
            return digest
        await self.registry.put_manifest(self.repository, tag, original.raw, original.media_type)
        return original.digest

    async def _mend(self, digest: Digest) -> None:
        """Put back what `digest` needs of what we deleted."""
        if digest in self.removed:
            await self._bring_back(digest, "a tag that came meanwhile needs it")
        manifest = await self.registry.manifest(self.repository, digest)
        for child in () if manifest is None else manifest.children:
            if child.digest in self.removed:
                await self._bring_back(child.digest, "an index that came meanwhile needs it")
            else:
                await self._mend_nested(child.digest)

    async def _mend_nested(self, digest: Digest) -> None:
        manifest = self.graph.manifests.get(digest)
        if manifest is None or manifest.children:
            await self._mend(digest)

    async def _mend_dangling(self, tag: Tag) -> None:
        """A listed tag that resolves to nothing: a delete cut short, or a push that a delete overtook.

        One of ours is pushed once more and deleted (no other way removes it on distribution 2.8); one that is not
        ours may name anything that we deleted: each is tried, and kept where the tag then resolves. What is there
        again was pushed by somebody, and is not ours to take away: the next look finds its tag.
        """
        step = self.run.untagged[self.repository].get(tag)
        if step is not None:
            await self._untag_again(tag, step)
            return
        for digest, (step, manifest) in list(self.removed.items()):
            if tag in step.tags:
                if await self._is_there(digest):
                    return
                put = await self._put_whole(digest)
                await self.registry.put_manifest(self.repository, tag, manifest.raw, manifest.media_type)
                await self._take_away(put)
                return
        for digest in list(self.removed):
            if await self._is_there(digest):
                continue
            put = await self._put_whole(digest)
            found = await self.registry.resolve(self.repository, tag)
            if found is not None:
                self.after[tag] = found.digest
                self._kept(put, f"'{tag}' came meanwhile and needs it")
                return
            await self._take_away(put)

    async def _untag_again(self, tag: Tag, step: Step) -> None:
        """Where the registry took the manifest of ours on which a tag lay and failed at the tag, all begins anew: 2.8.2
        does so (status 500) while another tag of the repository is written."""
        manifest = self.graph.manifests.get(step.digest)
        if manifest is None or await self.registry.resolve(self.repository, tag) is not None:
            return  # somebody has pushed it since
        beside = tuple(other for other, digest in self.after.items() if digest == step.digest)
        try:
            await self.registry.put_manifest(self.repository, tag, manifest.raw, manifest.media_type)
            await self.run.untagger.untag(Intent(step.number, self.repository, (tag,), manifest, beside=beside))
        except (UnreachableError, LoginError, JournalError) as error:
            self.run.note(step, Result.FAILED, f"'{tag}' may be there again: {error.message}")
            raise
        except DregutilError:
            return  # the next look tells where the tag is

    async def _is_there(self, digest: Digest) -> bool:
        return await self.registry.resolve(self.repository, digest) is not None

    async def _bring_back(self, digest: Digest, why: str) -> None:
        step, _ = self.removed[digest]
        put = await self._put_whole(digest)
        steps = [self.removed[other][0] for other in put]
        self._kept(put, why)
        if put:
            for other in (step, *steps):
                await self._bring_referrers(other)

    async def _bring_referrers(self, subject: Step) -> None:
        """What referred to something that is there again, with its tags: signatures, and what refers to those."""
        for digest, (step, manifest) in list(self.removed.items()):
            refers = subject.number in step.needs and step.kind is StepKind.REFERRER
            if refers and digest in self.removed:
                await self._bring_back(digest, f"{subject.digest.short}, to which it refers, is there again")
                await restore(self.registry, self.repository, manifest, step.tags)
                self.after.update(dict.fromkeys(step.tags, digest))

    async def _put_whole(self, digest: Digest) -> list[Digest]:
        """Put a manifest back, what it needs of what we deleted first; returns what was put, in that order."""
        manifest = self.removed[digest][1]
        put: list[Digest] = []
        for child in manifest.children:
            if child.digest in self.removed and child.digest not in put and not await self._is_there(child.digest):
                put += await self._put_whole(child.digest)
        try:
            await self.registry.put_manifest(self.repository, digest, manifest.raw, manifest.media_type)
        except RegistryError:
            # What it needs is gone otherwise: it was no use to anybody, and cannot be what is missed here.
            await self._take_away(put)
            return []
        return [*put, digest]

    async def _take_away(self, put: Sequence[Digest]) -> None:
        for digest in reversed(put):
            await self.registry.delete_manifest(self.repository, digest)

    def _kept(self, put: Sequence[Digest], why: str) -> None:
        for digest in put:
            found = self.removed.pop(digest, None)
            if found is not None:
                self.run.note(found[0], Result.LEFT, f"put back: {why}")


async def complete(
    registry: WritableRegistry,
    repository: Repository,
    intents: Sequence[Intent],
    steps: Mapping[int, Step],
    settled: Collection[int],
) -> tuple[int, ...]:
    """Complete one repository's intents of a run that was cut off; returns the steps found carried out.

    What was carried out only in part is taken back, tags off our own manifests first; a step that is not settled then
    begins anew. Raises PartialError where a tag of somebody else stays on a placeholder, and DregutilError.
    """
    cleared = await clear_placeholders(registry, repository, intents)
    if cleared.unclear:
        raise unclear_error(repository, cleared.unclear)
    done: set[int] = set()

    async def look(number: int) -> None:
        step = steps[number]
        ours = of_step[number]
        manifest = ours[-1].manifest
        tags = tuple(dict.fromkeys(tag for intent in ours for tag in intent.tags))
        dangling = [tag for tag in tags if tag in names and await registry.resolve(repository, tag) is None]
        here = await registry.resolve(repository, manifest.digest) is not None
        if step.action is Action.UNTAG:
            gone = here and not await _on(registry, repository, tags)
            await restore(registry, repository, manifest, ours[-1].beside)
        else:
            gone = not here and not dangling
        if gone:
            done.add(number)
        else:
            with suppress(RegistryError):  # what it needs went otherwise: the fresh look that follows decides
                await restore(registry, repository, manifest, tags)

    names = frozenset(await registry.tags(repository))
    of_step: dict[int, list[Intent]] = defaultdict(list)
    for intent in intents:
        of_step[intent.step].append(intent)
    open_steps = [number for number in of_step if number not in settled]
    # What others need comes back last in a plan's order, so first here: children before their index.
    for number in reversed(open_steps):
        await look(number)
    return tuple(sorted(done))


async def restore(registry: WritableRegistry, repository: Repository, manifest: Manifest, tags: Sequence[Tag]) -> None:
    """Put a manifest back, and those of its tags that are nowhere now."""
    if await registry.resolve(repository, manifest.digest) is None:
        await registry.put_manifest(repository, manifest.digest, manifest.raw, manifest.media_type)
    for tag in tags:
        if await registry.resolve(repository, tag) is None:
            await registry.put_manifest(repository, tag, manifest.raw, manifest.media_type)


async def bring_company(
    registry: WritableRegistry, graph: RepositoryGraph, digest: Digest, goes: Callable[[Digest], bool]
) -> None:
    """Put back what hung on a digest that just went, and was to stay: a server may have taken it along.

    Its children, which another index needs or somebody wants kept, and what refers to it; `goes` says of a digest that
    it is to go too. `graph` is from before. Raises DregutilError.
    """
    manifest = graph.manifests.get(digest)
    children = () if manifest is None else tuple(child.digest for child in manifest.children)
    for other in (*children, *graph.referrers_of(digest)):
        held = graph.manifests.get(other)
        if held is not None and not goes(other) and await registry.resolve(graph.repository, other) is None:
            await bring_company(registry, graph, other, goes)  # what it needs comes first
            await restore(registry, graph.repository, held, graph.tags_of.get(other, ()))


async def _on(registry: Registry, repository: Repository, tags: Sequence[Tag]) -> tuple[Tag, ...]:
    return tuple([tag for tag in tags if await registry.resolve(repository, tag) is not None])

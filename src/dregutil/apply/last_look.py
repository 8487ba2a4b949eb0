"""What a run looks at last, and what a run that was cut off is brought back to.

The last look finds tags that came or moved while we deleted: what they need is put back at once. `complete` finds, for
each intent whose outcome nobody noted, that it was carried out, or takes back what there was of it.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress

from dregutil.apply.clearing import clear_placeholders, unclear_error
from dregutil.apply.dangling import clear_left_behind, find_homes
from dregutil.apply.put_back import (
    if_free,
    just_denied_twice,
    just_seen_on_placeholder,
    put_back,
    put_back_missing,
    put_back_tags,
)
from dregutil.apply.run import Run
from dregutil.errors import (
    DregutilError,
    JournalError,
    LoginError,
    OutcomeUnknownError,
    RegistryError,
    UnreachableError,
)
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Step, StepKind
from dregutil.plan.outcome import BrokenTag, Intent, LostTag, Result
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each
from dregutil.registry.writer import WritableRegistry

__all__ = ["LastLook", "bring_company", "complete"]

_THERE_AGAIN = "is still there, or there again"
_PASSES = 3  # looks, where the one before had something to mend
_LAGS = (0.5, 1.0, 1.5, 2.0)  # seconds between the lists, while one still has what is gone


class LastLook:
    """The last look at one repository. `removed` is what this run deleted there, `graph` its last live reading.

    `before` are the tags as they were first read: those that came or moved since are read, and every tag where there is
    no such reading. `dangling` named nothing then.
    """

    def __init__(
        self,
        run: Run,
        repository: Repository,
        graph: RepositoryGraph,
        removed: dict[Digest, tuple[Step, Manifest]],
        *,
        before: Mapping[Tag, Digest],
        dangling: Collection[Tag] = frozenset(),
    ) -> None:
        self.run = run
        self.registry = run.registry
        self.repository = repository
        self.graph = graph
        self.removed = removed
        self.before = before
        self._nowhere = set(dangling)  # tags that name nothing that we deleted
        self.after: dict[Tag, Digest] = {}
        self._repairing = asyncio.Lock()

    async def last_look(self, listed: Sequence[Tag]) -> Mapping[Tag, Digest]:
        """Read the tags once more; what one that came or moved needs, and we deleted, is put back.

        `listed` is the list of tags after the last DELETE. Returns the tags as they are then. Raises DregutilError.
        """
        for _ in range(_PASSES):
            dangling = await self._pass(listed)
            if not dangling:
                break
            listed = await self._listed_again(dangling)
            still = [tag for tag in dangling if tag in listed]
            if not still:
                break
            await self._repair_dangling(still)
            listed = await self.registry.tags(self.repository)
        else:
            await self._note_still_listed(listed)
        return self.after

    async def _listed_again(self, dangling: Collection[Tag]) -> tuple[Tag, ...]:
        """The list of tags, asked for again as long as it may lag behind what was removed."""
        listed = await self.registry.tags(self.repository)
        for seconds in _LAGS:
            if frozenset(dangling).isdisjoint(listed):
                break
            await asyncio.sleep(seconds)
            listed = await self.registry.tags(self.repository)
        return listed

    async def _note_still_listed(self, listed: Iterable[Tag]) -> None:
        """On some servers (Nexus) a tag outlives its manifest whatever one does."""
        own = {tag for step, _ in self.removed.values() for tag in step.tags}
        own |= self.run.untagged[self.repository].keys()
        still = [tag for tag in sorted(own & frozenset(listed)) if await self._is_gone(tag)]
        if still:
            self.run.still_listed[self.repository] = tuple(still)

    async def _is_gone(self, reference: Tag | Digest) -> bool:
        return await self.registry.resolve(self.repository, reference) is None

    async def _pass(self, listed: Sequence[Tag]) -> list[Tag]:
        """Look at every tag once; returns those that name nothing, and did when they were read first."""
        dangling: list[Tag] = []
        untagged = self.run.untagged[self.repository]
        self.after = {}

        async def look(tag: Tag) -> None:
            found = await self.registry.resolve(self.repository, tag)
            if found is None:
                if tag not in self._nowhere:
                    dangling.append(tag)
                return
            digest = await self._off_ours(tag, found.digest)
            self.after[tag] = digest
            step = untagged.get(tag)
            if step is not None and step.digest == digest:
                self._note_there_again(step, tag)
            if self.before.get(tag) != digest or digest in self.removed:
                async with self._repairing:
                    await self._there_again(tag, digest)
                    await self._repair(tag, digest)

        await for_each(listed, look)
        self.before = {**self.after}
        return sorted(dangling)

    async def vanished(self, tags: Iterable[Tag]) -> tuple[Tag, ...]:
        """Those of `tags`, which were to stay, that are nowhere now; asked for by name, since a list may omit some."""
        gone: list[Tag] = []

        async def look(tag: Tag) -> None:
            found = await self.registry.resolve(self.repository, tag)
            if found is not None:
                self.after[tag] = found.digest
            elif (self.repository, tag) not in self.run.lost:
                gone.append(tag)

        await for_each(sorted(set(tags) - self.after.keys()), look)
        return tuple(sorted(gone))

    def _note_there_again(self, step: Step, tag: Tag) -> None:
        """Where the step has failed already, that reason says more."""
        if self.run.result_of(step.number) is not Result.FAILED:
            self.run.note(step, Result.FAILED, f"'{tag}' {_THERE_AGAIN}")

    async def _there_again(self, tag: Tag, digest: Digest) -> None:
        """A tag that was to go with its digest, and is on it: then what refers to that stays too.

        Some servers have dropped the digest and answer by the tag all the same: it is put back from the record, with
        what it needs.
        """
        if digest in self.removed and tag in self.removed[digest][0].tags:
            put = await self._put(tag, digest) if await self._is_gone(digest) else []
            step, _ = self.removed.pop(digest)
            self._note_there_again(step, tag)
            self._kept(put, f"'{tag}' {_THERE_AGAIN}")
            await self._bring_referrers(tag, step)

    async def _off_ours(self, tag: Tag, digest: Digest) -> Digest:
        """A tag that a late write left on a manifest of our own goes back to where it was."""
        original = self.run.untagger.original(self.repository, tag, digest)
        if original is None:
            return digest
        await put_back_tags(self.registry, self.repository, original, (tag,), guard=just_seen_on_placeholder)
        return original.digest

    async def _repair(self, tag: Tag, digest: Digest) -> None:
        """Put back what `digest`, on which a tag is, needs of what we deleted."""
        if digest in self.removed:
            await self._bring_back(tag, digest, "a tag that came meanwhile needs it")
        manifest = await self.registry.manifest(self.repository, digest)
        for child in () if manifest is None else manifest.children:
            if child.digest in self.removed:
                await self._bring_back(tag, child.digest, "an index that came meanwhile needs it")
            else:
                await self._repair_nested(tag, child.digest)

    async def _repair_nested(self, tag: Tag, digest: Digest) -> None:
        manifest = self.graph.manifests.get(digest)
        if manifest is None or manifest.children:
            await self._repair(tag, digest)

    async def _repair_dangling(self, tags: Sequence[Tag]) -> None:
        """Listed tags that name nothing: a delete cut short, or a push that a delete overtook.

        Ours go, those of others get back what they were on.
        """
        untagged = self.run.untagged[self.repository]
        home = {tag: digest for digest, (step, _) in self.removed.items() for tag in step.tags}
        ours: dict[Digest, list[Tag]] = defaultdict(list)
        foreign = []
        for tag in tags:
            if tag in untagged:
                await self._untag_again(tag, untagged[tag])
            elif tag in home:
                ours[home[tag]].append(tag)
            else:
                foreign.append(tag)
        removed = {digest: manifest for digest, (_, manifest) in self.removed.items()}
        await clear_left_behind(self.registry, self.repository, ours, removed)
        homes = await find_homes(self.registry, self.repository, foreign, removed) if foreign else {}
        self._nowhere.update(tag for tag in foreign if tag not in homes)
        for tag, digest in homes.items():
            self.after[tag] = digest
            self._kept(self._with_children(digest), f"'{tag}' came meanwhile and needs it")

    async def _untag_again(self, tag: Tag, step: Step) -> None:
        """Where the registry took the manifest of ours on which a tag lay and failed at the tag, all begins anew: 2.8.2
        does so (status 500) while another tag of the repository is written."""
        manifest = self.graph.manifests.get(step.digest)
        if manifest is None or not await if_free(self.registry, self.repository, tag):
            return  # somebody has pushed it since
        beside = tuple(other for other, digest in self.after.items() if digest == step.digest)
        try:
            await put_back_tags(self.registry, self.repository, manifest, (tag,), guard=just_denied_twice)
            await self.run.untagger.untag(Intent(step.number, self.repository, (tag,), manifest, beside=beside))
        except (UnreachableError, LoginError, JournalError) as error:
            self.run.note(step, Result.FAILED, f"'{tag}' may be there again: {error.message}")
            raise
        except DregutilError:
            return  # the next look tells where the tag is

    async def _bring_back(self, tag: Tag, digest: Digest, why: str) -> None:
        step, _ = self.removed[digest]
        put = await self._put(tag, digest)
        steps = [self.removed[other][0] for other in put if other in self.removed]
        self._kept(put, why)
        if put:
            for other in dict.fromkeys((step, *steps)):
                await self._bring_referrers(tag, other)

    async def _put(self, tag: Tag, digest: Digest) -> list[Digest]:
        """Put back what `tag` needs; returns what was put. Where it fails, the tag is named: it is whole only once the
        run is taken up."""
        below = {other: found for other, (_, found) in self.removed.items()}
        put: list[Digest] = []
        try:
            await put_back(self.registry, self.repository, below[digest], below=below, put=put)
        except DregutilError as error:
            self.run.broken[self.repository, tag] = BrokenTag(self.repository, tag, digest, error.message)
            if isinstance(error, LoginError) or (
                isinstance(error, UnreachableError) and not isinstance(error, OutcomeUnknownError)
            ):
                raise
        return put

    async def _bring_referrers(self, tag: Tag, subject: Step) -> None:
        """What referred to something that is there again, with its tags: signatures, and what refers to those."""
        for digest, (step, manifest) in list(self.removed.items()):
            refers = subject.number in step.needs and step.kind is StepKind.REFERRER
            if refers and digest in self.removed:
                await self._bring_back(tag, digest, f"{subject.digest.short}, to which it refers, is there again")
                if digest not in self.removed:
                    await put_back_missing(self.registry, self.repository, manifest, step.tags)
                    self.after.update(dict.fromkeys(step.tags, digest))

    def _with_children(self, digest: Digest) -> list[Digest]:
        """What we deleted of a digest and of what is below it."""
        if digest not in self.removed:
            return []
        children = self.removed[digest][1].children
        return [*(below for child in children for below in self._with_children(child.digest)), digest]

    def _kept(self, put: Iterable[Digest], why: str) -> None:
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
            await put_back_missing(registry, repository, manifest, ours[-1].beside)
        else:
            gone = not here and not dangling
        if gone:
            done.add(number)
        else:
            with suppress(RegistryError):  # what it needs went otherwise: the fresh look that follows decides
                await put_back_missing(registry, repository, manifest, tags)

    names = frozenset(await registry.tags(repository))
    of_step: dict[int, list[Intent]] = defaultdict(list)
    for intent in intents:
        of_step[intent.step].append(intent)
    open_steps = [number for number in of_step if number not in settled]
    # What others need comes back last in a plan's order, so first here: children before their index.
    for number in reversed(open_steps):
        await look(number)
    return tuple(sorted(done))


async def bring_company(run: Run, graph: RepositoryGraph, digest: Digest, goes: Callable[[Digest], bool]) -> None:
    """Put back what hung on a digest that just went, and was to stay: a server may have taken it along.

    Its children, which another index needs or somebody wants kept, and what refers to it; `goes` says of a digest that
    it is to go too. `graph` is from before. A tag that is put back with them was on them then: whether it still was is
    not known, and it is named. Raises DregutilError.
    """
    manifest = graph.manifests.get(digest)
    children = () if manifest is None else tuple(child.digest for child in manifest.children)
    for other in (*children, *graph.referrers_of(digest)):
        held = graph.manifests.get(other)
        if held is not None and not goes(other) and await run.registry.resolve(graph.repository, other) is None:
            await bring_company(run, graph, other, goes)  # what it needs comes first
            for tag in await put_back_missing(run.registry, graph.repository, held, graph.tags_of.get(other, ())):
                run.note_lost(LostTag(graph.repository, tag, (digest,), mended=other))


async def _on(registry: Registry, repository: Repository, tags: Sequence[Tag]) -> tuple[Tag, ...]:
    return tuple([tag for tag in tags if await registry.resolve(repository, tag) is not None])

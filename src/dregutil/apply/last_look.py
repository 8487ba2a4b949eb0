"""The last look at a repository: which tags came, moved or vanished while the run deleted. `repair` puts back."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence

from dregutil.apply.repair import Repair
from dregutil.apply.work import Work
from dregutil.oci.names import Digest, Tag
from dregutil.registry.workers import for_each

__all__ = ["LastLook"]

_PASSES = 3  # looks, where the one before had something to repair
_LAGS = (0.5, 1.0, 1.5, 2.0)  # seconds between the lists, while one still has what is gone


class LastLook:
    """The last look at one repository.

    `before` are the tags as they were first read: those that came or moved since are read, and every tag where there is
    no such reading. `dangling` named nothing then.
    """

    def __init__(self, work: Work, *, before: Mapping[Tag, Digest], dangling: Collection[Tag] = frozenset()) -> None:
        self._work = work
        self._registry = work.run.registry
        self._repository = work.repository
        self._before = before
        self._nowhere = set(dangling)  # tags that name nothing that this run deleted
        self._after: dict[Tag, Digest] = {}
        self._repair = Repair(work, self._after)
        self._repairing = asyncio.Lock()

    async def look(self, listed: Sequence[Tag]) -> Mapping[Tag, Digest]:
        """Read the tags once more; what one that came or moved needs, and this run deleted, is put back.

        `listed` is the list of tags after the last DELETE. Returns the tags as they are then. Raises DregutilError.
        """
        for _ in range(_PASSES):
            dangling = await self._pass(listed)
            if not dangling:
                break
            listed = await self._list_again(dangling)
            self._doubt(listed)
            still = [tag for tag in dangling if tag in listed]
            if not still:
                break
            self._nowhere |= await self._repair.dangling(still)
            listed = await self._registry.tags(self._repository)
        else:
            await self._note_still_listed(listed)
        return self._after

    async def _pass(self, listed: Sequence[Tag]) -> list[Tag]:
        """Look at every tag once; returns those that name nothing, and did when they were read first."""
        dangling: list[Tag] = []
        went_alone = self._work.steps.went_alone
        self._after.clear()

        async def look(tag: Tag) -> None:
            found = await self._registry.resolve(self._repository, tag)
            if found is None:
                if tag not in self._nowhere:
                    dangling.append(tag)
                return
            digest = await self._repair.off_placeholder(tag, found.digest)
            self._after[tag] = digest
            step = went_alone.get(tag)
            if step is not None and step.digest == digest:
                self._repair.note_there_again(step, tag)
            if self._before.get(tag) != digest or digest in self._work.steps.removed:
                async with self._repairing:
                    await self._repair.tag(tag, digest)

        await for_each(listed, look)
        self._before = {**self._after}
        return sorted(dangling)

    def _doubt(self, listed: Sequence[Tag]) -> None:
        """Forget the answers about tags that a later list lacks: the list before, and these answers, may come from a
        replica that lags. `vanished` asks for them again."""
        for tag in self._after.keys() - set(listed):
            del self._after[tag]

    async def _list_again(self, dangling: Collection[Tag]) -> tuple[Tag, ...]:
        """The list of tags, asked for again as long as it may lag behind what was removed."""
        listed = await self._registry.tags(self._repository)
        for seconds in _LAGS:
            if frozenset(dangling).isdisjoint(listed):
                break
            await asyncio.sleep(seconds)
            listed = await self._registry.tags(self._repository)
        return listed

    async def _note_still_listed(self, listed: Iterable[Tag]) -> None:
        """On some servers (Nexus) a tag outlives its manifest whatever one does."""
        steps = self._work.steps
        own = {tag for state in steps.removed.values() for tag in state.step.tags} | steps.went_alone.keys()
        listed_still = sorted(own & frozenset(listed))
        still = [tag for tag in listed_still if await self._registry.resolve(self._repository, tag) is None]
        if still:
            self._work.run.still_listed[self._repository] = tuple(still)

    async def vanished(self, tags: Iterable[Tag]) -> tuple[Tag, ...]:
        """Those of `tags`, which were to stay, that are nowhere now; asked for by name, since a list may omit some."""
        gone: list[Tag] = []

        async def look(tag: Tag) -> None:
            found = await self._registry.resolve(self._repository, tag)
            if found is not None:
                self._after[tag] = found.digest
            elif (self._repository, tag) not in self._work.run.lost:
                gone.append(tag)

        await for_each(sorted(set(tags) - self._after.keys()), look)
        return tuple(sorted(gone))

"""Tags are moved onto a placeholder, which is deleted: on any server, what they stood for is not touched."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from dregutil import clock
from dregutil.apply.placeholder import Placeholder
from dregutil.apply.put_back import if_free_or_on
from dregutil.apply.untag.sweeping import (
    CheckCopies,
    Originals,
    Progress,
    Way,
    WhyLeft,
    in_groups,
    is_on,
    put_tags_back,
)
from dregutil.errors import DregutilError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent, Recorder
from dregutil.registry.writer import WritableRegistry

__all__ = ["ByPlaceholder"]

_LONG = 10.0  # seconds for which a tag lies on a placeholder, after which copies of it are looked for


async def _nothing() -> None:
    pass


class ByPlaceholder(Way):
    """Removes tags by way of a placeholder, on any server. Remembers what it moved onto each."""

    def __init__(self, registry: WritableRegistry, recorder: Recorder, progress: Progress) -> None:
        self._registry = registry
        self._recorder = recorder
        self._progress = progress
        self._moved: dict[Digest, Originals] = {}

    def original(self, repository: Repository, tag: Tag, digest: Digest) -> Manifest | None:
        """What `tag` stood for, where `digest` is a placeholder onto which it was moved."""
        return self._moved.get(digest, {}).get((repository, tag))

    async def untag(self, intent: Intent, check_copies: CheckCopies, why_left: WhyLeft) -> str:
        """See `Way`. `check_copies` is awaited only where the placeholder has to stay, or the tag lies there for longer
        than a look takes."""
        left: list[str] = []

        async def ask() -> None:
            if why := await why_left():
                left.append(why)

        await self._remove((intent,), lambda: bool(left), check_copies, look_first=False, before=ask)
        return "".join(left)

    async def sweep(self, intents: Sequence[Intent], stopped: Callable[[], bool], check_copies: CheckCopies) -> bool:
        """See `Way`. `check_copies` is awaited before the placeholder goes."""
        await self._remove(intents, stopped, check_copies, look_first=True)
        return True

    async def _remove(
        self,
        intents: Sequence[Intent],
        stopped: Callable[[], bool],
        check_copies: CheckCopies,
        *,
        look_first: bool,
        before: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        """Move the tags onto a new placeholder, and delete that; copies are looked for with `look_first`, where that
        took long, and where the tags had to be put back in any case. `before` is awaited between the intent and the
        move."""
        repository, ours, began = intents[0].repository, Placeholder.new(), clock.now()
        recorded = [replace(intent, placeholder=ours.digest) for intent in intents]
        moved = self._moved[ours.digest] = {}

        async def move(intent: Intent) -> bool:
            await before()
            return stopped() or await self._move(intent, ours, moved)

        try:
            await ours.upload_config(self._registry, repository)
            await in_groups(self._recorder, recorded, move, stopped)
            if not stopped():
                on_ours = [tag for tag in intents[0].tags if await is_on(self._registry, repository, tag, ours.digest)]
                if look_first or clock.now() - began > _LONG:
                    await check_copies(ours.digest, _by_tag(moved))
                await ours.delete(self._registry, repository)
                await self._check_gone(intents[0], ours, on_ours)
                return
        except BaseException as error:
            await asyncio.shield(self._put_back(moved, ours))
            if isinstance(error, DregutilError):
                with suppress(DregutilError):  # what it found is named, and the first error says more
                    await check_copies(ours.digest, _by_tag(moved))
            raise
        await self._put_back(moved, ours)
        await check_copies(ours.digest, _by_tag(moved))
        await ours.delete(self._registry, repository)

    async def _move(self, intent: Intent, ours: Placeholder, moved: Originals) -> bool:
        """Move the tags of an intent that are still on its digest; they are in `moved` before that. Returns True."""
        for tag in intent.tags:
            if await is_on(self._registry, intent.repository, tag, intent.manifest.digest):
                moved[intent.repository, tag] = intent.manifest
                await ours.take(self._registry, intent.repository, tag)
                self._progress.on_swept()
        return True

    async def _check_gone(self, intent: Intent, ours: Placeholder, on_ours: Sequence[Tag]) -> None:
        """Raise where a tag outlived the placeholder, or never was on it. One of `on_ours` that is on what it stood for
        has been pushed again: the server does what it accepts."""
        for tag in intent.tags:
            if await is_on(self._registry, intent.repository, tag, ours.digest) or (
                tag not in on_ours and await is_on(self._registry, intent.repository, tag, intent.manifest.digest)
            ):
                raise DregutilError(f"the tag '{tag}' could not be removed alone; it is as it was")

    async def _put_back(self, moved: Originals, ours: Placeholder) -> None:
        guard = if_free_or_on(ours.digest)
        await put_tags_back(self._registry, moved, guard=guard, on_put_back=self._progress.on_put_back)


def _by_tag(originals: Originals) -> Mapping[Tag, Manifest]:
    """What is in one repository, by its tags."""
    return {tag: manifest for (_, tag), manifest in originals.items()}

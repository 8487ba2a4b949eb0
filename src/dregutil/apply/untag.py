"""Removing tags and nothing else.

By tag where the server can. Where it answers that it cannot (distribution 2.8, Harbor, Azure, Artifactory), or calls a
tag absent that is there (old Nexus), tags are moved onto a manifest of our own that nothing else has, and that manifest
is deleted: the digest that a tag stood for is never touched.
Halfway, tags are put back. What is about to be done is recorded first, the manifest of our own included.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

from dregutil.apply.placeholder import Placeholder
from dregutil.apply.put_back import if_free, if_free_or_on, just_untagged, put_back, put_back_tags
from dregutil.errors import DregutilError, OutcomeUnknownError, ProtocolError, RegistryError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent, Recorder
from dregutil.registry.workers import for_each
from dregutil.registry.writer import WritableRegistry

_Originals = dict[tuple[Repository, Tag], Manifest]  # what tags stood for before they were taken
# Told of a manifest of our own that is about to go, and of what the tags stood for that we moved onto it.
CheckOurs = Callable[[Digest, Mapping[Tag, Manifest]], Awaitable[None]]


async def _no_check(_: Digest, __: Mapping[Tag, Manifest]) -> None:
    pass


__all__ = ["CheckOurs", "Untagger"]

_AT_ONCE = 16
_GROUP = 256  # intents recorded together


def _by_tag(originals: _Originals) -> Mapping[Tag, Manifest]:
    """What is in one repository, by its tags."""
    return {tag: manifest for (_, tag), manifest in originals.items()}


class Untagger:
    """Untags on one registry, and remembers what it learnt about it: whether deletion by tag works there."""

    def __init__(self, registry: WritableRegistry, recorder: Recorder) -> None:
        self._registry = registry
        self._recorder = recorder
        self._by_tag = True
        self.on_swept: Callable[[], None] = lambda: None  # told of each tag that a sweep takes
        self.on_put_back: Callable[[], None] = lambda: None  # and of each that is put back, where it ends early
        self._ours: dict[Digest, _Originals] = {}

    def original(self, repository: Repository, tag: Tag, digest: Digest) -> Manifest | None:
        """What `tag` stood for, where `digest` is a manifest of our own that it was moved onto."""
        return self._ours.get(digest, {}).get((repository, tag))

    async def untag(self, intent: Intent, check_ours: CheckOurs = _no_check) -> str:
        """Remove the one tag of `intent`; those beside it stay. Returns why not, or an empty string.

        `check_ours` is awaited where a manifest of our own has to stay.

        Raises DregutilError where the registry did not do as asked; the tag, or what it took along, was put back.
        """
        (tag,) = intent.tags
        found = await self._registry.resolve(intent.repository, tag)
        if found is not None and found.digest == intent.manifest.digest and self._by_tag:
            await self._recorder.intend(intent)
            found = await self._registry.resolve(intent.repository, tag)  # nobody waits for our disk
        if found is None:
            return ""
        if found.digest != intent.manifest.digest:
            return f"'{tag}' has moved to {found.digest.short}"
        if self._by_tag and await self._delete_by_tag(intent, tag):
            return ""
        # One tag lies there for no longer than a look takes: a copy is looked for only where it stays there.
        await self._delete_by_placeholder((intent,), lambda: False, check_ours, look_first=False)
        return ""

    async def untag_first(self, intent: Intent) -> bool:
        """Remove the tags of an intent that is recorded, by name; False where the server cannot, or one has moved.

        For servers that delete a digest only without tags. Raises DregutilError.
        """
        for tag in intent.tags:
            found = await self._registry.resolve(intent.repository, tag)
            if found is not None and found.digest != intent.manifest.digest:
                return False
            if found is not None and await self._registry.delete_tag(intent.repository, tag) is None:
                return False
        return True

    @property
    def goes_by_tag(self) -> bool:
        """Whether the server is thought to delete a tag by its name."""
        return self._by_tag

    async def untag_doomed(
        self, intents: Sequence[Intent], stopped: Callable[[], bool], check_ours: CheckOurs = _no_check
    ) -> None:
        """Remove all tags of `intents`, whose manifests go afterwards: one sweep instead of one for each digest.

        A tag that has moved is left. `stopped` is asked between requests; where it says so, and where the registry
        refuses, everything is as it was. `check_ours` is awaited before a manifest of our own goes.

        Raises DregutilError.
        """
        if not intents or (self._by_tag and await self._sweep_by_tag(intents, stopped)):
            return
        await self._delete_by_placeholder(intents, stopped, check_ours)

    async def _sweep_by_tag(self, intents: Sequence[Intent], stopped: Callable[[], bool]) -> bool:
        """By tag; False where this server cannot."""
        taken: _Originals = {}

        async def delete(intent: Intent) -> bool:
            for tag in intent.tags:
                if await self._is_on(intent, tag):
                    taken[intent.repository, tag] = intent.manifest
                    accepted = await self._registry.delete_tag(intent.repository, tag)
                    if not accepted and (accepted is None or await self._is_on(intent, tag)):
                        del taken[intent.repository, tag]  # whoever takes it now is somebody else
                        self._by_tag = False
                        return False
                    self.on_swept()
            return True

        try:
            await self._recorder.intend(intents[0])
            if not await delete(intents[0]):
                await self._put_back(taken)
                return False
            await self._in_groups(intents[1:], delete, stopped)
            if not stopped():
                return True
        except BaseException:
            await asyncio.shield(self._put_back(taken))
            raise
        await self._put_back(taken)
        return True

    async def _in_groups(
        self, intents: Sequence[Intent], act: Callable[[Intent], Awaitable[bool]], stopped: Callable[[], bool]
    ) -> None:
        """Record a group, then act on each of it, a few at once."""

        async def unless_stopped(intent: Intent) -> None:
            if not stopped():
                await act(intent)

        for start in range(0, len(intents), _GROUP):
            group = intents[start : start + _GROUP]
            if stopped():
                return
            await self._recorder.intend(*group)
            await for_each(group, unless_stopped, at_once=_AT_ONCE)

    async def _delete_by_tag(self, intent: Intent, tag: Tag) -> bool:
        repository, manifest = intent.repository, intent.manifest
        try:
            accepted = await self._registry.delete_tag(repository, tag)
            if not accepted and (accepted is None or await self._is_on(intent, tag)):
                self._by_tag = False
                return False
        except OutcomeUnknownError:
            if await self._registry.resolve(repository, tag) is not None:
                raise
        lost = [other for other in intent.beside if await self._registry.resolve(repository, other) is None]
        if lost or await self._registry.resolve(repository, manifest.digest) is None:
            self._by_tag = False
            if not intent.beside:
                await self._keep_untagged(intent, tag)
                return True
            left = await put_back(self._registry, repository, manifest, lost, below={})
            but = f", but '{left[0]}', which names something else by now" if left else ""
            raise DregutilError(
                f"deleting the tag '{tag}' took its whole manifest; that and its other tags were put back{but}",
                advice="this registry has no safe way to remove one tag of several",
            )
        if await self._is_on(intent, tag):
            raise DregutilError(f"the registry accepted the deletion of the tag '{tag}', and it is still there")
        return True

    async def _keep_untagged(self, intent: Intent, tag: Tag) -> None:
        """Put a manifest back that went with its only tag.

        Raises DregutilError where this registry keeps none without a tag; the tag is on it again then.
        """
        repository, manifest = intent.repository, intent.manifest
        try:
            await put_back(self._registry, repository, manifest, below={})
        except (RegistryError, ProtocolError) as error:
            await put_back_tags(self._registry, repository, manifest, (tag,), guard=just_untagged)
            raise DregutilError(
                f"this registry keeps no manifest without a tag: '{tag}' was put back; without --untag both go"
            ) from error

    async def _is_on(self, intent: Intent, tag: Tag) -> bool:
        """Whether a tag stands for the manifest of `intent` now."""
        return await self._is_at(intent.repository, tag, intent.manifest.digest)

    async def _delete_by_placeholder(
        self, intents: Sequence[Intent], stopped: Callable[[], bool], check_ours: CheckOurs, *, look_first: bool = True
    ) -> None:
        """Move the tags onto a manifest of our own, and delete that: once somebody has looked (`check_ours`) that no
        copy of one of them is on it, and where they had to be put back in any case."""
        repository = intents[0].repository
        ours = Placeholder.new()
        recorded = [replace(intent, placeholder=ours.digest) for intent in intents]
        moved = self._ours[ours.digest] = {}

        async def move(intent: Intent) -> bool:
            for tag in intent.tags:
                found = await self._registry.resolve(repository, tag)
                if found is not None and found.digest == intent.manifest.digest:
                    moved[repository, tag] = intent.manifest
                    await ours.take(self._registry, repository, tag)
                    self.on_swept()
            return True

        try:
            await ours.upload_config(self._registry, repository)
            await self._in_groups(recorded, move, stopped)
            if not stopped():
                on_ours = [tag for tag in recorded[0].tags if await self._is_at(repository, tag, ours.digest)]
                if look_first:
                    await check_ours(ours.digest, _by_tag(moved))
                await ours.delete(self._registry, repository)
                await self._check_gone(recorded[0], ours, on_ours)
                return
        except BaseException as error:
            await asyncio.shield(self._put_back(moved, ours.digest))
            if isinstance(error, DregutilError):
                with suppress(DregutilError):  # what it found is named, and the first error says more
                    await check_ours(ours.digest, _by_tag(moved))
            raise
        await self._put_back(moved, ours.digest)
        await check_ours(ours.digest, _by_tag(moved))
        await ours.delete(self._registry, repository)

    async def _check_gone(self, intent: Intent, ours: Placeholder, on_ours: Sequence[Tag]) -> None:
        """Raise where a tag outlived the manifest of our own, or never was on it. One of `on_ours` that is on what it
        stood for has been pushed again: the server does what it accepts."""
        for tag in intent.tags:
            if await self._is_at(intent.repository, tag, ours.digest) or (
                tag not in on_ours and await self._is_on(intent, tag)
            ):
                raise DregutilError(f"the tag '{tag}' could not be removed alone; it is as it was")

    async def _is_at(self, repository: Repository, tag: Tag, digest: Digest) -> bool:
        found = await self._registry.resolve(repository, tag)
        return found is not None and found.digest == digest

    async def _put_back(self, originals: _Originals, ours: Digest | None = None) -> None:
        """Point the tags at their own manifests again, unless somebody has moved them meanwhile."""
        guard = if_free if ours is None else if_free_or_on(ours)

        async def put(entry: tuple[tuple[Repository, Tag], Manifest]) -> None:
            (repository, tag), manifest = entry
            await put_back_tags(self._registry, repository, manifest, (tag,), guard=guard)
            self.on_put_back()

        await for_each(originals.items(), put, at_once=_AT_ONCE)

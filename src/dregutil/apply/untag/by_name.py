"""A tag is deleted by its name, where the server can.

It cannot where it says so (distribution 2.8, Harbor, Azure, Artifactory), or calls a tag absent that is there (old
Nexus). Some servers take the whole manifest, or one that has no other tag: it comes back.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from dregutil.apply.put_back import if_free, put_back, put_back_tags
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
from dregutil.errors import DregutilError, OutcomeUnknownError, ProtocolError, RegistryError
from dregutil.oci.names import Tag
from dregutil.plan.outcome import Intent, Recorder
from dregutil.registry.writer import WritableRegistry

__all__ = ["ByName"]


class ByName(Way):
    """Deletes tags by their names."""

    def __init__(self, registry: WritableRegistry, recorder: Recorder, progress: Progress) -> None:
        self._registry = registry
        self._recorder = recorder
        self._progress = progress
        self._keeps_others = False  # the server has shown that a tag goes alone

    async def untag(
        self,
        intent: Intent,
        check_copies: CheckCopies,  # noqa: ARG002 - there are no copies
        why_left: WhyLeft,
    ) -> str | None:
        """See `Way`."""
        (tag,) = intent.tags
        await self._recorder.intend(intent)
        if why := await why_left():
            return why
        found = await self._registry.resolve(intent.repository, tag)  # other users push while the intent is written
        if found is None:
            return ""
        if found.digest != intent.manifest.digest:
            return f"'{tag}' has moved to {found.digest.short}"
        return "" if await self._delete(intent, tag) else None

    async def untag_recorded(self, intent: Intent) -> bool:
        """Remove the tags of an intent that is recorded; False where the server cannot, or one has moved.

        For servers that delete a digest only without tags. Raises DregutilError.
        """
        for tag in intent.tags:
            found = await self._registry.resolve(intent.repository, tag)
            if found is not None and found.digest != intent.manifest.digest:
                return False
            if found is not None and await self._delete_unless_gone(intent, tag) is None:
                return False
        return True

    async def _delete_unless_gone(self, intent: Intent, tag: Tag) -> bool | None:
        """As `WritableRegistry.delete_tag`; an answer that is lost is no error where the tag is gone."""
        try:
            return await self._registry.delete_tag(intent.repository, tag)
        except OutcomeUnknownError:
            if await self._registry.resolve(intent.repository, tag) is not None:
                raise
            return True

    async def sweep(
        self,
        intents: Sequence[Intent],
        stopped: Callable[[], bool],
        check_copies: CheckCopies,  # noqa: ARG002 - nothing is copied from a tag that is gone
    ) -> bool:
        """See `Way`. The first intent alone shows whether the server can."""
        taken: Originals = {}

        async def delete(intent: Intent) -> bool:
            for tag in intent.tags:
                if await self._is_on(intent, tag):
                    taken[intent.repository, tag] = intent.manifest
                    if not await self._is_accepted(intent, tag):
                        del taken[intent.repository, tag]  # not removed by this run
                        return False
                    self._progress.on_swept()
            return True

        try:
            await self._recorder.intend(intents[0])
            if not await delete(intents[0]):
                await self._put_back(taken)
                return False
            await in_groups(self._recorder, intents[1:], delete, stopped)
            if not stopped():
                return True
        except BaseException:
            await asyncio.shield(self._put_back(taken))
            raise
        await self._put_back(taken)
        return True

    async def _is_accepted(self, intent: Intent, tag: Tag) -> bool:
        """Delete a tag; False where the server cannot, which is remembered. Raises DregutilError."""
        accepted = await self._registry.delete_tag(intent.repository, tag)
        if not accepted and (accepted is None or await self._is_on(intent, tag)):
            self._registry.deletes_tags = False
            return False
        return True

    async def _delete(self, intent: Intent, tag: Tag) -> bool:
        """Delete the one tag of an intent, and look at what went with it. False where the server cannot."""
        repository, manifest = intent.repository, intent.manifest
        try:
            if not await self._is_accepted(intent, tag):
                return False
        except OutcomeUnknownError:
            if await self._registry.resolve(repository, tag) is not None:
                raise
        lost = [other for other in intent.beside if await self._registry.resolve(repository, other) is None]
        is_gone = await self._registry.resolve(repository, manifest.digest) is None
        if lost and not is_gone and self._keeps_others:
            lost = []  # another user deleted it or moved it onto a digest that goes: the looks at the tags name it
        if lost or is_gone:
            self._registry.deletes_tags = False
            if not intent.beside:
                await self._keep_untagged(intent, tag)
                return True
            left = await put_back(self._registry, repository, manifest, lost, below={})
            but = f", but '{left[0]}', which names something else by now" if left else ""
            raise DregutilError(
                f"deleting the tag '{tag}' took its whole manifest; that and its other tags were put back{but}",
                advice="this registry has no safe way to remove one tag of several",
            )
        self._keeps_others = self._keeps_others or bool(intent.beside)
        if await self._is_on(intent, tag):
            raise DregutilError(f"the registry accepted the deletion of the tag '{tag}', and it is still there")
        return True

    async def _keep_untagged(self, intent: Intent, tag: Tag) -> None:
        """Put a manifest back that went with its only tag.

        Raises DregutilError where this registry keeps none without a tag; the tag is on it again then, unless it was
        pushed meanwhile.
        """
        repository, manifest = intent.repository, intent.manifest
        try:
            await put_back(self._registry, repository, manifest, below={})
        except (RegistryError, ProtocolError) as error:
            put = await put_back_tags(self._registry, repository, manifest, (tag,), guard=if_free)
            back = "was put back" if put else "names something else by now"
            raise DregutilError(
                f"this registry keeps no manifest without a tag: '{tag}' {back}; without --untag both go"
            ) from error

    async def _is_on(self, intent: Intent, tag: Tag) -> bool:
        return await is_on(self._registry, intent.repository, tag, intent.manifest.digest)

    async def _put_back(self, taken: Originals) -> None:
        await put_tags_back(self._registry, taken, guard=if_free, on_put_back=self._progress.on_put_back)

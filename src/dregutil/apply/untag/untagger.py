"""Removes tags on one registry, by the shortest way that the server has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from dregutil.apply.untag.by_name import ByName
from dregutil.apply.untag.by_placeholder import ByPlaceholder
from dregutil.apply.untag.sweeping import CheckCopies, Progress, WhyLeft
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent, Recorder
from dregutil.registry.writer import WritableRegistry

__all__ = ["Untagger"]


async def _no_check(_: Digest, __: Mapping[Tag, Manifest]) -> None:
    pass


async def _not_left() -> str:
    return ""


class Untagger:
    """Removes tags by name as long as the registry is thought to do that, else by way of a placeholder."""

    def __init__(self, registry: WritableRegistry, recorder: Recorder) -> None:
        self.progress = Progress()
        self._registry = registry
        self._by_name = ByName(registry, recorder, self.progress)
        self._by_placeholder = ByPlaceholder(registry, recorder, self.progress)

    def original(self, repository: Repository, tag: Tag, digest: Digest) -> Manifest | None:
        """What `tag` stood for, where `digest` is a placeholder onto which this run moved it."""
        return self._by_placeholder.original(repository, tag, digest)

    async def untag(self, intent: Intent, check_copies: CheckCopies = _no_check, why_left: WhyLeft = _not_left) -> str:
        """Remove the one tag of `intent`; those beside it stay. Returns why not, or an empty string.

        `check_copies` is awaited where a placeholder has to stay, `why_left` once the intent is durable. Raises
        DregutilError where the registry did not do as asked; the tag, or what it took along, was put back.
        """
        (tag,) = intent.tags
        found = await self._registry.resolve(intent.repository, tag)
        if found is None:
            return ""
        if found.digest != intent.manifest.digest:
            return f"'{tag}' has moved to {found.digest.short}"
        why = await self._by_name.untag(intent, check_copies, why_left) if self._registry.deletes_tags else None
        return await self._by_placeholder.untag(intent, check_copies, why_left) if why is None else why

    async def untag_recorded(self, intent: Intent) -> bool:
        """Remove the tags of an intent that is recorded, by name; False where the server cannot, or one has moved.

        For servers that delete a digest only without tags. Raises DregutilError.
        """
        return await self._by_name.untag_recorded(intent)

    async def sweep(
        self, intents: Sequence[Intent], stopped: Callable[[], bool], check_copies: CheckCopies = _no_check
    ) -> bool:
        """Remove all tags of `intents`, whose manifests go afterwards: one sweep instead of one for each digest.

        Returns whether they went by their names. A tag that has moved is left. `stopped` is asked between requests;
        where it says so, and where the registry refuses, everything is as it was. `check_copies` is awaited before a
        placeholder goes. Raises DregutilError.
        """
        if not intents:
            return False
        if self._registry.deletes_tags and await self._by_name.sweep(intents, stopped, check_copies):
            return True
        await self._by_placeholder.sweep(intents, stopped, check_copies)
        return False

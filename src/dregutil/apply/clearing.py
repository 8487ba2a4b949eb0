"""What an interrupted run left on its placeholders goes back to where it was, and then the placeholders are deleted.

A placeholder stays as long as a tag is on it that the run did not move there: another user copied one of its tags. The
copy gets what the copied tag stood for; where that may be one of several images, the copy is named and left.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from dregutil.apply.put_back import just_seen_on_placeholder, put_back_tags
from dregutil.errors import PartialError, RegistryError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Intent
from dregutil.registry.absence import denied_twice
from dregutil.registry.workers import for_each
from dregutil.registry.writer import WritableRegistry

__all__ = ["UNCLEAR_ADVICE", "Cleared", "clear_placeholders", "unclear_error", "unclear_text"]

UNCLEAR_ADVICE = "push to that tag what it is to name, or delete the tag; then go on with the run"
_MOST_NAMED = 3
_NEEDS_WHAT_IS_GONE = 400  # the status of MANIFEST_BLOB_UNKNOWN


@dataclass(frozen=True, slots=True)
class Cleared:
    """Tags of others that were on placeholders: `repaired`, with what they name now, and `unclear`, with what they may
    stand for. The placeholder of an unclear tag stays."""

    repaired: Mapping[Tag, Digest] = field(default_factory=dict)
    unclear: Mapping[Tag, tuple[Digest, ...]] = field(default_factory=dict)


async def clear_placeholders(registry: WritableRegistry, repository: Repository, intents: Sequence[Intent]) -> Cleared:
    """Move tags off the placeholders that `intents` name, back to their own manifests, and delete the placeholders.

    Raises DregutilError.
    """
    repaired: dict[Tag, Digest] = {}
    unclear: dict[Tag, tuple[Digest, ...]] = {}
    for digest in dict.fromkeys(intent.placeholder for intent in intents if intent.placeholder is not None):
        if await registry.resolve(repository, digest) is None:
            continue
        work = _Clearing(registry, repository, digest, [one for one in intents if one.placeholder == digest])
        await work.clear()
        repaired |= work.repaired
        unclear |= work.unclear
    return Cleared(repaired, unclear)


def unclear_text(repository: Repository, tag: Tag, candidates: Sequence[Digest]) -> str:
    """The message about a tag of others that stays on a placeholder."""
    named = " or ".join(digest.short for digest in candidates[:_MOST_NAMED])
    more = len(candidates) - _MOST_NAMED
    others = f" or one of {more:,} others" if more > 0 else ""
    return f"{repository}:{tag} was copied from a tag of the interrupted run; it may stand for {named}{others}"


def unclear_error(repository: Repository, unclear: Mapping[Tag, Sequence[Digest]]) -> PartialError:
    """The error that ends the work on a repository with `unclear` tags."""
    texts = [unclear_text(repository, tag, candidates) for tag, candidates in sorted(unclear.items())]
    return PartialError("; ".join(texts), advice=UNCLEAR_ADVICE)


class _Clearing:
    """One placeholder, and the `intents` that name it."""

    def __init__(
        self, registry: WritableRegistry, repository: Repository, digest: Digest, intents: Sequence[Intent]
    ) -> None:
        self.registry = registry
        self.repository = repository
        self.digest = digest
        self.intents = intents
        self.own = {tag for intent in intents for tag in intent.tags}
        self.moved: dict[Digest, Manifest] = {}  # what the tags that are still on the placeholder stood for
        self.repaired: dict[Tag, Digest] = {}
        self.unclear: dict[Tag, tuple[Digest, ...]] = {}

    async def clear(self) -> None:
        await for_each(self.intents, self._move_back)
        looked_at: set[Tag] = set()
        while True:
            # Until no tag is new, so that as little time as possible lies between the last look and the deletion.
            new = set(await self.registry.tags(self.repository)) - self.own - looked_at
            if not new:
                break
            looked_at |= new
            for tag in await self._on_placeholder(new, listed=True):
                await self._repair(tag)
        if not self.unclear:
            await self.registry.delete_manifest(self.repository, self.digest)

    async def _move_back(self, intent: Intent) -> None:
        for tag in await self._on_placeholder(intent.tags):
            self.moved[intent.manifest.digest] = intent.manifest
            await self._put(tag, intent.manifest)

    async def _on_placeholder(self, tags: Collection[Tag], *, listed: bool = False) -> list[Tag]:
        """Those of `tags` that are on it. Where they are `listed`, a replica that denies one is asked once more."""
        found: list[Tag] = []

        async def read(tags: Collection[Tag]) -> list[Tag]:
            denied: list[Tag] = []

            async def look(tag: Tag) -> None:
                resolved = await self.registry.resolve(self.repository, tag)
                if resolved is None:
                    denied.append(tag)
                elif resolved.digest == self.digest:
                    found.append(tag)

            await for_each(tags, look)
            return denied

        await (denied_twice(tags, read) if listed else read(tags))
        return sorted(found)

    async def _repair(self, tag: Tag) -> None:
        """Give a copied tag what the tag stood for that it was copied from."""
        # An earlier attempt may have moved them all back: then it may have been any of them.
        candidates = self.moved or {intent.manifest.digest: intent.manifest for intent in self.intents}
        if len(candidates) == 1:
            (manifest,) = candidates.values()
            if await self._put(tag, manifest):
                self.repaired[tag] = manifest.digest
                return
        self.unclear[tag] = tuple(candidates)

    async def _put(self, tag: Tag, manifest: Manifest) -> bool:
        """Put a tag on its manifest; False where the registry has collected what that needs."""
        try:
            await put_back_tags(self.registry, self.repository, manifest, (tag,), guard=just_seen_on_placeholder)
        except RegistryError as error:
            if error.status != _NEEDS_WHAT_IS_GONE:
                raise
            return False
        return True

"""What a run that was cut off may have taken along without noting it: tags that were moved just before a DELETE."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import LostTag, Unanswered
from dregutil.registry.absence import denied_twice
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["lost_when_cut_off"]

_CUT_OFF = "the run was cut off then, and somebody may have removed the tag since"


async def lost_when_cut_off(registry: Registry, repository: Repository, unanswered: Unanswered) -> tuple[LostTag, ...]:
    """The tags that were to stay and are gone, with the digests that went since the run's last look.

    Empty where none of these digests is gone: then another user removed the tags. Raises DregutilError.
    """

    async def read(tags: Collection[Tag]) -> frozenset[Tag]:
        unlisted = frozenset(tags) - frozenset(await registry.tags(repository))
        return unlisted - await _there(registry, repository, unlisted)

    missing = await denied_twice(unanswered.stays, read)
    if not missing:
        return ()
    candidates = tuple(sorted(unanswered.digests - await _there(registry, repository, unanswered.digests)))
    return tuple(LostTag(repository, tag, candidates, why=_CUT_OFF) for tag in sorted(missing)) if candidates else ()


async def _there(
    registry: Registry, repository: Repository, references: Collection[Tag] | Collection[Digest]
) -> frozenset[Tag | Digest]:
    """Those of `references` that resolve."""
    found: set[Tag | Digest] = set()
    waiting: Sequence[Tag | Digest] = sorted(references)

    async def ask(reference: Tag | Digest) -> None:
        if await registry.find(repository, reference) is not None:
            found.add(reference)

    await for_each(waiting, ask)
    return frozenset(found)

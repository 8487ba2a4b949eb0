"""One manifest → registry again, as it was: what it needs first, then itself, read back, then its tags."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from dregutil.apply.free_tags import look_twice
from dregutil.errors import ProtocolError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.writer import WritableRegistry

__all__ = ["bring_back"]

_PAUSE = 1.0  # seconds until tags that name something else are asked for again: a replica may not know that they went


async def bring_back(
    registry: WritableRegistry,
    repository: Repository,
    manifest: Manifest,
    tags: Sequence[Tag] = (),
    *,
    below: Mapping[Digest, Manifest],
    put: list[Digest] | None = None,
    over: Digest | None = None,
) -> tuple[Tag, ...]:
    """Put a manifest back by its digest, the children of it that `below` has and that are missing first, then `tags`.

    What was put is read back and compared. `put` takes the digests in the order in which they were put, also where an
    error ends it. A tag that names anything else by now, but for `over`, is left alone, and returned. Raises
    DregutilError.
    """
    put = [] if put is None else put
    for child in manifest.children:
        held = below.get(child.digest)
        if held is not None and child.digest not in put and await registry.resolve(repository, child.digest) is None:
            await bring_back(registry, repository, held, below=below, put=put)
    await registry.put_manifest(repository, manifest.digest, manifest.raw, manifest.media_type)
    put.append(manifest.digest)
    if await registry.manifest(repository, manifest.digest) is None:
        raise ProtocolError(f"the registry accepted {manifest.digest.short} of {repository}, and does not have it")
    left = await _put_tags(registry, repository, manifest, tags, over)
    if left:
        await asyncio.sleep(_PAUSE)
        left = await _put_tags(registry, repository, manifest, left, over)
    return left


async def _put_tags(
    registry: WritableRegistry, repository: Repository, manifest: Manifest, tags: Sequence[Tag], over: Digest | None
) -> tuple[Tag, ...]:
    """Put those of `tags` that nobody seems to have pushed since; returns the others."""
    left = []
    for tag in tags:
        now = await look_twice(registry, repository, tag)
        if now is not None and now.digest not in (manifest.digest, over):
            left.append(tag)
            continue
        await registry.put_manifest(repository, tag, manifest.raw, manifest.media_type)
        found = await registry.resolve(repository, tag)
        if found is None or found.digest != manifest.digest:
            raise ProtocolError(f"the registry accepted {repository}:{tag}, and it is not on {manifest.digest.short}")
    return tuple(left)

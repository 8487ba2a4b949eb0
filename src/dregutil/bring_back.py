"""One manifest → registry again, as it was: what it needs first, then itself, read back, then its tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dregutil.errors import ProtocolError
from dregutil.manifest import Manifest
from dregutil.reference import Digest, Repository, Tag
from dregutil.registry.writing import WritableRegistry

__all__ = ["bring_back"]


async def bring_back(
    registry: WritableRegistry,
    repository: Repository,
    manifest: Manifest,
    tags: Sequence[Tag] = (),
    *,
    below: Mapping[Digest, Manifest],
    put: list[Digest] | None = None,
    over: Digest | None = None,
) -> None:
    """Put a manifest back by its digest, the children of it that `below` has and that are missing first, then `tags`.

    What was put is read back and compared. `put` takes the digests in the order in which they were put, also where an
    error ends it. A tag that names anything else by now, but for `over`, is left alone. Raises DregutilError.
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
    for tag in tags:
        now = await registry.resolve(repository, tag)
        if now is not None and now.digest not in (manifest.digest, over):
            continue  # somebody has pushed it since
        await registry.put_manifest(repository, tag, manifest.raw, manifest.media_type)
        found = await registry.resolve(repository, tag)
        if found is None or found.digest != manifest.digest:
            raise ProtocolError(f"the registry accepted {repository}:{tag}, and it is not on {manifest.digest.short}")

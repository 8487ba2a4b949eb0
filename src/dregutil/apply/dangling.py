"""Tags that are listed and name nothing: left behind by a removal, or pushed during a DELETE."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress

from dregutil.apply.put_back import if_free, put_back
from dregutil.errors import RegistryError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.workers import for_each
from dregutil.registry.writer import WritableRegistry

__all__ = ["clear_left_behind", "find_homes"]

_AT_ONCE = 16
_DELETES_AT_ONCE = 4  # a server may read every tag of the repository for each
_CHUNK = 64  # manifests that are there for a moment, to see what resolves then


async def clear_left_behind(
    registry: WritableRegistry,
    repository: Repository,
    tags: Mapping[Digest, Sequence[Tag]],
    removed: Mapping[Digest, Manifest],
) -> None:
    """Remove tags whose digest went by a DELETE that was cut short: it is put once more under them, and deleted.

    No other way removes them on distribution 2.8. A digest that is there again was pushed by another user, and stays.
    Raises DregutilError.
    """

    async def clear(digest: Digest) -> None:
        if await registry.resolve(repository, digest) is not None:
            return
        # A replica that lags denies a tag that another user has pushed: that one is not put over.
        free = [tag for tag in tags[digest] if await if_free(registry, repository, tag)]
        if not free:
            return
        put: list[Digest] = []
        with suppress(RegistryError):  # the registry has collected what it needs
            await put_back(registry, repository, removed[digest], free, below=removed, put=put)
        await _take_away(registry, repository, put, removed)

    await for_each(tags, clear, at_once=_AT_ONCE)


async def find_homes(
    registry: WritableRegistry, repository: Repository, tags: Sequence[Tag], removed: Mapping[Digest, Manifest]
) -> Mapping[Tag, Digest]:
    """Find what `tags`, which name nothing, were on: each of `removed` is put back for a moment, many at a time.

    Those on which a tag is then found stay, with what they need; returned as digests by tag. A tag that is no longer
    listed is not looked for. The number of requests grows with the digests, not with the tags. Raises DregutilError.
    """
    homes: dict[Tag, Digest] = {}
    for chunk in _chunks([*removed][::-1]):
        listed = frozenset(await registry.tags(repository))
        waiting = [tag for tag in tags if tag in listed and tag not in homes]
        if not waiting:
            break
        homes.update(await _try(registry, repository, waiting, {digest: removed[digest] for digest in chunk}, removed))
    return homes


async def _try(
    registry: WritableRegistry,
    repository: Repository,
    tags: Sequence[Tag],
    chunk: Mapping[Digest, Manifest],
    removed: Mapping[Digest, Manifest],
) -> Mapping[Tag, Digest]:
    put: list[Digest] = []

    async def put_one(digest: Digest) -> None:
        if await registry.resolve(repository, digest) is not None:
            return  # another user has pushed it: then the tag is on something else
        own: list[Digest] = []
        with suppress(RegistryError):  # the registry has collected what it needs: no tag can use it
            await put_back(registry, repository, chunk[digest], below=removed, put=own)
        put.extend(digest for digest in own if digest not in put)

    found: dict[Tag, Digest] = {}

    async def look(tag: Tag) -> None:
        now = await registry.resolve(repository, tag)
        if now is not None:
            found[tag] = now.digest

    try:
        await for_each(chunk, put_one, at_once=_AT_ONCE)
        await for_each(tags, look, at_once=_AT_ONCE)
    finally:
        needed = set(found.values())
        pending = [digest for digest in needed if digest in removed]
        while pending:
            children = {child.digest for child in removed[pending.pop()].children} - needed
            needed |= children
            pending += [child for child in children if child in removed]
        await _take_away(registry, repository, [digest for digest in put if digest not in needed], removed)
    return found


async def _take_away(
    registry: WritableRegistry, repository: Repository, put: Sequence[Digest], removed: Mapping[Digest, Manifest]
) -> None:
    """Delete what was put: what needs the others first, then what has no children, a few at once."""
    for digest in reversed(put):
        if removed[digest].children:
            await registry.delete_manifest(repository, digest)
    childless = [digest for digest in put if not removed[digest].children]
    await for_each(childless, lambda digest: registry.delete_manifest(repository, digest), at_once=_DELETES_AT_ONCE)


def _chunks(digests: Sequence[Digest]) -> Iterator[Sequence[Digest]]:
    for start in range(0, len(digests), _CHUNK):
        yield digests[start : start + _CHUNK]

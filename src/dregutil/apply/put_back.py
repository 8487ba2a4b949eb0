"""Putting back manifests and tags as they were: every PUT of a manifest that was there before is in this module.

Children come first, then the manifest itself by its digest, then its tags, so that no tag ever names what is not whole.
The bytes are those that the registry gave, or that the record has; they are never serialized again.

A tag is put only where its guard allows it, since another user may have pushed it meanwhile:

    if_free                    two requests in a row deny the tag
    if_free_or_on(digests)     or it names one of these: the manifest itself, or a placeholder of this run
    just_seen_on_placeholder   no request: the caller has just read the tag on a placeholder
    just_denied_twice          no request: the caller has just asked as `if_free` does

A push between the answer to a guard and the PUT, which follows at once, is overwritten: the API has no conditional PUT.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import nullcontext

from dregutil.errors import ProtocolError, RegistryError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.registry.absence import denied_again, find_twice
from dregutil.registry.workers import for_each
from dregutil.registry.writer import WritableRegistry

__all__ = [
    "Guard",
    "if_free",
    "if_free_or_on",
    "just_denied_twice",
    "just_seen_on_placeholder",
    "put_back",
    "put_back_missing",
    "put_back_tags",
    "put_back_unread",
]

# Whether a tag may be put now. Raises DregutilError; then it is not put.
Guard = Callable[[WritableRegistry, Repository, Tag], Awaitable[bool]]


async def if_free(registry: WritableRegistry, repository: Repository, tag: Tag) -> bool:
    """Only a tag that names nothing. One answer is not believed: a replica that lags denies what was just pushed."""
    return await find_twice(registry, repository, tag) is None


def if_free_or_on(*digests: Digest) -> Guard:
    """A free tag, and one that names one of `digests`: the manifest itself, or a placeholder of this run."""

    async def guard(registry: WritableRegistry, repository: Repository, tag: Tag) -> bool:
        now = await find_twice(registry, repository, tag)
        return now is None or now.digest in digests

    return guard


async def just_seen_on_placeholder(_: WritableRegistry, __: Repository, ___: Tag) -> bool:
    """Any tag: the caller has just read that it is on a placeholder, which no user can have meant."""
    return True


async def just_denied_twice(_: WritableRegistry, __: Repository, ___: Tag) -> bool:
    """Any tag: the caller has just asked `if_free`, since an error of that question is no error of the PUT."""
    return True


async def put_back(
    registry: WritableRegistry,
    repository: Repository,
    manifest: Manifest,
    tags: Sequence[Tag] = (),
    *,
    below: Mapping[Digest, Manifest],
    guard: Guard | None = None,
    put: list[Digest] | None = None,
) -> tuple[Tag, ...]:
    """Put back what a manifest needs, then itself, then `tags`; all of it is read back. Returns the tags left alone.

    Of its children those are put that `below` has and that are missing. `guard` is by default `if_free_or_on` the
    manifest; a tag that it refuses is asked for again after a pause, and then left alone. The digests are added to
    `put` in the order in which they are put, also where an error ends it.

    Raises DregutilError; ProtocolError where the registry accepts a PUT and does not have what was put.
    """
    put = [] if put is None else put
    for child in manifest.children:
        held = below.get(child.digest)
        if held is not None and child.digest not in put and await registry.resolve(repository, child.digest) is None:
            await put_back(registry, repository, held, below=below, put=put)
    await put_back_unread(registry, repository, manifest, tags)
    put.append(manifest.digest)
    if await registry.manifest(repository, manifest.digest) is None:  # its bytes are compared with its digest
        raise ProtocolError(f"the registry accepted {manifest.digest.short} of {repository}, and does not have it")
    guard = guard or if_free_or_on(manifest.digest)

    async def put_tags(tags: Collection[Tag]) -> Sequence[Tag]:
        return await _put_tags_read_back(registry, repository, manifest, tags, guard)

    # A replica may not have heard yet that such a tag went.
    return tuple(await denied_again(await put_tags(tags), put_tags))


async def _put_tags_read_back(
    registry: WritableRegistry, repository: Repository, manifest: Manifest, tags: Collection[Tag], guard: Guard
) -> Sequence[Tag]:
    """Put `tags`, each read back; returns those that the guard refuses. Raises DregutilError."""
    left = []
    for tag in tags:
        if not await put_back_tags(registry, repository, manifest, (tag,), guard=guard):
            left.append(tag)
            continue
        found = await registry.resolve(repository, tag)
        if found is None or found.digest != manifest.digest:
            raise ProtocolError(f"the registry accepted {repository}:{tag}, and it is not on {manifest.digest.short}")
    return left


async def put_back_missing(
    registry: WritableRegistry, repository: Repository, manifest: Manifest, tags: Sequence[Tag]
) -> tuple[Tag, ...]:
    """Put back a manifest, unless it is there, and those of its `tags` that are free. Returns the tags that were put.

    Its children are the caller's to put first. Nothing is read back: the next look at the tags does that. Raises
    DregutilError.
    """
    if await registry.resolve(repository, manifest.digest) is None:
        await put_back_unread(registry, repository, manifest)
    return await put_back_tags(registry, repository, manifest, tags, guard=if_free)


async def put_back_tags(
    registry: WritableRegistry,
    repository: Repository,
    manifest: Manifest,
    tags: Collection[Tag],
    *,
    guard: Guard,
    at_once: int = 1,
) -> tuple[Tag, ...]:
    """Put a manifest under those of `tags` that `guard` allows, each just after it was asked for. Returns these.

    Nothing is read back. Raises DregutilError.
    """
    put: list[Tag] = []

    async def put_one(tag: Tag) -> None:
        if await guard(registry, repository, tag):
            await _put(registry, repository, tag, manifest)
            put.append(tag)

    await for_each(tags, put_one, at_once=at_once)
    return tuple(put)


async def put_back_unread(
    registry: WritableRegistry, repository: Repository, manifest: Manifest, tags: Collection[Tag] = ()
) -> None:
    """Put a manifest by its digest, which changes nothing where it is there. It is not read back.

    Where the registry's service brings back what was deleted, with no other tags than `tags`, it does; and with all
    that it had, where the registry no longer takes the manifest. Raises DregutilError.
    """
    if await registry.restore(repository, manifest.digest, tags):
        return
    try:
        await _put(registry, repository, manifest.digest, manifest)
    except RegistryError:
        if not await registry.restore(repository, manifest.digest, None):
            raise


async def _put(registry: WritableRegistry, repository: Repository, reference: Tag | Digest, manifest: Manifest) -> None:
    """Put a manifest. What refers to one subject is put one after another."""
    turn = nullcontext() if manifest.subject is None else registry.turn_of(repository, manifest.subject.digest)
    async with turn:
        await registry.put_manifest(repository, reference, manifest.raw, manifest.media_type, digest=manifest.digest)

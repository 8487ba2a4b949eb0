"""Registry → content database: what is behind digests. Each is read once, unless it is there already.

with open_contents(path) as database:
    contents = await read_contents(registry, [(repository, digest), …], database)
    details = contents.details(digest)      # ImageDetails; None if it could not be read: contents.unreadable
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from dregutil.errors import (
    CacheError,
    CutShortError,
    DregutilError,
    LoginError,
    ManifestError,
    NotFoundError,
    UnreachableError,
)
from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.oci.image import DEEPEST, ImageDetails
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Descriptor, Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.registry.reach import ends_all
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each

__all__ = ["Contents", "read_contents"]

_WRITTEN_AT_ONCE = 256  # digests in a transaction, for which other processes wait
_MOST_LOST = 4  # requests in a row without an answer, after which the registry is pinged
_CHILDREN_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Contents:
    """What was read. `unreadable`: the digests that could not be read completely, and why. `read` counts the digests
    that were read from the registry now."""

    database: ContentDatabase
    unreadable: Mapping[Digest, DregutilError] = field(default_factory=dict)
    read: int = 0

    def details(self, digest: Digest) -> ImageDetails | None:
        """The image or index of a digest; None if it could not be read completely. Raises CacheError."""
        return None if digest in self.unreadable else self.database.details(digest)


async def read_contents(
    registry: Registry,
    holders: Iterable[tuple[Repository, Digest]],
    database: ContentDatabase,
    *,
    on_progress: Callable[[int, int], None] | None = None,
    on_kept: Callable[[Collection[Manifest], Mapping[Digest, bytes]], None] | None = None,
) -> Contents:
    """Read what is behind digests (manifest, children, images' configs) into `database`, unless it is there.

    `holders`: each digest with a repository that has it. If several have it, the next one is tried if one does not any
    more. `on_progress` takes the number of digests done, and of all; `on_kept` the manifests and configs that were read
    and kept, a few hundred at a time. What cannot be read is named in the result. Raises
    UnreachableError and LoginError if the whole registry does not answer, and CacheError.
    """
    places: dict[Digest, list[Repository]] = defaultdict(list)
    for repository, digest in holders:
        places[digest].append(repository)
    missing = database.missing(places)
    reading = _ContentReader(registry, database, on_kept)
    done = 0

    async def read(digest: Digest) -> None:
        nonlocal done
        await reading.read_root(digest, tuple(dict.fromkeys(places[digest])))
        done += 1
        if on_progress is not None:
            on_progress(done, len(missing))

    try:
        await for_each(missing, read, at_once=max(1, registry.concurrency))
    finally:
        reading.write()
    await reading.check_registry_answers()
    return Contents(database, reading.failed, len(missing))


class _ContentReader:
    def __init__(
        self,
        registry: Registry,
        database: ContentDatabase,
        on_kept: Callable[[Collection[Manifest], Mapping[Digest, bytes]], None] | None,
    ) -> None:
        self.registry = registry
        self._on_kept = on_kept
        self.database = database
        self.failed: dict[Digest, DregutilError] = {}
        self._manifests: dict[Digest, Manifest] = {}
        self._configs: dict[Digest, bytes] = {}
        self._whole: dict[Digest, None] = {}
        self._under_way: dict[Digest, asyncio.Event] = {}
        self._lost = 0  # requests in a row without an answer

    async def read_root(self, digest: Digest, repositories: Sequence[Repository]) -> None:
        """Read a digest from the first of `repositories` that has it; if none does, keep why."""
        failure: DregutilError | None = None
        for repository in repositories:
            try:
                await self._read(repository, digest, DEEPEST)
            except DregutilError as error:
                await self._judge(error)
                failure = failure or error
            else:
                failure = None
                break
        if failure is not None:
            self.failed[digest] = failure
        if len(self._manifests) + len(self._configs) >= _WRITTEN_AT_ONCE:
            self.write()

    def write(self) -> None:
        """Write what was read into the database."""
        manifests, configs, whole = self._manifests, self._configs, self._whole
        self._manifests, self._configs, self._whole = {}, {}, {}
        if manifests or configs or whole:
            self.database.add(manifests.values(), configs, whole)
        if self._on_kept is not None and (manifests or configs):
            self._on_kept(manifests.values(), configs)

    async def check_registry_answers(self) -> None:
        """If requests were not answered, ping the registry: raises if it does not answer at all."""
        if self._lost:
            await self.registry.ping()
            self._lost = 0

    async def _read(self, repository: Repository, digest: Digest, deepest: int) -> None:
        """Read a manifest and everything below it. Raises DregutilError; what was read before that is kept."""
        if deepest == 0:
            raise ManifestError(f"indexes lie deeper than {DEEPEST} within each other")
        async with self._alone(digest):
            manifest = self._manifests.get(digest) or self.database.manifest(digest)
            if manifest is None:
                manifest = await self._fetch(repository, digest)
                self._manifests[digest] = manifest
            if needs_config(manifest) and manifest.config is not None:
                await self._read_config(repository, manifest.config)

            async def read_child(child: Digest) -> None:
                await self._read(repository, child, deepest - 1)

            children = dict.fromkeys(child.digest for child in manifest.children)
            await for_each(children, read_child, at_once=_CHILDREN_AT_ONCE)
            self._whole[digest] = None

    async def _fetch(self, repository: Repository, digest: Digest) -> Manifest:
        manifest = await self.registry.manifest(repository, digest)
        self._lost = 0
        if manifest is None:
            raise NotFoundError(f"{repository} has no manifest {digest.short}")
        return manifest

    async def _read_config(self, repository: Repository, config: Descriptor) -> None:
        async with self._alone(config.digest):
            if config.digest in self._configs or self.database.config(config.digest) is not None:
                return
            raw = await self.registry.blob(repository, config.digest, longest=MAX_MANIFEST_BYTES)
            self._lost = 0
            if raw is None:
                raise NotFoundError(f"{repository} has no config {config.digest.short}")
            self._configs[config.digest] = raw

    @contextlib.asynccontextmanager
    async def _alone(self, digest: Digest) -> AsyncIterator[None]:
        """Only one task reads a digest at a time: the others then find what it has read."""
        while (other := self._under_way.get(digest)) is not None:
            await other.wait()
        done = self._under_way[digest] = asyncio.Event()
        try:
            yield
        finally:
            del self._under_way[digest]
            done.set()

    async def _judge(self, error: DregutilError) -> None:
        """Continue after an error of one digest. Raises it if the registry is lost, or accepts no login."""
        if isinstance(error, CacheError) or (isinstance(error, LoginError) and await ends_all(self.registry, error)):
            raise error
        if isinstance(error, UnreachableError) and not isinstance(error, CutShortError):
            self._lost += 1
            if self._lost >= _MOST_LOST:
                await self.check_registry_answers()

"""What was read before, for one that decides what may go: manifests by their bytes, and blobs that are there.

A digest's bytes never change, so they are read once, ever, and the content database keeps them. That a blob is there
holds for this process only: a registry's collector may take it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress

from dregutil.errors import CacheError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.search import find_images, holders_above
from dregutil.oci.manifest import Descriptor, Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.registry.reader import Registry

__all__ = ["KnownManifests"]


class KnownManifests:
    """`contents` is the database of this machine, or a private one, which knows nothing at first."""

    def __init__(self, contents: ContentDatabase | None = None) -> None:
        self._contents = contents or ContentDatabase.private()
        self._blobs: dict[tuple[Repository, Digest], int | None] = {}

    def images(self, digests: Iterable[Digest]) -> Mapping[Digest, str]:
        """Those of `digests` whose bytes were read and are an image's, with its media type. A database that cannot be
        used knows none: they are read again."""
        with suppress(CacheError):
            return find_images(self._contents, digests)
        return {}

    def manifest(self, digest: Digest) -> Manifest | None:
        """A manifest that was read before. A database that cannot be used knows none."""
        with suppress(CacheError):
            return self._contents.manifest(digest)
        return None

    def above(self, digests: Collection[Digest]) -> Collection[Digest]:
        """What was ever seen to have one of `digests` as a part, and the indexes above that. Raises CacheError."""
        return holders_above(self._contents, digests)

    def keep(self, manifests: Collection[Manifest]) -> None:
        """Remember manifests that were read. A database that cannot be written does not: they are read again."""
        if manifests:
            with suppress(CacheError):
                self._contents.add(manifests)

    async def blob(self, registry: Registry, repository: Repository, blob: Descriptor) -> int | None:
        """As `Registry.find_blob` has it; each blob of a repository is looked for once."""
        key = (repository, blob.digest)
        if key not in self._blobs:
            self._blobs[key] = await registry.find_blob(repository, blob)
        return self._blobs[key]

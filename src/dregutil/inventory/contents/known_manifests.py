"""What was read before, for decisions about deletion: the bytes of manifests, and which blobs are there.

The bytes of a digest never change, so they are read once, and the content database keeps them. That a blob is there is
known for this process only: the registry's garbage collector may sweep it.
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
    """`contents` is the content database of this machine; without it, a private one that is empty at first."""

    def __init__(self, contents: ContentDatabase | None = None) -> None:
        self._contents = contents or ContentDatabase.private()
        self._blobs: dict[tuple[Repository, Digest], int | None] = {}

    def images(self, digests: Iterable[Digest]) -> Mapping[Digest, str]:
        """Those of `digests` whose bytes were read and are an image's, with their media type.

        None if the database cannot be used: then they are read again.
        """
        with suppress(CacheError):
            return find_images(self._contents, digests)
        return {}

    def manifest(self, digest: Digest) -> Manifest | None:
        """A manifest that was read before; None if it was not, or the database cannot be used."""
        with suppress(CacheError):
            return self._contents.manifest(digest)
        return None

    def above(self, digests: Collection[Digest]) -> Collection[Digest]:
        """The manifests that have one of `digests` as a part, and the indexes above them. Raises CacheError."""
        return holders_above(self._contents, digests)

    def keep(self, manifests: Collection[Manifest]) -> None:
        """Keep manifests that were read. If the database cannot be written, they are read again."""
        if manifests:
            with suppress(CacheError):
                self._contents.add(manifests)

    async def blob(self, registry: Registry, repository: Repository, blob: Descriptor) -> int | None:
        """As `Registry.find_blob`, but each blob of a repository is looked for once."""
        key = (repository, blob.digest)
        if key not in self._blobs:
            self._blobs[key] = await registry.find_blob(repository, blob)
        return self._blobs[key]

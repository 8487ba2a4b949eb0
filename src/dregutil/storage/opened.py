"""A registry's storage, opened: what it has, its blobs, and when each manifest was pushed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from dregutil.oci.names import Digest, Repository
from dregutil.storage.files import Files, FolderFiles
from dregutil.storage.reading import read_data, read_files, read_moments
from dregutil.storage.stored import StoredRegistry

__all__ = ["OBJECT_SCHEMES", "Storage", "read_storage"]

OBJECT_SCHEMES = ("s3", "gs", "az")


def read_storage(place: str) -> StoredRegistry:
    """Read the storage at `place`: its root folder, or `docker/registry/v2` in it.

    What no registry writes so, or what cannot be read, is skipped, and listed in the result. Raises StorageError if
    there is no registry's storage, or it cannot be read at all.
    """
    return Storage(place).read()


class Storage:
    """An opened storage. An object store is listed once, when it is opened."""

    def __init__(self, place: str) -> None:
        """Raises StorageError if it cannot be reached."""
        self.place = place
        self._files = _open(place)

    def read(self) -> StoredRegistry:
        """As `read_storage`."""
        return read_files(self._files, self.place)

    def blobs(self, digests: Sequence[Digest], longest: int) -> Iterator[bytes | None]:
        """The data of blobs, in order; None if it is not there, does not match, or is over `longest` bytes.

        Raises StorageError as `read_storage` does.
        """
        return read_data(self._files, self.place, digests, longest)

    def moments(self, manifests: Sequence[tuple[Repository, Digest]]) -> Iterator[datetime | None]:
        """When each manifest was last pushed into its repository, in UTC, in order; None if not known.

        Raises StorageError as `read_storage` does.
        """
        return read_moments(self._files, self.place, manifests)


def _open(place: str) -> Files:
    scheme, is_url, _ = place.partition("://")
    if is_url and scheme in OBJECT_SCHEMES:
        from dregutil.storage.objects import ObjectFiles  # brings obstore, an extra

        return ObjectFiles(place)
    return FolderFiles(place)

"""A registry's own storage, read only: a folder, or `s3://…`, `gs://…`, `az://…`. Nothing is opened for writing."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence

from dregutil.reference import Digest
from dregutil.storage.files import Files, FolderFiles
from dregutil.storage.reading import read_data, read_files
from dregutil.stored import StoredRegistry

__all__ = ["OBJECT_SCHEMES", "read_blobs", "read_storage"]

OBJECT_SCHEMES = ("s3", "gs", "az")


def read_storage(place: str) -> StoredRegistry:
    """Read the storage at `place`: its root folder, or `docker/registry/v2` in it.

    What is not as a registry leaves it is named in the result, and skipped. Raises StorageError where no registry's
    storage is there, or where it cannot be read at all.
    """
    return read_files(_open(place), place)


def read_blobs(place: str, digests: Sequence[Digest], longest: int) -> Iterator[bytes | None]:
    """The data of blobs, in order; None where it is not there, not what its digest says, or longer than `longest`.

    Raises StorageError as `read_storage` does.
    """
    return read_data(_open(place), place, digests, longest)


@functools.lru_cache(maxsize=1)
def _open(place: str) -> Files:
    scheme, is_url, _ = place.partition("://")
    if is_url and scheme in OBJECT_SCHEMES:
        from dregutil.storage.objects import ObjectFiles  # brings obstore, an extra

        return ObjectFiles(place)
    return FolderFiles(place)

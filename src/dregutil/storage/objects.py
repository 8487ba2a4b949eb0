"""An object store's files, through obstore (the extra `[storage]`).

The whole listing is read once: it has every name and every size. Endpoint and keys come from the environment, as
obstore takes them (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `GOOGLE_…`, `AZURE_…`).
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import Any

from dregutil.errors import StorageError
from dregutil.storage.files import Entry, UnreadError

__all__ = ["ObjectFiles"]

_AT_ONCE = 64  # reads in flight
_DATED = "/_manifests/revisions/"  # in the paths of files whose moment is asked for
_BATCH = 4096  # files whose content is held at a time
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")


class ObjectFiles:
    """The objects under a URL, as folders and files."""

    keeps_empty_folders = False

    def __init__(self, place: str) -> None:
        """Raises StorageError where the store cannot be reached or does not know us."""
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise StorageError(
                f"--storage {place} needs obstore, which is not installed",
                advice="install it with `pip install 'docker-registry-util[storage]'`",
            ) from error
        self._get = obstore.get
        self._error = BaseError
        self._sizes: dict[str, int] = {}
        self._moments: dict[str, datetime] = {}
        self._folders: dict[str, dict[str, bool]] = {}
        plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
        try:
            self._store: Any = from_url(
                place,
                client_options={"timeout": "30s", "connect_timeout": "10s", "allow_http": plain},
                retry_config={"max_retries": 4, "retry_timeout": timedelta(seconds=30)},
            )
            for page in obstore.list(self._store, chunk_size=5000):
                for found in page:
                    self._add(str(found["path"]), int(found["size"]), found["last_modified"])
        except (BaseError, ValueError) as error:
            raise StorageError(
                f"the storage {place} cannot be read: {_first_line(error)}",
                advice="keys and endpoint are taken from the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …",
            ) from error

    def entries(self, folder: str) -> list[Entry]:
        return [Entry(name, is_folder) for name, is_folder in self._folders.get(folder, {}).items()]

    def sizes(self, paths: Sequence[str]) -> Iterator[int | UnreadError | None]:
        return (self._sizes.get(path) for path in paths)

    def contents(self, paths: Sequence[str], longest: int) -> Iterator[bytes | UnreadError | None]:
        def read(path: str) -> bytes | UnreadError | None:
            return self._read(path, longest)

        with ThreadPoolExecutor(_AT_ONCE) as pool:
            for first in range(0, len(paths), _BATCH):
                yield from pool.map(read, paths[first : first + _BATCH])

    def _read(self, path: str, longest: int) -> bytes | UnreadError | None:
        size = self._sizes.get(path)
        if size is None:
            return None
        if size > longest:
            return UnreadError(f"{size:,} bytes")
        try:
            return bytes(self._get(self._store, path).bytes())
        except FileNotFoundError:
            return None
        except self._error as error:
            return UnreadError(_first_line(error))

    def moments(self, paths: Sequence[str]) -> Iterator[datetime | None]:
        return (self._moments.get(path) for path in paths)

    def _add(self, path: str, size: int, written: datetime) -> None:
        self._sizes[path] = size
        if _DATED in path:
            self._moments[path] = written
        parts = path.split("/")
        for depth in range(len(parts)):
            folder = self._folders.setdefault("/".join(parts[:depth]), {})
            is_folder = depth < len(parts) - 1
            if folder.get(parts[depth]):
                continue
            folder[parts[depth]] = is_folder


def _first_line(error: Exception) -> str:
    """What an error of obstore says, without its inner representation, which may hold a signed URL."""
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__

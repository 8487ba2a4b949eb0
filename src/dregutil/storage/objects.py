"""The files of an object store, through obstore (the extra `[storage]`).

The whole listing is read once: it has all names and sizes. Endpoint and keys come from the environment variables that
obstore reads (`AWS_ENDPOINT_URL`, `AWS_ACCESS_KEY_ID`, `GOOGLE_…`, `AZURE_…`).
"""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from dregutil.errors import StorageError
from dregutil.storage.files import Entry, TooLongError, UnreadError

if TYPE_CHECKING:
    from obstore.store import BackoffConfig, ClientConfig, RetryConfig

__all__ = ["ObjectFiles"]

_AT_ONCE = 64  # reads in flight
_DATED = "/_manifests/revisions/"  # in the paths of the files whose time is needed
_PATIENCE = 120.0  # seconds
_SHORTEST, _LONGEST = 0.05, 10.0  # seconds between tries
_MOST_BROKEN = 4  # retries if no answer comes
_PUSHES_BACK = re.compile(r"status code: (?:429|5\d\d)")
_ANSWERED = re.compile(r"status code: (\d\d\d[ \w]*)")
_BATCH = 4096  # files whose content is held at a time
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")


class _Patience:
    """How long requests are retried.

    A store that pushes back (429, 5xx) is retried as long as it answers some requests, and for `seconds` after the last
    answer. Other failures of transport are retried a few times. An answer such as 403 is final.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._heard = -seconds
        self._given_up = False

    def heard(self) -> None:
        """A request was answered."""
        self._heard = time.monotonic()
        self._given_up = False

    def goes_on(self, error: Exception, tries: int, started: float) -> bool:
        """Whether to retry after so many tries, the first of them at `started`. Waits before it returns true."""
        text = str(error)
        if _PUSHES_BACK.search(text):
            goes_on = not self._given_up and time.monotonic() - max(self._heard, started) < self._seconds
            self._given_up = not goes_on
        else:
            goes_on = tries < _MOST_BROKEN and not _ANSWERED.search(text)
        if goes_on:
            time.sleep(min(_SHORTEST * 2**tries, _LONGEST) * random.uniform(0.5, 1))  # noqa: S311 - only a delay
        return goes_on


class ObjectFiles:
    """The objects under a URL, as folders and files."""

    keeps_empty_folders = False

    def __init__(self, place: str, *, patience: float = _PATIENCE) -> None:
        """`patience`: how many seconds a store is retried that answers nothing.

        Raises StorageError if the store cannot be reached, or does not accept the keys.
        """
        try:
            import obstore
            from obstore.exceptions import BaseError
            from obstore.store import from_url
        except ImportError as error:
            raise StorageError(
                f"--storage {place} needs obstore, which is not installed",
                advice="install it from a checkout with `pip install '.[storage]'`",
            ) from error
        self._get = obstore.get
        self._list = obstore.list
        self._error = BaseError
        self._patience = _Patience(patience)
        self._sizes: dict[str, int] = {}
        self._moments: dict[str, datetime] = {}
        self._folders: dict[str, dict[str, bool]] = {}
        plain = any(os.environ.get(name, "").startswith("http://") for name in _ENDPOINTS)
        options: ClientConfig = {"timeout": "30s", "connect_timeout": "10s", "allow_http": plain}
        try:
            self._store: Any = from_url(place, client_options=options, retry_config={"max_retries": 0})
            self._await_listing()
            patient = from_url(place, client_options=options, retry_config=_retries(patience))
            for page in obstore.list(patient, chunk_size=5000):
                for found in page:
                    self._add(str(found["path"]), int(found["size"]), found["last_modified"])
        except (BaseError, ValueError) as error:
            raise StorageError(
                f"the storage {place} cannot be read: {_first_line(error)}",
                advice="keys and endpoint are taken from the environment: AWS_ACCESS_KEY_ID, AWS_ENDPOINT_URL, …",
            ) from error

    def _await_listing(self) -> None:
        """Request the start of the listing: a store that pushes back is waited for, one that is away is not."""
        tries, started = 0, time.monotonic()
        while True:
            try:
                next(iter(self._list(self._store, chunk_size=1)), None)
            except self._error as error:
                if not self._patience.goes_on(error, tries, started):
                    raise
                tries += 1
            else:
                self._patience.heard()
                return

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
            return TooLongError(f"{size:,} bytes")
        tries, started = 0, time.monotonic()
        while True:
            try:
                found = bytes(self._get(self._store, path).bytes())
            except FileNotFoundError:
                return None
            except self._error as error:
                if not self._patience.goes_on(error, tries, started):
                    return UnreadError(_first_line(error))
                tries += 1
            else:
                self._patience.heard()
                return found

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


def _retries(patience: float) -> RetryConfig:
    """For each page of a listing: a listing that broke off cannot be continued."""
    backoff: BackoffConfig = {
        "init_backoff": timedelta(seconds=_SHORTEST),
        "max_backoff": timedelta(seconds=_LONGEST),
        "base": 2,
    }
    return {"backoff": backoff, "max_retries": 1000, "retry_timeout": timedelta(seconds=patience)}


def _first_line(error: Exception) -> str:
    """The message of an error of obstore, without its details, which may hold a signed URL."""
    if answered := _ANSWERED.search(str(error)):
        return f"the store answered {answered[1]}"
    lines = str(error).splitlines()
    return lines[0][:200] if lines else type(error).__name__

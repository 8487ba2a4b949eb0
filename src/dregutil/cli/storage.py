"""A registry's own storage, for a command: read once, and what is odd in it named on standard error."""

from __future__ import annotations

import functools
import sys
from typing import TYPE_CHECKING

from dregutil.cli.settings import Settings
from dregutil.report.terminal import over_line

if TYPE_CHECKING:
    from dregutil.storage import Storage
    from dregutil.storage.stored import StoredRegistry

__all__ = ["opened_storage", "storage_code", "stored_registry"]

_MOST_NAMED = 10


def stored_registry(settings: Settings) -> StoredRegistry | None:
    """What is in the storage that --storage names; None where it was not given. Raises StorageError."""
    return None if settings.storage is None else _read(settings.storage, sys.stderr.isatty() and not settings.quiet)


def storage_code(settings: Settings) -> int:
    """The exit code that follows from the storage: 3 where something in it was skipped."""
    stored = stored_registry(settings)
    return 3 if stored is not None and stored.oddities else 0


def opened_storage(settings: Settings) -> Storage | None:
    """The storage that --storage names, to read blobs from. Raises StorageError."""
    return None if settings.storage is None else _open(settings.storage)


@functools.lru_cache(maxsize=1)
def _open(place: str) -> Storage:
    from dregutil.storage import Storage

    return Storage(place)


@functools.lru_cache(maxsize=1)
def _read(place: str, show: bool) -> StoredRegistry:  # noqa: FBT001 - a terminal or none
    if show:
        over_line(sys.stderr, f"reading the storage {place} …")
    try:
        stored = _open(place).read()
    finally:
        if show:
            over_line(sys.stderr)
    for oddity in stored.oddities[:_MOST_NAMED]:
        sys.stderr.write(f"dregutil: skipped in the storage: {oddity.place}: {oddity.why}\n")
    if len(stored.oddities) > _MOST_NAMED:
        sys.stderr.write(f"dregutil: and {len(stored.oddities) - _MOST_NAMED:,} more\n")
    return stored

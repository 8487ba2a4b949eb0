"""When a cache file was last read from the registry, and which notified changes it has.

STATE/refreshed/<sum of the registry's key>.json

A file that cannot be read says nothing: the registry is then read as a whole.
"""

from __future__ import annotations

import os
from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, others_link, read_bytes, write_atomically
from dregutil.oci.names import registry_spellings

__all__ = ["Refreshed", "RefreshedFile"]

_VERSION = 1
_MOST = 1 << 16  # bytes


class Refreshed(msgspec.Struct, frozen=True):
    """`whole`: when the last reading of all tags began (UTC); `number`: the last change that was notified before the
    last reading; `instances`: how often a process of the registry had come to another one by then. `silent`: changes
    were found that had not been notified."""

    whole: datetime
    number: int = 0
    instances: int = 0
    silent: bool = False


class _Noted(msgspec.Struct, frozen=True):
    version: int
    cache: bytes
    written_ns: int
    last: Refreshed


class RefreshedFile:
    """The last refresh of one registry."""

    def __init__(self, state: Path, registry: str) -> None:
        """`registry` is its identity."""
        self.path = file_of(state / "refreshed", registry_spellings(registry), ".json")

    def read(self, cache: Path) -> Refreshed | None:
        """The last refresh of a cache file; None if it is not known, or another program has written the file since."""
        try:
            found = msgspec.json.decode(read_bytes(self.path, _MOST), type=_Noted)
            written = cache.stat().st_mtime_ns
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        is_same = (
            found.version == _VERSION and found.cache == os.fsencode(cache.absolute()) and found.written_ns == written
        )
        return found.last if is_same else None

    def write(self, cache: Path, last: Refreshed) -> None:
        """Note a refresh, after the cache file was written. Raises OSError."""
        if others_link(self.path.parent) is not None:
            return
        make_private_folder(self.path.parent)
        noted = _Noted(_VERSION, os.fsencode(cache.absolute()), cache.stat().st_mtime_ns, last)
        write_atomically(self.path, [msgspec.json.encode(noted)])

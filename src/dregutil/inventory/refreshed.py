"""When a cache file was last read from the registry, and which notified changes it has.

STATE/refreshed/<sum of the registry's key>.json

A file that cannot be read says nothing: the registry is then read as a whole.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, others_link, read_bytes, write_atomically
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.shared import SharedDocument
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

    def __init__(self, state: Path, registry: str, shared: SharedDocument | None = None) -> None:
        """`registry` is its identity; `shared` has the note for all machines, if the tags are shared."""
        self._shared = shared
        self.path = file_of(state / "refreshed", registry_spellings(registry), ".json")

    def read(self, cache: CacheFile) -> Refreshed | None:
        """The last refresh of a cache file; None if it is not known, or another program has written the file since."""
        try:
            raw = read_bytes(self.path, _MOST) if self._shared is None else self._shared.read() or b""
            found = msgspec.json.decode(raw, type=_Noted)
            written = cache.written()
        except (OSError, ValueError):  # msgspec's errors are ValueErrors
            return None
        is_same = found.version == _VERSION and found.cache == cache.name and found.written_ns == written
        return found.last if is_same else None

    def write(self, cache: CacheFile, last: Refreshed) -> None:
        """Note a refresh, after the cache file was written. Raises OSError."""
        noted = _Noted(_VERSION, cache.name, cache.written(), last)
        if self._shared is not None:
            self._shared.write(msgspec.json.encode(noted))
            return
        if others_link(self.path.parent) is not None:
            return
        make_private_folder(self.path.parent)
        write_atomically(self.path, [msgspec.json.encode(noted)])

"""When the last crawl of a registry was recorded.

Kept beside the tag history itself, so that its loss shows.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, write_atomically
from dregutil.inventory.shared import SharedDocuments
from dregutil.oci.names import registry_key

__all__ = ["CrawlMark"]


class CrawlMark:
    """STATE/cleanups/<sum of registry>.crawl; with `shared`, what all machines have in its place."""

    def __init__(self, state: Path, registry: str, shared: SharedDocuments | None = None) -> None:
        """`registry` is its identity."""
        self.path = file_of(state / "cleanups", [registry_key(registry)], ".crawl")
        self._shared = None if shared is None else shared.document("crawl")

    def read(self) -> datetime | None:
        """None if there was no crawl, or the file cannot be read. Raises JournalError if a store cannot be asked."""
        if self._shared is not None:
            return _moment(self._shared.read())
        try:
            return _moment(self.path.read_bytes())
        except OSError:
            return None

    def write(self, when: datetime) -> None:
        """Raises OSError, and JournalError if a store cannot be asked. A shared mark never goes back."""
        if self._shared is not None:
            self._shared.change(lambda raw: msgspec.json.encode(max(when, _moment(raw) or when)))
            return
        make_private_folder(self.path.parent)
        write_atomically(self.path, [msgspec.json.encode(when)], durable=False)


def _moment(raw: bytes | None) -> datetime | None:
    try:
        return None if raw is None else msgspec.json.decode(raw, type=datetime)
    except msgspec.MsgspecError:
        return None

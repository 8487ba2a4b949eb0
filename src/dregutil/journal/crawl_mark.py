"""When the last crawl of a registry was recorded.

Kept beside the tag history itself, so that its loss shows.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.files import file_of, make_private_folder, write_atomically
from dregutil.oci.names import registry_key

__all__ = ["CrawlMark"]


class CrawlMark:
    """STATE/cleanups/<sum of registry>.crawl"""

    def __init__(self, state: Path, registry: str) -> None:
        """`registry` is its identity."""
        self.path = file_of(state / "cleanups", [registry_key(registry)], ".crawl")

    def read(self) -> datetime | None:
        """None if there was no crawl, or the file cannot be read."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=datetime)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, when: datetime) -> None:
        """Raises OSError."""
        make_private_folder(self.path.parent)
        write_atomically(self.path, [msgspec.json.encode(when)], durable=False)

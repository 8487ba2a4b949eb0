"""What the last cleanup of a policy took, for comparison: one small file for each registry and policy file.

And when the last crawl of a registry was recorded, beside the records themselves: so that their loss shows.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

from dregutil.files import file_of
from dregutil.oci.names import registry_key, registry_spellings

__all__ = ["CrawlMark", "LastCleanup", "LastCleanupFile"]


class LastCleanup(msgspec.Struct, frozen=True):
    """`removed` and `selected` count tags, by policy."""

    when: datetime
    selected: dict[str, int]
    removed: dict[str, int]


class LastCleanupFile:
    """STATE/cleanups/<sum of registry and policy>.json"""

    def __init__(self, state: Path, registry: str, policy: Path) -> None:
        """`registry` is its identity."""
        names = [f"{spelling}\n{policy.absolute()}" for spelling in registry_spellings(registry)]
        self.path = file_of(state / "cleanups", names, ".json")

    def read(self) -> LastCleanup | None:
        """None where there was none, or its file is of no use: it decides nothing."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=LastCleanup)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, when: datetime, selected: Mapping[str, int], removed: Mapping[str, int]) -> None:
        """Raises OSError."""
        _replace(self.path, msgspec.json.encode(LastCleanup(when, dict(selected), dict(removed))))


class CrawlMark:
    """STATE/cleanups/<sum of registry>.crawl: when the last crawl was recorded."""

    def __init__(self, state: Path, registry: str) -> None:
        """`registry` is its identity."""
        self.path = file_of(state / "cleanups", [registry_key(registry)], ".crawl")

    def read(self) -> datetime | None:
        """None where there was none, or its file is of no use."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=datetime)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, when: datetime) -> None:
        """Raises OSError."""
        _replace(self.path, msgspec.json.encode(when))


def _replace(path: Path, content: bytes) -> None:
    """Through a file beside it: a crash leaves no half of it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
    beside.replace(path)

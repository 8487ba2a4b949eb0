"""What the last cleanup of a policy took, for comparison: one small file for each registry and policy file."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

import msgspec

__all__ = ["LastRun", "LastRunFile"]


class LastRun(msgspec.Struct, frozen=True):
    """`removed` and `selected` count tags, by policy."""

    when: datetime
    selected: dict[str, int]
    removed: dict[str, int]


class LastRunFile:
    """STATE/cleanups/<sum of registry and policy>.json"""

    def __init__(self, state: Path, registry: str, policy: Path) -> None:
        name = hashlib.sha256(f"{registry}\n{policy.absolute()}".encode()).hexdigest()[:24]
        self.path = state / "cleanups" / f"{name}.json"

    def read(self) -> LastRun | None:
        """None where there was none, or its file is of no use: it decides nothing."""
        try:
            return msgspec.json.decode(self.path.read_bytes(), type=LastRun)
        except (OSError, msgspec.MsgspecError):
            return None

    def write(self, when: datetime, selected: Mapping[str, int], removed: Mapping[str, int]) -> None:
        """Raises OSError."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        beside = self.path.with_name(f".{self.path.name}.{os.getpid()}")
        descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(msgspec.json.encode(LastRun(when, dict(selected), dict(removed))))
        beside.replace(self.path)

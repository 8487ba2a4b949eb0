"""How a registry's garbage collector is run: a value that plans keep."""

from __future__ import annotations

import enum

__all__ = ["Collector"]


class Collector(enum.Enum):
    """How the registry's garbage collector is run. UNTAGGED: with `-m` (`--delete-untagged`), which deletes manifests
    that no tag names."""

    DEFAULT = "default"
    UNTAGGED = "untagged"

    @classmethod
    def of(cls, *, untagged: bool) -> Collector:
        return cls.UNTAGGED if untagged else cls.DEFAULT

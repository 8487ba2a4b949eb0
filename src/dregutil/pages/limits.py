"""How much of a registry a report names. The rest is summed, and the report says so. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most rows of each kind. `layered`: tags with their layers, `layers` of each."""

    repositories: int = 400
    tags: int = 1000
    layered: int = 150
    layers: int = 8
    groups: int = 300
    images: int = 1000
    changes: int = 300
    findings: int = 200

    def halved(self) -> Limits:
        """Half of each, at least one."""
        return Limits(*(max(1, getattr(self, one.name) // 2) for one in fields(self)))

    @property
    def is_least(self) -> bool:
        return self == self.halved()

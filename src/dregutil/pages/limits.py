"""How much of a registry a report names. The rest is summed, and the report says so. Pure."""

from __future__ import annotations

from dataclasses import dataclass, fields

__all__ = ["Limits"]


@dataclass(frozen=True, slots=True)
class Limits:
    """The most rows of each kind. `layered`: tags with their layers, `layers` of each."""

    repositories: int = 400
    tags: int = 500
    layered: int = 100
    layers: int = 6
    groups: int = 200
    images: int = 500
    changes: int = 300
    findings: int = 200

    def smaller(self) -> Limits:
        """Seven tenths of each, at least one."""
        return Limits(*(max(1, getattr(self, one.name) * 7 // 10) for one in fields(self)))

    @property
    def is_least(self) -> bool:
        return self == self.smaller()

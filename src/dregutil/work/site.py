"""What a worker is told: its registries, schedules and limits."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from dregutil.serve.program import Program
from dregutil.store.address import StoreAddress
from dregutil.work.schedule import Schedule

__all__ = ["KINDS", "Registry", "Site"]

KINDS = ("refresh", "cleanup", "collect", "report", "apply")
"""What a worker does: the commands of schedules, and carrying out approved plans."""


@dataclass(frozen=True, slots=True)
class Registry:
    """`name` is as `-reg` takes it; `key` is that of its rows in the store."""

    name: str
    key: str


@dataclass(frozen=True, slots=True)
class Site:
    """`schedules` and the registry of each, by name; `registries` by key: nothing of any other one is done or shown.

    `kinds` are those of KINDS that this worker does. `grace`: seconds from the signal until jobs are killed. `folder`
    is for the files of jobs. `actor` is USER@HOST, as records name it.
    """

    address: StoreAddress
    program: Program
    folder: Path
    actor: str
    registries: Mapping[str, Registry]
    schedules: Mapping[str, Schedule]
    registry_of: Mapping[str, Registry]
    kinds: Collection[str] = KINDS
    grace: float = 30.0
    host: str = "127.0.0.1"
    port: int = 8091

"""Which repository of a run is next, and what was done there before: for its only process, or for one of many.

`claims.next` gives a repository to this process alone, until it is released. On one machine a lock keeps other runs
out, and each repository of the run is given once.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from dregutil.journal.record import RunRecord, Settled
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan
from dregutil.plan.outcome import Intent, Unanswered

if TYPE_CHECKING:
    from dregutil.registry.permit import (
        Permit,  # whose package reaches registries, which whoever reads records need not
    )

__all__ = ["Claim", "Claims", "OnlyProcess", "Part", "parts_of"]


@dataclass(frozen=True, slots=True)
class Part:
    """What was done before in one repository: its intents, what was left unanswered, and the outcomes that this process
    does not know yet."""

    intents: tuple[Intent, ...] = ()
    unanswered: Unanswered | None = None
    outcomes: Mapping[int, Settled] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Claim:
    """A repository that this process alone carries out. `earlier`: what was done there; `permit`: needed to write."""

    repository: Repository
    earlier: Part = Part()
    permit: Permit | None = None


class Claims(Protocol):
    """The repositories of one run that are left to do: `left` names them, as far as this process knows."""

    @property
    def left(self) -> tuple[Repository, ...]: ...
    @property
    def joins(self) -> bool:
        """Whether other processes may have begun the run: what they do is not in what this one knows."""

    async def next(self, stop: asyncio.Event) -> Claim | None:
        """The next repository; None if no other is left, or once `stop` is set. Raises JournalError."""

    async def release(self, claim: Claim, *, settled: bool) -> None:
        """Give a repository up. `settled`: every request that was sent there has an answer. Raises JournalError."""

    async def latest(self) -> Mapping[int, Settled]:
        """The outcomes that other processes recorded. Raises JournalError."""


def parts_of(record: RunRecord) -> Mapping[Repository, Part]:
    """What a record says of each repository in which something was begun."""
    intents: dict[Repository, list[Intent]] = defaultdict(list)
    for intent in record.intents:
        intents[intent.repository].append(intent)
    names = intents.keys() | record.unanswered.keys()
    return {name: Part(tuple(intents.get(name, ())), record.unanswered.get(name)) for name in names}


class OnlyProcess:
    """The repositories of a run that no other process carries out."""

    joins = False

    def __init__(self, plan: Plan, earlier: RunRecord | None = None) -> None:
        """`earlier`: the record of this very plan, cut off; what it finished is not given again."""
        self._parts = {} if earlier is None else parts_of(earlier)
        done = frozenset() if earlier is None else earlier.looked
        self.left = tuple(name for name in plan.by_repository if name not in done)
        self._waiting = deque(self.left)

    async def next(self, stop: asyncio.Event) -> Claim | None:
        if stop.is_set() or not self._waiting:
            return None
        repository = self._waiting.popleft()
        return Claim(repository, self._parts.get(repository, Part()))

    async def release(self, claim: Claim, *, settled: bool) -> None:
        pass

    async def latest(self) -> Mapping[int, Settled]:
        return {}

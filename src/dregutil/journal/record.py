"""A recorded run, as a value: the whole record, or only its two ends."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from dregutil.oci.names import Digest, Reference, Repository, Tag
from dregutil.plan.model import Action, Plan, Step
from dregutil.plan.outcome import Intent, LostTag, Result, Unanswered

__all__ = ["RunHeader", "RunRecord", "Settled"]


@dataclass(frozen=True, slots=True)
class Settled:
    """The recorded outcome of one step."""

    result: Result
    why: str = ""


@dataclass(frozen=True)
class RunRecord:
    """A run, as its journal has it.

    `undoes`: the run that it put back, if it is an undo; `images`: the only images that it was to put back, or none for
    all. `damaged` counts the lines that were written whole and cannot
    be read; if the first line is one, `plan.registry` is empty. `missing_steps`: the record of the plan is incomplete.
    `taken`: the steps that deleted something, or may have, even if the run put it back. `lost`: tags that went with
    what the run deleted, as the last line about each says. `unanswered`, by repository: deletions that may have taken
    along a tag that was to stay. `user` ran it on `host`; both are empty in older records. `plan_sum` is that of the
    plan that it carries out, which `planned_by` planned and `approved_by` approved, if somebody did.
    """

    run: str
    folder: Path
    plan: Plan
    started: datetime
    undoes: str = ""
    intents: tuple[Intent, ...] = ()
    outcomes: Mapping[int, Settled] = field(default_factory=dict)
    restored: tuple[tuple[Repository, Digest, tuple[Tag, ...], str], ...] = ()
    looked: frozenset[Repository] = frozenset()
    finished: datetime | None = None
    missing_steps: bool = False
    damaged: int = 0
    taken: frozenset[int] = frozenset()
    lost: tuple[LostTag, ...] = ()
    unanswered: Mapping[Repository, Unanswered] = field(default_factory=dict)
    images: tuple[Reference, ...] = ()
    user: str = ""
    host: str = ""
    plan_sum: str = ""
    planned_by: str = ""
    approved_by: tuple[str, ...] = ()

    @property
    def is_unfinished(self) -> bool:
        return self.finished is None

    @property
    def removed_tags(self) -> int:
        return sum(len(step.tags) for step in self._removed)

    @property
    def removed_untagged(self) -> int:
        """How many manifests without a tag were deleted because they were selected themselves."""
        return sum(step.is_untagged for step in self._removed)

    @property
    def removed_digests(self) -> int:
        """How many manifests were deleted."""
        return sum(step.action is Action.DELETE for step in self._removed)

    @property
    def is_whole(self) -> bool:
        """Whether every step of the plan was carried out: what it frees is then the figure of the plan."""
        return not self.missing_steps and sum(1 for _ in self._removed) == len(self.plan.steps)

    @property
    def reclaimable_bytes(self) -> int | None:
        """What a garbage collection frees at most, in bytes; None for an undo."""
        if self.undoes:
            return None
        return self.plan.reclaim.reclaimable_bytes if self.is_whole else sum(step.frees for step in self._removed)

    @property
    def _removed(self) -> Iterator[Step]:
        for step in self.plan.steps:
            settled = self.outcomes.get(step.number)
            if settled is not None and settled.result is Result.REMOVED:
                yield step

    @property
    def open_intents(self) -> tuple[Intent, ...]:
        """The intents whose outcome is not known."""
        return tuple(intent for intent in self.intents if intent.step not in self.outcomes)


@dataclass(frozen=True, slots=True)
class RunHeader:
    """The first line of a run's record, and whether its last one is there: read without what lies between.

    `number`: its place among the runs of the state folder, 0 for those of 2.0.0. `is_damaged`: the first line cannot be
    read, so the run may be on any registry. `is_newer`: a version wrote it that this program cannot read. `images`: the
    only ones that an undo was to put back, or none for all. `plan_sum` is that of the plan that it carries out,
    which `planned_by` planned and `approved_by` approved.
    """

    run: str
    folder: Path
    registry: str
    started: datetime
    undoes: str
    is_unfinished: bool
    number: int = 0
    is_damaged: bool = False
    is_newer: bool = False
    images: tuple[str, ...] = ()
    plan_sum: str = ""
    planned_by: str = ""
    approved_by: tuple[str, ...] = ()

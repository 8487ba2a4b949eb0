"""The values of a run: an intent before each change, an outcome for each step, the result of the whole."""

from __future__ import annotations

import enum
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from dregutil.errors import DregutilError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Step

__all__ = [
    "BrokenTag",
    "Intent",
    "LostTag",
    "NoRecorder",
    "Outcome",
    "Recorder",
    "Result",
    "RunResult",
    "Unanswered",
]


class Result(enum.Enum):
    REMOVED = "removed"
    GONE = "gone"
    LEFT = "left"
    FAILED = "failed"

    @property
    def is_done(self) -> bool:
        """Whether the step's digest or tag no longer exists."""
        return self in (Result.REMOVED, Result.GONE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """The outcome of a step, and why. GONE: somebody else had removed it before.

    `tried`: the run got as far as this step. `is_open`: the registry did not say whether it was done. An open outcome
    is not recorded, so that a resume finds the step without an outcome and checks it again.
    """

    step: Step
    result: Result
    why: str = ""
    tried: bool = True
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """What a step is about to remove, with everything that is needed to restore it.

    `tags` are on the manifest just before. `placeholder` is the manifest that they are moved to first, on a server that
    has no other way. `beside`: when a single tag is removed, the tags that stay on its manifest; a server may remove
    them with it.
    """

    step: int
    repository: Repository
    tags: tuple[Tag, ...]
    manifest: Manifest
    placeholder: Digest | None = None
    beside: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class LostTag:
    """A tag that was to stay, or appeared meanwhile, and was lost with a digest that the run deleted: somebody had
    moved it there.

    It was on one of the `candidates`. `mended`: the digest on which it was restored. If that is not a candidate, it is
    the digest that the tag had before, which was deleted too: perhaps nobody had moved it (`is_doubtful`). `why` says
    why it could not be restored.
    """

    repository: Repository
    tag: Tag
    candidates: tuple[Digest, ...]
    mended: Digest | None = None
    why: str = ""

    @property
    def is_doubtful(self) -> bool:
        return self.mended is not None and self.mended not in self.candidates


@dataclass(frozen=True, slots=True)
class Unanswered:
    """What an interrupted run did not check: the tags of a repository that were to stay when it last listed them, and
    the `digests` whose DELETE may have been sent since. A tag that is missing may have been moved to one of them."""

    stays: frozenset[Tag] = frozenset()
    digests: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class BrokenTag:
    """A tag that appeared while the run deleted something that it needs. `missing` could not be restored: `why`."""

    repository: Repository
    tag: Tag
    missing: Digest
    why: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """The result of applying a plan. `tags_after` has the tags of each repository that was read again to the end.

    `error` is what ended the run early, if anything did; `interrupted`: it was asked to stop. `vanished` are tags that
    were to stay and that somebody removed meanwhile. `lost` are tags that were lost with a deleted digest, also those
    that were restored; `broken` are incomplete until the run is resumed. `still_listed` are tags that are gone and that
    the registry still lists. `longest_gap`: the longest time in seconds between listing the tags and a DELETE after it.
    `id` is the name of its record, empty if it has none. `ran_out_of_time`: it ended because its time was over.
    """

    outcomes: tuple[Outcome, ...]
    tags_after: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    error: DregutilError | None = None
    interrupted: bool = False
    vanished: Mapping[Repository, tuple[Tag, ...]] = field(default_factory=dict)
    id: str = ""
    lost: tuple[LostTag, ...] = ()
    broken: tuple[BrokenTag, ...] = ()
    still_listed: Mapping[Repository, tuple[Tag, ...]] = field(default_factory=dict)
    longest_gap: float = 0.0
    ran_out_of_time: bool = False

    @property
    def removed(self) -> tuple[Outcome, ...]:
        """What was removed, in the order of the plan. `outcomes` are in the order in which they became known."""
        return tuple(sorted(self.of(Result.REMOVED), key=lambda outcome: outcome.step.number))

    @property
    def unmended(self) -> tuple[LostTag, ...]:
        """The tags that were lost and not restored, or perhaps restored on the wrong image."""
        return tuple(lost for lost in self.lost if lost.mended is None or lost.is_doubtful)

    @property
    def has_open(self) -> bool:
        """Whether the outcome of a step is unknown."""
        return any(outcome.is_open for outcome in self.outcomes)

    @property
    def is_finished(self) -> bool:
        """Whether a resume would have nothing left to do."""
        return self.error is None and not self.interrupted and not self.has_open and not self.broken

    def of(self, result: Result) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.result is result)


class Recorder(Protocol):
    """Records a run. Nothing is sent before `intend` has returned."""

    async def intend(self, *intents: Intent) -> None:
        """Make the intents durable. Raises JournalError, and then nothing may be changed."""

    def outcome(self, outcome: Outcome) -> None:
        """Record the outcome of a step."""

    def lost(self, lost: LostTag) -> None:
        """Record a tag that was lost, and whether it was restored."""

    def between(self, repository: Repository, stays: Collection[Tag], gone: Collection[Tag]) -> None:
        """Record the tags between two batches of DELETEs: those that are to stay and were not recorded before, and
        those that no longer are."""

    def looked(self, repository: Repository) -> None:
        """Record that the final check of a repository is done."""


class NoRecorder:
    """Records nothing: the run cannot be resumed or undone."""

    async def intend(self, *intents: Intent) -> None:
        pass

    def outcome(self, outcome: Outcome) -> None:
        pass

    def lost(self, lost: LostTag) -> None:
        pass

    def between(self, repository: Repository, stays: Collection[Tag], gone: Collection[Tag]) -> None:
        pass

    def looked(self, repository: Repository) -> None:
        pass

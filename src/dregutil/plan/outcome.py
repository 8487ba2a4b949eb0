"""What becomes of a plan: intents before effects, an outcome for each step, the run's result. Values only."""

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
        """Whether what the step names is no longer there."""
        return self in (Result.REMOVED, Result.GONE)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a step, and why. GONE: somebody else had removed it before.

    `tried`: the run came to it at all. `is_open`: the registry did not say what became of it; not for the record, so
    that whoever takes the run up finds it without an outcome, and looks again.
    """

    step: Step
    result: Result
    why: str = ""
    tried: bool = True
    is_open: bool = False


@dataclass(frozen=True, slots=True)
class Intent:
    """What a step is about to take away, with all that is needed to put it back.

    `tags` are those that are on the manifest just before; `placeholder` is the manifest of our own onto which they
    are moved first, where the server has no other way. `beside` are tags that stay on the manifest when only one tag
    goes: a server may take them along.
    """

    step: int
    repository: Repository
    tags: tuple[Tag, ...]
    manifest: Manifest
    placeholder: Digest | None = None
    beside: tuple[Tag, ...] = ()


@dataclass(frozen=True, slots=True)
class LostTag:
    """A tag that was to stay, or came meanwhile, and went with what a run deleted: somebody had moved it there.

    `candidates` are the digests on one of which it was. `mended`: the one on which it was put back; where that is none
    of them, it is what the tag stood for before, and that went along: maybe nobody had moved it (`is_doubtful`). `why`
    says why it could not be put back.
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
    """What no look of a run that was cut off has answered for: the `stays` of a repository as the last look saw them,
    and the `digests` whose DELETE may have been sent since. A tag that is missing may have been moved onto one."""

    stays: frozenset[Tag] = frozenset()
    digests: frozenset[Digest] = frozenset()


@dataclass(frozen=True, slots=True)
class BrokenTag:
    """A tag that came while a run deleted what it needs, and `missing` could not be put back: `why`."""

    repository: Repository
    tag: Tag
    missing: Digest
    why: str


@dataclass(frozen=True, slots=True)
class RunResult:
    """A plan carried out. `tags_after` is the last live reading of each repository that was read to the end.

    `error` is what ended the run early, if anything did; `interrupted`: it was asked to end. `vanished` are tags that
    were to stay and that somebody removed meanwhile. `lost` are tags that went with what the run deleted, the mended
    ones included; `broken` are whole only once the run is taken up again. `still_listed` are tags that are gone and
    stay on the registry's list. `longest_gap`: the most seconds between a look at the tags and a DELETE after it. `run`
    is the name of its record, where `apply_plan` made one.
    """

    outcomes: tuple[Outcome, ...]
    tags_after: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    error: DregutilError | None = None
    interrupted: bool = False
    vanished: Mapping[Repository, tuple[Tag, ...]] = field(default_factory=dict)
    run: str = ""
    lost: tuple[LostTag, ...] = ()
    broken: tuple[BrokenTag, ...] = ()
    still_listed: Mapping[Repository, tuple[Tag, ...]] = field(default_factory=dict)
    longest_gap: float = 0.0

    @property
    def unmended(self) -> tuple[LostTag, ...]:
        """The tags that were lost and are not back, or may be back on the wrong image."""
        return tuple(lost for lost in self.lost if lost.mended is None or lost.is_doubtful)

    @property
    def has_open(self) -> bool:
        """Whether of some step it is not known what became of it."""
        return any(outcome.is_open for outcome in self.outcomes)

    @property
    def is_finished(self) -> bool:
        """Whether nothing is left to do for whoever takes the run up."""
        return self.error is None and not self.interrupted and not self.has_open and not self.broken

    def of(self, result: Result) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.result is result)


class Recorder(Protocol):
    """Who keeps the record of a run. Nothing is sent before `intend` has returned."""

    async def intend(self, *intents: Intent) -> None:
        """Make the intents durable. Raises JournalError; then nothing may be changed."""

    def outcome(self, outcome: Outcome) -> None:
        """Note what became of a step."""

    def lost(self, lost: LostTag) -> None:
        """Note a tag that the run took along, and whether it was put back."""

    def between(self, repository: Repository, stays: Collection[Tag], gone: Collection[Tag]) -> None:
        """Note a look at the tags between two batches of DELETEs: those that are to stay, and have not been named
        before, and those that no longer are."""

    def looked(self, repository: Repository) -> None:
        """Note that the last look at a repository is done."""


class NoRecorder:
    """Keeps nothing: a run that cannot be resumed or undone."""

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

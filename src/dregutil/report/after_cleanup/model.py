"""The values of a report on one run of `cleanup`. Pure."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from datetime import datetime

__all__ = ["MOST_ROWS", "CleanupReport", "Count", "Failure", "ListAge", "Removed", "State"]

MOST_ROWS = 500  # removed images, and failures, that a report names


class State(enum.StrEnum):
    """How a run ended. PARTLY_FAILED: something failed, and the rest is done. NOT_CARRIED_OUT: it was not confirmed, or
    its time was over before the first step."""

    REMOVED = "removed"
    NOTHING = "nothing to remove"
    DRY_RUN = "dry run"
    REFUSED = "refused"
    PARTLY_FAILED = "partly failed"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    NOT_CARRIED_OUT = "not carried out"


@dataclass(frozen=True, slots=True)
class Count:
    """The tags of a policy or team or, for a policy with `untagged`, its manifests without a tag. In a dry run,
    `removed` is what would be removed. `gone` were removed by somebody else. `bytes_freed` by the garbage collection,
    with children and referrers."""

    name: str
    selected: int = 0
    removed: int = 0
    failed: int = 0
    gone: int = 0
    bytes_freed: int = 0
    untagged: bool = False

    @property
    def kept(self) -> int:
        return self.selected - self.removed - self.failed - self.gone


@dataclass(frozen=True, slots=True)
class Removed:
    """A tag that was removed, or would be in a dry run; without a tag, a manifest. `size` is in bytes."""

    repository: str
    tag: str | None
    digest: str
    policy: str
    team: str
    because: str
    size: int

    @property
    def image(self) -> str:
        return f"{self.repository}@{self.digest[:19]}" if self.tag is None else f"{self.repository}:{self.tag}"


@dataclass(frozen=True, slots=True)
class Failure:
    """What failed: an image, a repository or the whole run, which is empty; and why."""

    what: str
    why: str


@dataclass(frozen=True, slots=True)
class ListAge:
    """A list of images in use, its age, and how many of its images are in the registry."""

    name: str
    seconds: float
    images: int
    matched: int


@dataclass(frozen=True, slots=True)
class CleanupReport:
    """One run of `cleanup`.

    `why` says why it was refused, or failed. `team_label` is the label that names the team; empty if the first part of
    the repository's name does. `along` are the children and referrers that went with what was removed. `removed` and
    `failures` are bounded: `more_removed` and `more_failures` are left out. `stayed` has how many tags each reason
    keeps. `is_success`: everything was done. `run` and `undo`, the command that undoes it, are empty if nothing was
    removed. `is_exact`: `bytes_freed` is not an upper bound.
    """

    registry: str
    policy_file: str
    started: datetime
    seconds: float
    state: State
    why: str = ""
    team_label: str = ""
    total: Count = Count("total")
    policies: tuple[Count, ...] = ()
    teams: tuple[Count, ...] = ()
    removed: tuple[Removed, ...] = ()
    more_removed: int = 0
    along: int = 0
    stayed: tuple[tuple[str, int], ...] = ()
    failures: tuple[Failure, ...] = ()
    more_failures: int = 0
    lists: tuple[ListAge, ...] = ()
    run: str = ""
    undo: str = ""
    is_exact: bool = False
    is_success: bool = False

    @property
    def is_dry(self) -> bool:
        return self.state is State.DRY_RUN

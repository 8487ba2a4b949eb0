"""The values of a plan: its steps, what stays and why, and what it gives back. Pure."""

from __future__ import annotations

import enum
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol, TypeVar

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.collector import Collector

__all__ = [
    "Action",
    "Grounds",
    "Kept",
    "Plan",
    "PolicySource",
    "Reclaim",
    "RemovalOptions",
    "Step",
    "StepKind",
    "group_by_repository",
]


class Action(enum.Enum):
    DELETE = "delete"
    UNTAG = "untag"


class StepKind(enum.Enum):
    """What a step removes: something selected (an image or index), or what goes with it (a child or referrer)."""

    IMAGE = "image"
    INDEX = "index"
    CHILD = "child"
    REFERRER = "referrer"


@dataclass(frozen=True, slots=True)
class RemovalOptions:
    """Options of a removal.

    `untag`: if a digest is held back, remove its selected tags alone. `keep_children`, `keep_referrers`: keep what
    would go with an index or a subject. `allow_irreversible`: also remove what could not be restored.
    """

    untag: bool = False
    keep_children: bool = False
    keep_referrers: bool = False
    allow_irreversible: bool = False


@dataclass(frozen=True, slots=True)
class Grounds:
    """What lists and recorded pulls said of an image when a policy planned to remove it; a run compares.

    `named_in`: by tag, the lists of names that had its group. `doomed_by`: by tag (empty for a manifest without one),
    the lists of images to remove without which it would stay. `pulled`: its last known pull.
    """

    named_in: tuple[tuple[str, tuple[str, ...]], ...] = ()
    doomed_by: tuple[tuple[str, tuple[str, ...]], ...] = ()
    pulled: datetime | None = None


_NO_GROUNDS = Grounds()


@dataclass(frozen=True, slots=True)
class Step:
    """One change of the registry. `needs` are the numbers of the steps that must be done before it.

    `tags` go with the digest or, for an untag, alone. `also_in` are repositories outside the selection that also have
    the digest. `size` is in bytes. `frees` is how many bytes this step, after those before it, gives back at the
    registry's garbage collection. `is_named`: the user named it by its digest or by the exact names of its tags, so it
    may go although its subject stays. `created`: when the image was built, in UTC; None if that is not known or was not
    read. `grounds` are those of a policy.
    """

    number: int
    action: Action
    repository: Repository
    digest: Digest
    tags: tuple[Tag, ...]
    kind: StepKind
    because: str
    needs: tuple[int, ...] = ()
    platforms: tuple[str, ...] = ()
    size: int = 0
    also_in: tuple[Repository, ...] = ()
    frees: int = 0
    is_named: bool = False
    created: datetime | None = None
    grounds: Grounds = _NO_GROUNDS

    @property
    def is_untagged(self) -> bool:
        """Whether it was itself selected, and has no tag."""
        return not self.tags and self.kind in (StepKind.IMAGE, StepKind.INDEX)


@dataclass(frozen=True, slots=True)
class Reclaim:
    """The space that a plan gives back when the registry collects its garbage.

    `reclaimable_bytes` is the amount if `exact`, otherwise an upper bound, and `because` says why it may be less.
    `collector`: how the garbage collector is run. `warnings`: damage that the collector itself would do.
    `is_of_another`: the registry is not known to have distribution's collector.
    """

    reclaimable_bytes: int = 0
    exact: bool = False
    because: str = ""
    collector: Collector = Collector.DEFAULT
    warnings: tuple[str, ...] = ()
    is_of_another: bool = False


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that was selected and stays. `tags` are the selected ones."""

    repository: Repository
    digest: Digest
    tags: tuple[Tag, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class PolicySource:
    """The policy file that a plan was made from, and its lists; a run reads both again.

    `file` is its absolute path, `aliases` are other host names of the registry. `lists`: the name of each list of
    images in use, and its age in seconds when the plan was made. `names`: each list of names with its age, and how many
    names it had; `doomed`: each list of images to remove, with its age.
    """

    file: str
    lists: tuple[tuple[str, float], ...] = ()
    aliases: tuple[str, ...] = ()
    names: tuple[tuple[str, float, int], ...] = ()
    doomed: tuple[tuple[str, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """Steps in a safe order. `left_out`: repositories that are left as they are, and why.

    `tags_before` is the number of tags of each repository when the plan was made. `reclaim` and the steps' `frees` are
    filled in by `plan.reclaim`. `names_repositories`: the user named whole repositories to be emptied. `dangling`: tags
    that are listed and resolve to nothing. `kept_before`: of a saved plan, which does not name them, how many tags and
    untagged manifests were held back when it was made, by the kind of reason. `policy`: the file that it was made from.
    """

    registry: str
    made_at: datetime
    command: str
    steps: tuple[Step, ...]
    kept: tuple[Kept, ...] = ()
    left_out: Mapping[Repository, str] = field(default_factory=dict)
    options: RemovalOptions = RemovalOptions()
    tags_before: Mapping[Repository, int] = field(default_factory=dict)
    reclaim: Reclaim = Reclaim()
    names_repositories: bool = False
    dangling: Mapping[Repository, tuple[Tag, ...]] = field(default_factory=dict)
    kept_before: Mapping[str, int] = field(default_factory=dict)
    policy: PolicySource | None = None

    @property
    def by_repository(self) -> Mapping[Repository, Sequence[Step]]:
        """The steps of each repository."""
        return group_by_repository(self.steps)

    @property
    def repositories(self) -> tuple[Repository, ...]:
        return tuple(dict.fromkeys(step.repository for step in self.steps))

    @property
    def removed_tags(self) -> int:
        """The number of tags that go."""
        return sum(len(step.tags) for step in self.steps)

    @property
    def removed_untagged(self) -> int:
        """The number of manifests that were themselves selected, and have no tag."""
        return sum(step.is_untagged for step in self.steps)


class _OfRepository(Protocol):
    @property
    def repository(self) -> Repository: ...


_Entry = TypeVar("_Entry", bound=_OfRepository)


def group_by_repository(entries: Iterable[_Entry]) -> Mapping[Repository, Sequence[_Entry]]:
    """The entries of each repository, in their order."""
    found: dict[Repository, list[_Entry]] = defaultdict(list)
    for entry in entries:
        found[entry.repository].append(entry)
    return {**found}

"""The document of a report, as its JSON has it. Sizes are in bytes, times in UTC; what is not known is None."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

import msgspec

__all__ = [
    "Alarm",
    "Change",
    "Finding",
    "Growth",
    "Health",
    "Kind",
    "LastRun",
    "ListAge",
    "Node",
    "Pending",
    "Plan",
    "PlanChanges",
    "PlanGroup",
    "PlanImage",
    "PlanRow",
    "Report",
    "Space",
    "Week",
]


Kind = Literal["registry", "namespace", "repository", "tag", "layer", "rest"]
"""What a node of the space is."""


class Growth(msgspec.Struct, frozen=True, kw_only=True):
    """What changed since an earlier report of this machine: bytes and tags, negative if there are fewer."""

    since: datetime
    bytes: int
    tags: int


class LastRun(msgspec.Struct, frozen=True, kw_only=True):
    """The newest recorded removal. `failed` counts steps that failed or were left. `frees` is an upper bound unless
    `exact`. `undone`: all of it was put back. `collected`: since when it is known that its garbage was collected.
    `undo` is the command that puts it back, None if nothing is left to put back."""

    run: str
    when: datetime
    age_seconds: int
    command: str
    result: Literal["finished", "unfinished"]
    failed: int
    tags: int
    manifests: int
    frees: int
    exact: bool
    undone: bool
    collected: datetime | None
    undo: str | None


class Pending(msgspec.Struct, frozen=True, kw_only=True):
    """What recorded runs removed, was not put back, and is not known to be collected: `bytes` at most. The undo of all
    of it holds until the registry collects its garbage; `oldest` is when the oldest of the runs began."""

    bytes: int
    tags: int
    runs: int
    oldest: datetime | None
    undo: str | None


class ListAge(msgspec.Struct, frozen=True, kw_only=True):
    """A list of images in use. `stale`: it is older than its `max_age_seconds`, or, without one, than a day. `images`
    and `here` (how many of them the registry has) are None where the list was not read for this report."""

    name: str
    age_seconds: int
    max_age_seconds: int | None
    stale: bool
    images: int | None
    here: int | None


class Alarm(msgspec.Struct, frozen=True, kw_only=True):
    """The one thing to do first, and the command that mends it or shows more."""

    what: str
    command: str | None


class Week(msgspec.Struct, frozen=True, kw_only=True):
    """`stored` is what tags reach, each blob once; `exact`: everything was read. `broken` counts images
    that cannot be pulled whole; None if nothing looked."""

    stored: int
    exact: bool
    repositories: int
    tags: int
    growth: Growth | None
    last_run: LastRun | None
    pending: Pending
    broken: int | None
    lists: list[ListAge]
    alarm: Alarm | None


class Node(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A part of the registry. `reaches`: all bytes that its tags reach; `frees`: what removing it alone frees, which is
    the sum of what its `children` free and of `between`, what only several of them share. A `rest` stands for `number`
    nodes that are too small to show: its `frees` is the sum of theirs, and it reaches nothing. For a layer, `tags`
    counts those that reach it in the whole registry."""

    kind: Kind
    name: str
    frees: int
    reaches: int = 0
    between: int = 0
    tags: int = 0
    number: int = 0
    digest: str | None = None
    children: list[Node] = []

    @property
    def shared(self) -> int:
        """What it reaches and others reach as well."""
        return max(0, self.reaches - self.frees)


class Space(msgspec.Struct, frozen=True, kw_only=True):
    """`summed` counts the repositories, tags and layers that are in a `rest`."""

    root: Node
    summed: int


class PlanImage(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An image of a row. `frees` is with what goes `along`: children and referrers, counted."""

    tags: list[str]
    digest: str
    frees: int = 0
    size: int = 0
    along: int = 0
    created: datetime | None = None


class PlanRow(msgspec.Struct, frozen=True, kw_only=True):
    """One reason, and what it decides: tags, manifests without a tag, bytes. `images` names those that free the most;
    `more` are left out."""

    action: Literal["REMOVE", "UNTAG", "KEEP"]
    because: str
    tags: int
    untagged: int
    frees: int
    images: list[PlanImage]
    more: int


class PlanGroup(msgspec.Struct, frozen=True, kw_only=True):
    """What a policy decides in a repository. `policy` is None for a plan without policies."""

    policy: str | None
    repository: str
    removed: int
    kept: int
    frees: int
    rows: list[PlanRow]


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """A tag, or a manifest without one, that the last run's plan and this one treat differently; keys as in
    `plan diff`."""

    change: Literal["new to go", "goes from another digest", "no longer to go"]
    repository: str
    tag: str | None
    digest: str
    was: str | None
    frees: int
    size: int
    created: datetime | None


class PlanChanges(msgspec.Struct, frozen=True, kw_only=True):
    """The difference from the plan of `run`. What that run removed, and is still removed, is no difference. The counts
    are of all rows, also of those that are left out."""

    run: str
    when: datetime
    new: int
    moved: int
    no_longer: int
    rows: list[Change]
    left_out: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A plan. `source` is its file, or that of the policy. `refused` says why a run would be refused, or why there is
    no plan; then `sum` may be None. `frees` is an upper bound unless `exact`; `because` says why it may be less.
    `most_of`: the repositories of which it removes most; to carry it out, `confirm_tags` must then be confirmed: how
    many tags go.
    `left_out`: repositories that are left as they are, with the reason. `groups_left_out` counts groups that are not
    among `groups`: those that remove the least."""

    source: str
    kind: Literal["plan", "policy"]
    made: datetime | None = None
    sum: str | None = None
    command: str | None = None
    refused: str | None = None
    tags: int = 0
    untagged: int = 0
    signature_tags: int = 0
    held_back: int = 0
    frees: int = 0
    exact: bool = False
    because: str = ""
    most_of: list[str] = []
    confirm_tags: int | None = None
    groups: list[PlanGroup] = []
    groups_left_out: int = 0
    left_out: dict[str, str] = {}
    changes: PlanChanges | None = None


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """Something to look at, and the command that mends it or shows more. `broken`: an image cannot be pulled
    whole."""

    check: str
    found: str
    broken: bool
    command: str | None


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """`checked` says what looked: "registry" or "storage" as `doctor` does, or "records" for what the last reading and
    the records of this machine show. `left_out` counts findings that are not listed."""

    checked: Literal["registry", "storage", "records"]
    findings: list[Finding]
    left_out: int


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The whole document. `read` is when the tags were read. `notes` say what is summed, missing or old. `command`
    makes this report again."""

    version: Literal[1] = 1
    kind: Literal["report"] = "report"
    program: str
    registry: str
    made: datetime
    read: datetime | None
    command: str
    notes: list[str]
    week: Week
    space: Space
    plan: Plan | None
    health: Health

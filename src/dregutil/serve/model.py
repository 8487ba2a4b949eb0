"""The objects of the API, as its JSON has them. Sizes are in bytes, times in UTC; what is not known is None.

Texts of others (names, labels, messages) are made with `pages.label`: on one line, without characters that are not
shown.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

import msgspec

from dregutil.pages.model import Plan

__all__ = [
    "Answer",
    "Approval",
    "Empty",
    "Failure",
    "HoldEnd",
    "HoldList",
    "HoldWanted",
    "Holder",
    "Image",
    "ImagePage",
    "Job",
    "JobKind",
    "JobList",
    "JobState",
    "PlanDetail",
    "PlanList",
    "PlanState",
    "PlanSummary",
    "PlanToApply",
    "PlanWanted",
    "RefreshWanted",
    "RemovedPage",
    "RoleName",
    "Row",
    "RunDetail",
    "RunPage",
    "RunProgress",
    "Session",
    "StepPage",
    "Timeline",
    "TimelineEvent",
    "UndoOffer",
    "UndoWanted",
    "WhyList",
]

JobKind = Literal["refresh", "report", "index", "plan", "apply", "undo", "resume", "hold", "check", "why"]
JobState = Literal["waiting", "running", "done", "failed"]
PlanState = Literal["waiting", "approved", "running", "done", "failed", "expired", "superseded", "rejected", "lapsed"]
RoleName = Literal["viewer", "planner", "approver"]
Row = dict[str, Any]
"""One object of `--format json`, as docs/json.md has it."""


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What all answers are."""


class Failure(Answer, frozen=True, kw_only=True):
    """Why a request was refused or failed, and what to do next."""

    error: str
    advice: str | None = None


class Session(Answer, frozen=True, kw_only=True):
    """Whom this is shown to, and of what. `read` is when the tags were read; `images` is the number of rows in the
    index of images, None while there is none. `approvals`: how many people must approve a plan. `store` is the address
    of the team's store, None without one; `store_problem` says why it cannot be asked now."""

    version: Literal[1] = 1
    registry: str
    program: str
    command: str
    user: str
    roles: list[RoleName]
    approvals: int
    policy: str | None
    read: datetime | None
    images: int | None
    store: str | None = None
    store_problem: str | None = None


class Job(Answer, frozen=True, kw_only=True):
    """One command that this server runs as a process of its own. `result` names the plan or the run that it made;
    `command` does the same in a terminal."""

    id: str
    kind: JobKind
    what: str
    by: str
    started: datetime | None = None
    ended: datetime | None = None
    state: JobState = "waiting"
    done: int = 0
    total: int = 0
    noun: str = ""
    message: str | None = None
    advice: str | None = None
    result: dict[str, str] | None = None
    command: str


class JobList(Answer, frozen=True, kw_only=True):
    jobs: list[Job]


class Image(Answer, frozen=True, kw_only=True):
    """One tag. `frees` is what removing it alone frees; `verdict` is that of the policy, `because` its reason."""

    repository: str
    tag: str
    image: str
    digest: str
    created: datetime | None
    pulled: datetime | None
    size: int | None
    frees: int | None
    platforms: list[str]
    verdict: Literal["REMOVE", "KEEP"] | None
    because: str | None
    held: bool


class ImagePage(Answer, frozen=True, kw_only=True):
    """Some rows of a list of images. `command` lists the same in a terminal, None where there is none. `unread` counts
    the tags of the registry whose contents are not known: if there are any, what others free is an upper bound."""

    total: int
    offset: int
    rows: list[Image]
    read: datetime | None
    unread: int = 0
    command: str | None


EventKind = Literal["seen", "moved", "pulled", "removed", "undone", "collected", "held", "gone"]
"""What an event of a timeline is."""


class TimelineEvent(Answer, frozen=True, kw_only=True):
    when: datetime
    until: datetime | None = None
    what: EventKind
    image: str | None = None
    digest: str | None = None
    run: str | None = None
    by: str | None = None
    text: str


class Holder(Answer, frozen=True, kw_only=True):
    """A tag that leads to a digest or layer."""

    repository: str
    tag: str
    digest: str


class UndoOffer(Answer, frozen=True, kw_only=True):
    """What puts an image back."""

    run: str
    image: str
    command: str


class Timeline(Answer, frozen=True, kw_only=True):
    """What is known of one tag, digest or layer, in the order of time. `notes` say what is not known."""

    of: str
    kind: Literal["tag", "digest", "layer"]
    digest: str | None
    events: list[TimelineEvent]
    holders: list[Holder]
    more_holders: int
    holds: list[Row]
    undo: UndoOffer | None
    notes: list[str] = []
    command: str | None


class WhyList(Answer, frozen=True, kw_only=True):
    rows: list[Row]


class Approval(Answer, frozen=True, kw_only=True):
    by: str
    when: datetime
    expires: datetime


class PlanSummary(Answer, frozen=True, kw_only=True):
    """A plan that was saved. `sum` is its checksum, `needed` the number of approvals that it needs. `frees` is an upper
    bound unless `exact`. `tonight`: it is the newest one of the policy. `why`: what the team's store says of its
    state."""

    sum: str
    title: str
    kind: Literal["policy", "selection"]
    by: str
    made: datetime
    tags: int
    untagged: int
    frees: int
    exact: bool
    state: PlanState
    approvals: list[Approval]
    needed: int
    run: str | None
    tonight: bool
    why: str | None = None


class PlanList(Answer, frozen=True, kw_only=True):
    plans: list[PlanSummary]


class PlanDetail(Answer, frozen=True, kw_only=True):
    """A plan with its reasons. `why_not` says why the person who asked may not approve or apply it. `command`
    shows it in a terminal, or carries it out if they may do so now."""

    summary: PlanSummary
    plan: Plan
    may_approve: bool
    may_apply: bool
    why_not: str | None
    command: str


class StepPage(Answer, frozen=True, kw_only=True):
    """Some steps of a plan: objects of `dregutil plan show`."""

    total: int
    offset: int
    rows: list[Row]


class RunPage(Answer, frozen=True, kw_only=True):
    total: int
    runs: list[Row]


class RunProgress(Answer, frozen=True, kw_only=True):
    done: int
    total: int


class RunDetail(Answer, frozen=True, kw_only=True):
    """One run and some of its steps. `progress` is None unless it is running."""

    run: Row
    steps: list[Row]
    total: int
    offset: int
    progress: RunProgress | None
    can_undo: bool
    can_resume: bool
    command: str | None


class RemovedPage(Answer, frozen=True, kw_only=True):
    total: int
    rows: list[Row]


class HoldList(Answer, frozen=True, kw_only=True):
    holds: list[Row]


class Wanted(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the body of a request is. A field that is not known is an error."""


class Empty(Wanted, frozen=True, kw_only=True):
    """`{}`."""


class RefreshWanted(Wanted, frozen=True, kw_only=True):
    """`full`: read also what was not notified as changed."""

    full: bool = False


class PlanWanted(Wanted, frozen=True, kw_only=True):
    """A plan by the policy, or one that removes `images`."""

    policy: bool = False
    images: list[str] | None = None


class PlanToApply(Wanted, frozen=True, kw_only=True):
    """`confirm_tags`: the number of tags, typed by a person, for a plan that removes most of a repository."""

    confirm_tags: int | None = None


class UndoWanted(Wanted, frozen=True, kw_only=True):
    """`images`: None for the whole run."""

    images: list[str] | None = None


class HoldWanted(Wanted, frozen=True, kw_only=True):
    """`days`: None for no end."""

    image: str
    days: int | None = None
    because: str = ""


class HoldEnd(Wanted, frozen=True, kw_only=True):
    image: str

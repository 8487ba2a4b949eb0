"""Who may approve and carry out a plan, and what state it is in. Pure.

An approval is of one plan, by its sum, and lasts a day. Where several people must approve, who planned is none of them.
A role is of a name as it is written, but two spellings of one name are one person: a login may take either.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

__all__ = [
    "LASTS",
    "Approved",
    "Facts",
    "RunState",
    "State",
    "one_person",
    "over",
    "standing",
    "state_of",
    "why_not_apply",
    "why_not_approve",
]

LASTS = timedelta(hours=24)
_CLOCK = timedelta(minutes=1)  # an approval that is later than now by more counts for nothing: the clock was set back

State = Literal["waiting", "approved", "running", "done", "failed", "expired", "superseded", "rejected", "lapsed"]
RunState = Literal["running", "finished", "unfinished"]

_OF_RUN: Mapping[RunState, State] = {"running": "running", "finished": "done", "unfinished": "failed"}


@dataclass(frozen=True, slots=True)
class Approved:
    """That somebody approved the plan with the sum `plan`."""

    by: str
    when: datetime
    plan: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the plan with the sum `plan`.

    `planner` is None if the program made it by itself. `needed`: how many people must approve. `run`: that of the run
    that carries it out, None if none was recorded; `is_taken`: it is about to be carried out; `is_spent`: it was
    carried out, whether the record of that is still there or not. `is_empty`: it removes nothing. `is_replaced`: a
    newer plan by the policy takes its place. `may_approve` says whether a name still has that role. `decided` is the
    state that a shared store has decided, if the plan is in one, and `why` what it says of that.
    """

    plan: str
    planner: str | None
    needed: int
    approvals: Sequence[Approved] = ()
    run: RunState | None = None
    is_taken: bool = False
    is_spent: bool = False
    is_empty: bool = False
    is_replaced: bool = False
    may_approve: Callable[[str], bool] = bool
    decided: State | None = None
    why: str = ""


def one_person(name: str) -> str:
    """The same for all spellings of a name: whatever the case of its letters, their form in Unicode, and the spaces."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return " ".join(folded.split())


def standing(facts: Facts, now: datetime) -> tuple[Approved, ...]:
    """The approvals that count now: of this plan, not expired, one a person, by people who may."""
    return tuple(one for one in _meant(facts, now) if now < one.when + LASTS)


def state_of(facts: Facts, now: datetime) -> State:
    """The state of the plan. What the records say of its run comes first."""
    if facts.run is not None:
        return _OF_RUN[facts.run]
    if facts.is_taken:
        return "running"
    if facts.decided is not None:
        return facts.decided
    if facts.is_spent:
        return "done"
    if len(standing(facts, now)) >= facts.needed:
        return "approved"
    if facts.is_replaced:
        return "superseded"
    return "expired" if len(_meant(facts, now)) >= facts.needed else "waiting"


def why_not_approve(facts: Facts, name: str, now: datetime) -> str | None:
    """Why this person may not approve the plan; None if they may."""
    ended = over(facts, now)
    if ended is not None:
        return ended
    if not name or not facts.may_approve(name):
        return "only an approver approves plans"
    if facts.needed > 1 and _is_planner(facts, name):
        return f"{name} made this plan, and {facts.needed} others must approve it"
    if any(one_person(one.by) == one_person(name) for one in standing(facts, now)):
        return f"{name} has approved it already"
    return None


def why_not_apply(facts: Facts, name: str, now: datetime) -> str | None:
    """Why this person may not carry out the plan; None if they may."""
    ended = over(facts, now)
    if ended is not None:
        return ended
    if not name or not facts.may_approve(name):
        return "only an approver carries out plans"
    missing = facts.needed - len(standing(facts, now))
    if missing <= 0:
        return None
    expired = "an approval has expired: " if len(_meant(facts, now)) > len(standing(facts, now)) else ""
    people = "1 approval is" if missing == 1 else f"{missing} approvals are"
    return f"{expired}{people} missing"


def over(facts: Facts, now: datetime) -> str | None:
    """Why nothing can be done with the plan any more, whoever asks."""
    state = state_of(facts, now)
    if state == "done":
        return "it was carried out already"
    if state == "running":
        return "it is being carried out"
    if state == "failed" and facts.run is None:
        return f"it failed: {facts.why}" if facts.why else "it failed"
    if state == "failed":
        return "its run was interrupted: continue that, or undo it"
    if state == "rejected":
        return facts.why or "it was rejected"
    if state == "lapsed":
        return "it was not carried out in time: make the plan again"
    if state == "superseded":
        return "a newer plan by the policy takes its place"
    return "it removes nothing" if facts.is_empty else None


def _meant(facts: Facts, now: datetime) -> tuple[Approved, ...]:
    """The newest approval of each person who may approve this plan, expired or not."""
    newest: dict[str, Approved] = {}
    for one in facts.approvals:
        is_own = facts.needed > 1 and _is_planner(facts, one.by)
        is_past = one.when - _CLOCK <= now
        if is_past and one.plan == facts.plan and one.by and not is_own and facts.may_approve(one.by):
            before = newest.get(one_person(one.by))
            newest[one_person(one.by)] = one if before is None or one.when > before.when else before
    return tuple(newest.values())


def _is_planner(facts: Facts, name: str) -> bool:
    return facts.planner is not None and one_person(name) == one_person(facts.planner)

"""Plans of a shared store, as rows and objects. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import msgspec

from dregutil.report.units import age_text, plural
from dregutil.store.plans import StoredPlan

__all__ = ["refusal_of", "short_sum", "stored_plan_object", "stored_plan_pairs", "stored_plan_row"]

_DIGITS = 12


def short_sum(sum_: str) -> str:
    """The first digits of a plan's sum, as commands take them."""
    return sum_.removeprefix("sha256:")[:_DIGITS]


def stored_plan_object(plan: StoredPlan) -> dict[str, object]:
    return {
        "sum": plan.sum,
        "registry": plan.registry,
        "state": plan.state,
        "made": _moment(plan.made),
        "made_by": plan.made_by,
        "expires": _moment(plan.expires),
        "approvals_needed": plan.needed,
        "approved_by": list(plan.approved_by),
        "tags": plan.tags,
        "steps": plan.steps,
        "policy": plan.policy or None,
        "run": plan.run or None,
        "why": plan.why or None,
    }


def stored_plan_row(plan: StoredPlan, now: datetime) -> tuple[str, ...]:
    """What a list shows of a plan, in columns."""
    return (
        short_sum(plan.sum),
        plan.state,
        plan.registry,
        plural(plan.tags, "tag"),
        f"{age_text((now - plan.made).total_seconds())} ago by {plan.made_by}",
        _what(plan, now),
    )


class _Stays(msgspec.Struct):
    """Of what a plan's policy keeps: why a cleanup that nobody reviews refuses the plan."""

    refused: str | None = None


def refusal_of(stays: bytes | None) -> str:
    """Why a cleanup would refuse a plan, by what its maker put beside it; empty if it would not, or nobody knows."""
    try:
        return msgspec.json.decode(stays or b"{}", type=_Stays).refused or ""
    except msgspec.MsgspecError:  # of another version
        return ""


def stored_plan_pairs(plan: StoredPlan, refusal: str = "") -> Iterator[tuple[str, str]]:
    """Everything that is known of a plan, but its steps. `refusal`: see `refusal_of`."""
    yield "plan", plan.sum
    yield "registry", plan.registry
    yield "state", plan.state + (f": {plan.why}" if plan.why else "")
    yield "made", f"{plan.made:%Y-%m-%d %H:%M} UTC by {plan.made_by}"
    yield "expires", f"{plan.expires:%Y-%m-%d %H:%M} UTC"
    yield (
        "approvals",
        f"{len(plan.approved_by)} of {plan.needed}{': ' if plan.approved_by else ''}" + ", ".join(plan.approved_by),
    )
    if plan.policy:
        yield "policy", plan.policy
    if plan.run:
        yield "run", plan.run
    if refusal:
        yield "warning", f"{refusal}: review the plan before you approve it"


def _what(plan: StoredPlan, now: datetime) -> str:
    if plan.state == "waiting":
        left = age_text(max(0.0, (plan.expires - now).total_seconds()))
        return f"{len(plan.approved_by)} of {plan.needed} approvals, {left} left"
    return plan.why or plan.run or (f"approved by {', '.join(plan.approved_by)}" if plan.approved_by else "")


def _moment(when: datetime) -> str:
    return when.isoformat(timespec="seconds")

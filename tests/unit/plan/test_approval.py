"""Who may approve a plan, when an approval counts, and what state a plan has."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.plan.approval import LASTS, Approved, Facts, standing, state_of, why_not_apply, why_not_approve

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
SUM, OTHER = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def approved(by: str, ago: timedelta = timedelta(), plan: str = SUM) -> Approved:
    return Approved(by, NOW - ago, plan)


def facts(*approvals: Approved, needed: int = 1, planner: str | None = "ann") -> Facts:
    return Facts(SUM, planner, needed, approvals)


def test_one_person_may_plan_and_approve_where_one_approval_is_needed() -> None:
    assert why_not_approve(facts(), "ann", NOW) is None
    assert why_not_apply(facts(), "ann", NOW) == "1 approval is missing"
    assert state_of(facts(approved("ann")), NOW) == "approved"
    assert why_not_apply(facts(approved("ann")), "bob", NOW) is None


def test_with_two_who_planned_is_no_approver() -> None:
    assert why_not_approve(facts(needed=2), "ann", NOW) == "ann made this plan, and 2 others must approve it"
    forged = facts(approved("ann"), approved("bob"), needed=2)
    assert [one.by for one in standing(forged, NOW)] == ["bob"]
    assert why_not_apply(forged, "bob", NOW) == "1 approval is missing"
    assert state_of(facts(approved("bob"), approved("cy"), needed=2), NOW) == "approved"
    assert why_not_approve(facts(needed=2, planner=None), "ann", NOW) is None  # made by the program


def test_the_same_person_counts_once() -> None:
    twice = facts(approved("bob"), approved("bob", timedelta(hours=1)), needed=2)
    assert len(standing(twice, NOW)) == 1
    assert state_of(twice, NOW) == "waiting"
    assert why_not_approve(twice, "bob", NOW) == "bob has approved it already"


@pytest.mark.parametrize("other", ["José", "JOSÉ", "josé ", "jose\u0301", "ｊosé", "JOSE\u0301"])
def test_two_spellings_of_a_name_are_one_person(other: str) -> None:
    twice = facts(approved("josé", timedelta(hours=1)), approved(other), needed=2)
    assert [one.by for one in standing(twice, NOW)] == [other]
    assert why_not_approve(facts(approved("josé"), needed=2), other, NOW) == f"{other} has approved it already"
    own = facts(approved(other), needed=2, planner="josé")
    assert standing(own, NOW) == ()
    assert "made this plan" in str(why_not_approve(own, other, NOW))


@pytest.mark.parametrize("other", ["jose", "jos", "josé@example.com", "jo sé"])
def test_other_names_are_other_people(other: str) -> None:
    assert len(standing(facts(approved("josé"), approved(other), needed=2), NOW)) == 2
    assert why_not_approve(facts(needed=2, planner="josé"), other, NOW) is None


def test_an_approval_expires_after_a_day_and_can_be_given_again() -> None:
    late = facts(approved("bob", LASTS))
    assert state_of(facts(approved("bob", LASTS - timedelta(seconds=1))), NOW) == "approved"
    assert state_of(late, NOW) == "expired"
    assert why_not_apply(late, "bob", NOW) == "an approval has expired: 1 approval is missing"
    assert why_not_approve(late, "bob", NOW) is None
    assert state_of(replace(late, approvals=(*late.approvals, approved("bob"))), NOW) == "approved"


def test_an_approval_from_the_future_does_not_count() -> None:
    assert state_of(facts(approved("bob", -timedelta(hours=1))), NOW) != "approved"


def test_an_approval_is_of_one_plan() -> None:
    assert state_of(facts(approved("bob", plan=OTHER)), NOW) == "waiting"


def test_who_has_lost_the_role_counts_no_more() -> None:
    gone = replace(facts(approved("bob")), may_approve=lambda name: name == "cy")
    assert state_of(gone, NOW) == "waiting"
    assert why_not_approve(gone, "bob", NOW) == "only an approver approves plans"
    assert why_not_apply(replace(gone, approvals=(approved("cy"),)), "bob", NOW) == "only an approver carries out plans"
    assert why_not_approve(facts(), "", NOW) is not None


@pytest.mark.parametrize(
    ("changed", "state", "why"),
    [
        ({"run": "running"}, "running", "it is being carried out"),
        ({"run": "finished"}, "done", "it was carried out already"),
        ({"run": "unfinished"}, "failed", "its run was interrupted: continue that, or undo it"),
        ({"is_taken": True}, "running", "it is being carried out"),
        ({"is_spent": True}, "done", "it was carried out already"),
        ({"is_empty": True}, "approved", "it removes nothing"),
        ({"is_replaced": True, "approvals": ()}, "superseded", "a newer plan by the policy takes its place"),
    ],
)
def test_what_the_records_say_comes_first(changed: dict[str, object], state: str, why: str) -> None:
    found = replace(facts(approved("bob")), **changed)  # type: ignore[arg-type]
    assert state_of(found, NOW) == state
    assert why_not_approve(found, "cy", NOW) == why
    assert why_not_apply(found, "bob", NOW) == why


def test_what_is_approved_is_not_replaced() -> None:
    assert state_of(replace(facts(approved("bob")), is_replaced=True), NOW) == "approved"


@given(
    st.lists(
        st.builds(
            approved,
            st.sampled_from(["ann", "bob", "cy", "di"]),
            st.integers(-90, 90).map(lambda hours: timedelta(hours=hours)),
            st.sampled_from([SUM, OTHER]),
        )
    ),
    st.integers(1, 4),
    st.sampled_from([None, "ann"]),
)
def test_nothing_is_carried_out_without_enough_people(
    approvals: list[Approved], needed: int, planner: str | None
) -> None:
    found = Facts(SUM, planner, needed, approvals)
    people = {
        one.by
        for one in approvals
        if one.plan == SUM and timedelta() <= NOW - one.when < LASTS and (needed == 1 or one.by != planner)
    }
    assert (why_not_apply(found, "di", NOW) is None) == (len(people) >= needed)

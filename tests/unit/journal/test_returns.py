"""A tag that is missing for a while, returns, or arrives late: no verdict is harsher because of it, neither its own nor
that of another tag."""

from __future__ import annotations

import os
from collections.abc import Set
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_retention_properties import histories, kept, policies, verdicts

from dregutil.oci.names import Tag
from dregutil.retention.policy import Calendar, Last, Order, ParsedPolicy, Period, Within
from dregutil.retention.verdict import Former, TagFacts
from dregutil.select.glob import parse_glob
from histories import NOW, digest_of

places = st.sets(st.integers(0, 13), max_size=6)
hours = st.integers(0, 60)


# The histories above are varied; these are dense: images of one group, all dated, few of them kept.
orders = st.builds(
    lambda keep, order, age, empty: ParsedPolicy(
        "p", (parse_glob("**"),), (keep,), order=order, min_age=timedelta(days=age), allow_empty=empty
    ),
    st.one_of(
        st.integers(1, 4).map(lambda number: Last(number, f"last: {number}")),
        st.builds(
            lambda period, number: Calendar(period, number, f"{period}"), st.sampled_from(Period), st.integers(1, 3)
        ),
        st.integers(1, 20).map(lambda days: Within(timedelta(days=days), f"within: {days}d")),
    ),
    st.sampled_from((Order.TIME, Order.TIME, Order.VERSION)),
    st.sampled_from((0, 1)),
    st.booleans(),
)


@st.composite
def close(draw: st.DrawFn) -> list[TagFacts]:
    ages = draw(st.lists(st.integers(48, 60 * 24), min_size=4, max_size=10, unique=True))
    found = []
    for place, age in enumerate(ages):
        came = draw(st.sampled_from((None, None, 30, 40, 100, 200, age)))
        seen = None if came is None else NOW - timedelta(hours=min(came, age))
        image = max(0, place - draw(st.sampled_from((0, 0, 0, 1))))
        created, digest = NOW - timedelta(hours=ages[image]), digest_of(f"{image}")
        found.append(TagFacts(Tag(f"1.{place}"), digest, created, seen, seen or NOW - timedelta(days=70), unseen=seen))
    return found


rules_of_all = st.one_of(policies, orders)
all_histories = st.one_of(histories(), close(), close())


def returned(facts: TagFacts, hours: int) -> TagFacts:
    """The same tag after it was missing: a crawl so many hours ago saw it return."""
    moment = max(NOW - timedelta(hours=hours), facts.known_since or facts.seen or NOW - timedelta(days=999))
    known = facts.before
    former = Former(known.known_since or moment, known.seen, known.unseen)
    return replace(facts, seen=moment, known_since=moment, unseen=moment, former=former)


def chosen(facts: list[TagFacts], which: Set[int]) -> list[bool]:
    return [place in which for place in range(len(facts))]


# The same examples each time, so that a change does not fail by chance. DREGUTIL_LONG searches: an image whose date is
# exactly min_age ago, or is not known, may still be judged otherwise.
@pytest.mark.property
@settings(derandomize="DREGUTIL_LONG" not in os.environ)
@given(rules_of_all, all_histories, places, hours)
def test_a_return_makes_no_verdict_harsher(
    policy: ParsedPolicy, facts: list[TagFacts], which: set[int], hours: int
) -> None:
    after = [
        returned(one, hours) if back and one.former is None else one
        for one, back in zip(facts, chosen(facts, which), strict=True)
    ]
    assert kept(verdicts(policy, facts)) <= kept(verdicts(policy, after))


@pytest.mark.property
@given(rules_of_all, close())
def test_a_late_tag_displaces_no_more_than_one_that_always_existed(policy: ParsedPolicy, facts: list[TagFacts]) -> None:
    always = [replace(one, seen=None, unseen=None) for one in facts]
    assert kept(verdicts(policy, always)) <= kept(verdicts(policy, facts))


@pytest.mark.property
@given(rules_of_all, all_histories, places)
def test_a_missing_tag_displaces_no_other_tag(policy: ParsedPolicy, facts: list[TagFacts], which: set[int]) -> None:
    with_gaps = [
        replace(one, missing_since=NOW) if gone else one for one, gone in zip(facts, chosen(facts, which), strict=True)
    ]
    left = {str(one.tag) for one in with_gaps if one.missing_since is None}
    assert kept(verdicts(policy, facts)) & left <= kept(verdicts(policy, with_gaps))

"""Nothing is removed that version 2.0.0 kept, except as listed in the changelog."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

import odd_tags
from dregutil.oci.names import Repository, Tag
from dregutil.retention.judge import judge as judge_now
from dregutil.retention.policy import (
    All,
    Calendar,
    KeepRule,
    Last,
    Order,
    ParsedPolicy,
    ParsedSelect,
    Period,
    PolicySet,
    VersionRule,
)
from dregutil.retention.verdict import TagFacts
from dregutil.select.glob import parse_glob
from dregutil.select.selector import parse_selector
from histories import NOW, digest_of
from odd_tags import is_reread
from oracle_2_0_0.judge import judge as judge_then
from oracle_2_0_0.selector import parse_selector as parse_then

pytestmark = pytest.mark.property

APP = Repository("app")


@given(odd_tags.odd, odd_tags.selectors)
def test_what_a_selector_matches_2_0_0_matched(tag: str, selector: str) -> None:
    if parse_selector(selector).matches(tag) and not (
        is_reread(tag) or is_reread(selector) or _is_build(tag, selector)
    ):
        assert parse_then(selector).matches(tag)


@given(odd_tags.odd, odd_tags.selectors)
def test_what_2_0_0_excluded_is_excluded(tag: str, selector: str) -> None:
    if parse_then(selector).matches(tag):
        assert parse_selector(selector).may_match(tag)


@given(odd_tags.odd, odd_tags.selectors)
def test_what_a_selector_matches_its_exclusion_excludes(tag: str, selector: str) -> None:
    found = parse_selector(selector)
    assert found.may_match(tag) or not found.matches(tag)


def _is_build(tag: str, selector: str) -> bool:
    """`_` introduces build metadata: `==` and `<=` of its version match it. In a selector it is ordered."""
    return "_" in selector or ("_" in tag and "=" in selector)


_ranges = st.lists(odd_tags.selectors, min_size=1, max_size=2)
_rules = st.recursive(
    st.one_of(
        st.tuples(st.just("last"), st.integers(1, 4)),
        st.tuples(st.sampled_from(["monthly", "yearly"]), st.integers(1, 3)),
        st.tuples(st.just("versions"), _ranges),
    ),
    lambda rules: st.tuples(st.just("all"), st.lists(rules, min_size=2, max_size=2)),
    max_leaves=3,
)
_policies = st.lists(
    st.tuples(
        st.one_of(st.just([]), _ranges),
        st.lists(_rules, max_size=2),
        st.sampled_from([(), (), ("minor",), ("major",), ("variant",), ("minor", "variant")]),
    ),
    min_size=1,
    max_size=2,
)


@given(_policies, st.lists(st.tuples(odd_tags.plain, st.integers(0, 6), st.integers(0, 3)), max_size=10))
def test_no_policy_removes_what_2_0_0_kept(
    policies: list[tuple[list[str], list[tuple[str, Any]], tuple[str, ...]]], tags: list[tuple[str, int, int]]
) -> None:
    texts = [tag for tag, _, _ in tags] + [text for ranges, rules, _ in policies for text in (*ranges, *_texts(rules))]
    assume(not any(is_reread(text) for text in texts))
    assume(not any(_is_build(tag, text) for tag, *_ in tags for text in texts[len(tags) :]))
    facts = list(
        {
            tag: TagFacts(Tag(tag), digest_of(tag if image > 3 else str(image)), NOW - timedelta(days=100 + 100 * age))
            for tag, image, age in tags
        }.values()
    )
    kept_now = _kept(judge_now, policies, facts, parse_selector)
    kept_then = _kept(judge_then, policies, facts, parse_then)
    assert kept_then <= kept_now


def _kept(
    judge: Callable[..., Any],
    policies: list[tuple[list[str], list[tuple[str, Any]], tuple[str, ...]]],
    facts: Sequence[TagFacts],
    parse: Callable[[str], Any],
) -> set[str]:
    read = tuple(
        ParsedPolicy(
            f"p{number}",
            (parse_glob("**"),),
            tuple(_rule(rule, parse) for rule in rules),
            ParsedSelect(versions=tuple((parse(text),) for text in ranges)),
            group_by=group_by,
            order=Order.VERSION,
            min_age=timedelta(0),
        )
        for number, (ranges, rules, group_by) in enumerate(policies)
    )
    judged = judge(PolicySet(read), {APP: facts}, now=NOW)
    return {str(verdict.facts.tag) for verdict in judged if not verdict.goes}


def _rule(rule: tuple[str, Any], parse: Callable[[str], Any]) -> KeepRule:
    kind, value = rule
    text = f"{kind}: {value}"
    if kind == "last":
        return Last(value, text)
    if kind == "versions":
        return VersionRule((tuple(parse(part) for part in value),), text)
    if kind == "all":
        return All(tuple(_rule(one, parse) for one in value), text)
    return Calendar(Period(kind), value, text)


def _texts(rules: Sequence[tuple[str, Any]]) -> list[str]:
    found: list[str] = []
    for kind, value in rules:
        found += value if kind == "versions" else _texts(value) if kind == "all" else []
    return found

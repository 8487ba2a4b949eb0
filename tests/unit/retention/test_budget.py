"""`keep_under` and `--free`: the oldest of what nothing keeps goes until the rest fits, and no more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.budget import BudgetReport, oldest_until, within_budgets
from dregutil.retention.judge import judge
from dregutil.retention.policyfile import PolicyError, read_policy
from dregutil.retention.verdict import Judgement, TagFacts
from histories import HOLD, NOW, digest_of

APP = Repository("app")
POLICY = """version: 1
defaults: {{allow_empty: true}}
policies: [{{name: p, repositories: ["**"], keep_under: {size}, keep: {keep}}}]
"""
Blobs = Mapping[Digest, Mapping[Digest, int]]


def judged(
    size: str, facts: list[TagFacts], blobs: Blobs, keep: str = "{none: true}"
) -> tuple[Judgement, BudgetReport]:
    policies = read_policy(POLICY.format(size=size, keep=keep))
    found, (report,) = within_budgets(policies, judge(policies, {APP: facts}, now=NOW), lambda one: blobs.get(one, {}))
    return found, report


def image(tag: str, days: float, *, name: str = "") -> TagFacts:
    return TagFacts(Tag(tag), digest_of(name or tag), NOW - timedelta(days=days))


def of(size: int, *names: str, base: int = 0) -> dict[Digest, dict[Digest, int]]:
    """Images with a layer of `size` bytes each, on a common one of `base` bytes."""
    shared = {digest_of("base"): base} if base else {}
    return {digest_of(name): {digest_of(f"layer {name}"): size, **shared} for name in names}


def removed(found: Judgement) -> set[str]:
    return {str(one.facts.tag) for one in found if one.goes}


FOUR = [image(tag, days) for tag, days in (("a", 40), ("b", 30), ("c", 20), ("d", 10))]


def test_the_oldest_go_until_the_rest_fits() -> None:
    blobs = of(10, "a", "b", "c", "d", base=100)
    found, report = judged("125", FOUR, blobs)
    assert removed(found) == {"a", "b"}
    assert (report.before, report.after, report.over) == (140, 120, False)
    reasons = {str(one.facts.tag): [reason.text for reason in one.reasons] for one in found}
    assert reasons["a"] == ["among the oldest beyond keep_under: 125"]
    assert reasons["c"] == ["keep_under: 125"]
    assert removed(judged("140", FOUR, blobs)[0]) == set()


def test_what_something_keeps_stays_and_the_report_says_that_it_does_not_fit() -> None:
    held = [replace(FOUR[0], held=HOLD), *FOUR[1:]]
    found, report = judged("15", held, of(10, "a", "b", "c", "d"), keep="{last: 1}")
    assert removed(found) == {"b", "c"}
    assert (report.after, report.over) == (20, True)


def test_an_unknown_date_stays() -> None:
    undated = [replace(one, created=None) for one in FOUR]
    assert removed(judged("1", undated, of(10, "a", "b", "c", "d"))[0]) == set()


def test_tags_of_one_image_and_an_index_with_its_children_go_together() -> None:
    facts = [image("a", 40, name="x"), image("a2", 40, name="x"), image("b", 30)]
    index = replace(image("i", 50), contains=(digest_of("b"),))
    blobs = {**of(10, "x", "b"), digest_of("i"): {digest_of("i"): 1, digest_of("layer b"): 10}}
    assert removed(judged("12", [*facts, index], blobs)[0]) == {"a", "a2"}
    assert removed(judged("10", [*facts, index], blobs)[0]) == {"a", "a2", "b", "i"}


def test_what_was_removed_before_counts_no_more() -> None:
    """Seven nights without a collection: after the first, nothing goes, since no tag reaches what went."""
    blobs, facts = of(10, "a", "b", "c", "d"), list(FOUR)
    nights = []
    for _ in range(7):
        found, _ = judged("25", facts, blobs)
        nights.append(removed(found))
        facts = [one for one in facts if str(one.tag) not in nights[-1]]
    assert nights == [{"a", "b"}, *([set()] * 6)]


def test_until_so_much_is_freed() -> None:
    policies = read_policy(POLICY.format(size="0", keep="{none: true}").replace("keep_under: 0, ", ""))
    judgement = judge(policies, {APP: FOUR}, now=NOW)
    blobs = of(10, "a", "b", "c", "d", base=100)

    def freed(wanted: int) -> list[str]:
        return [str(one.facts.tag) for one in oldest_until(judgement, wanted, lambda one: blobs[one])]

    assert freed(0) == []
    assert freed(-5) == []
    assert freed(15) == ["a", "b"]
    assert freed(35) == ["a", "b", "c", "d"]  # the common layer goes with the last of them
    held = frozenset({(APP, digest_of("a"))})
    assert [one.facts.tag for one in oldest_until(judgement, 15, lambda one: blobs[one], held)] == ["b", "c"]


@pytest.mark.parametrize("size", ["much", "-1", "2TX"])
def test_mistakes(size: str) -> None:
    with pytest.raises(PolicyError):
        read_policy(POLICY.format(size=size, keep="{last: 1}"))


worlds = st.lists(
    st.tuples(
        st.sampled_from("abcdef"),  # content
        st.integers(2, 60),  # days
        st.booleans(),  # held
    ),
    max_size=8,
).map(
    lambda rows: [
        replace(image(f"t{number}", days, name=name), held=HOLD if held else None)
        for number, (name, days, held) in enumerate(rows)
    ]
)
contents = st.fixed_dictionaries(
    {
        digest_of(name): st.dictionaries(
            st.sampled_from([digest_of(f"l{n}") for n in range(5)]), st.just(1), max_size=4
        )
        for name in "abcdef"
    }
)


@given(worlds, contents, st.integers(0, 5))
def test_it_fits_or_nothing_else_may_go_and_one_less_would_not_do(
    facts: list[TagFacts], blobs: Blobs, budget: int
) -> None:
    def reached(tags: set[str]) -> int:
        return len({blob for one in facts if str(one.tag) in tags for blob in blobs[one.digest]})

    found, report = judged(str(budget), facts, blobs)
    everything = {str(one.tag) for one in facts}
    gone, could = removed(found), removed(judge(read_policy(ALL), {APP: facts}, now=NOW))
    assert gone <= could
    assert report.before == reached(everything)
    assert report.after == reached(everything - gone)
    assert report.after <= budget or gone == could
    if gone:
        newest = max(one.facts.created for one in found if one.goes and one.facts.created is not None)
        last = {str(one.facts.tag) for one in found if one.goes and one.facts.created == newest}
        assert reached(everything - gone | last) > budget, "without the last of them it did not fit"


ALL = """version: 1
defaults: {allow_empty: true}
policies: [{name: p, repositories: ["**"], keep: {none: true}, order: time}]
"""

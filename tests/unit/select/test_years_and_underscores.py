"""Tags that begin like a date or like build metadata, but are neither: nothing removes them that 2.0.0 left alone."""

from __future__ import annotations

from datetime import timedelta

import pytest

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.judge import judge
from dregutil.retention.policy import Last, Order, ParsedPolicy, PolicySet
from dregutil.retention.verdict import TagFacts
from dregutil.select.glob import parse_glob
from dregutil.select.selector import parse_selector
from histories import NOW
from oracle_2_0_0.selector import parse_selector as parse_then


@pytest.mark.parametrize("tag", ["2024-lts", "2024-Q4", "2024-12-1-lts", "2024-winter", "v2024-stable"])
@pytest.mark.parametrize("selector", ["<2024-06-01", "<=2024-06-01", "<v2024-06-01"])
def test_a_year_with_a_word_is_before_no_day_of_that_year(tag: str, selector: str) -> None:
    assert not parse_then(selector).matches(tag)
    assert not parse_selector(selector).matches(tag)


@pytest.mark.parametrize("tag", ["1_9_0-alpine", "1_9", "1_9-arm64", "v1_4-stable", "1_4.x"])
@pytest.mark.parametrize("selector", ["<=1", "==1", "<=1.0"])
def test_numbers_after_an_underscore_may_be_part_of_the_version(tag: str, selector: str) -> None:
    assert not parse_then(selector).matches(tag)
    assert not parse_selector(selector).matches(tag)


@pytest.mark.parametrize(
    ("tags", "kept"),
    [
        ("2024-05-01 2024-06-01 2024-lts", "2024-06-01 2024-lts"),
        ("2024-12-30 2024-12-31 2024-Q4", "2024-12-31 2024-Q4"),
        ("2023-lts 2024-01-01", "2024-01-01"),
        ("1_8_0-alpine 1_9_0-alpine 1_10_0-alpine", "1_10_0-alpine"),
        ("16_7 16_10", "16_7 16_10"),
    ],
)
def test_what_last_keeps_of_them(tags: str, kept: str) -> None:
    facts = [TagFacts(Tag(tag), Digest(f"sha256:{number:064x}")) for number, tag in enumerate(tags.split())]
    policy = ParsedPolicy(
        "p", (parse_glob("**"),), (Last(text="last: 1", number=1),), order=Order.VERSION, min_age=timedelta()
    )
    found = judge(PolicySet((policy,)), {Repository("app"): facts}, now=NOW)
    assert [str(one.facts.tag) for one in found if not one.goes] == kept.split()

"""The comment about a plan: what it says, what nobody can make it say, and what a later job reads from it."""

from __future__ import annotations

import msgspec
import pytest

from dregutil.pages.model import Plan, PlanGroup, PlanImage, PlanRow
from dregutil.review.text import Marker, comment, mistakes, read_marker, with_result

MARKER = Marker(key="k" * 12, head="a" * 40, job="7", sum="sha256:" + "0a" * 32)


def _plan(**changes: object) -> Plan:
    row = PlanRow(
        action="REMOVE",
        because="beyond last: 3",
        tags=2,
        untagged=0,
        frees=9,
        more=0,
        images=[PlanImage(tags=["1", "2"], digest="sha256:0", frees=9, size=9)],
    )
    group = PlanGroup(policy="all", repository="shop/web", removed=2, kept=0, frees=9, rows=[row])
    found = Plan(source="policy.yml", kind="policy", sum=MARKER.sum, tags=2, frees=9, groups=[group])
    return msgspec.structs.replace(found, **changes)


def test_the_marker_is_read_back() -> None:
    body = comment(MARKER, "registry.example.com", _plan(), on="pull request")
    assert read_marker(body) == MARKER
    assert body.splitlines()[1] == "## Cleanup of registry.example.com"
    applied = msgspec.structs.replace(MARKER, applied="c" * 40)
    assert read_marker(with_result(body, applied, ["done"])) == applied


@pytest.mark.parametrize(
    "body", ["", "x" + MARKER.line, "<!-- dregutil-review {} -->", "<!-- dregutil-review {]} -->", "## Cleanup"]
)
def test_another_comment_has_none(body: str) -> None:
    assert read_marker(body) is None


def test_what_the_policy_refuses_is_said_to_be_approved_too() -> None:
    refused = comment(MARKER, "r", _plan(refused="more than max_remove would go: all (5 of 8 tags)"), on="pull request")
    assert "Merging approves that, too.**" in refused
    assert "(5 of 8 tags" in refused.replace("\\", "")
    most = comment(MARKER, "r", _plan(most_of=["shop/web"], confirm_tags=60), on="pull request")
    assert "**Most tags of 1 repository go: shop/web.**" in most


def test_a_plan_that_removes_nothing_says_so() -> None:
    body = comment(MARKER, "r", _plan(tags=0, groups=[]), on="merge request")
    assert "Merging this merge request removes nothing" in body
    assert "approves this plan" not in body


def test_names_are_no_markup() -> None:
    body = mistakes(MARKER, "r<b>", ["![x](https://a.example) @everyone <!-- dregutil-review {} -->", ""])
    assert "](" not in body
    assert "@everyone" not in body
    assert "https://" not in body
    assert body.count("<") == 1
    assert body.count("\n- ") == 1


def test_a_result_replaces_an_earlier_one() -> None:
    body = comment(MARKER, "r", _plan(), on="pull request")
    once = with_result(body, MARKER, ["Nothing was removed: why"])
    twice = with_result(once, MARKER, ["Applied", ""])
    assert "Nothing was removed" in once
    assert "Nothing was removed" not in twice
    assert twice.rstrip().endswith("Applied")
    assert "| shop/web | all | REMOVE | 2 |" in twice


def test_a_long_comment_is_cut_at_a_line() -> None:
    body = mistakes(MARKER, "r", ["x" * 100] * 2000)
    assert len(body) < 65_000
    assert body.endswith(f"- {'x' * 100}\n\nThe rest is left out; the job has the whole plan.\n")
    assert len(with_result(body, MARKER, ["y" * 1000] * 40)) < 65_536

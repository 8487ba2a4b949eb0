"""Policies of several files under one floor."""

from __future__ import annotations

import itertools
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.oci.names import Repository, Tag
from dregutil.retention.judge import judge
from dregutil.retention.policy import Limit
from dregutil.retention.policyfile import (
    Floor,
    Keep,
    Policy,
    PolicyError,
    Protect,
    policy_set,
    read_policies,
    read_policy,
)
from dregutil.retention.verdict import TagFacts
from dregutil.select.glob import parse_glob
from dregutil.session import load_policy
from histories import NOW, digest_of

FLOOR = """version: 1
floor:
  keep: {last: 2}
  protect: {tags: [latest], labels: {keep: "true"}}
  min_age: 3d
  max_remove: 20%
"""


def team(name: str, repositories: str, more: str = "keep: {none: true}") -> str:
    return f"version: 1\npolicies:\n  - {{name: {name}, repositories: ['{repositories}'], {more}}}\n"


def mistakes(**texts: str) -> list[str]:
    with pytest.raises(PolicyError) as failed:
        read_policies({f"{name}.yaml": text for name, text in texts.items()})
    return list(failed.value.lines)


def test_no_policy_goes_below_the_floor() -> None:
    own = team("web", "web/**", "keep: {none: true}, min_age: 1h, max_remove: 100%")
    limited = team("api", "api/**", "keep: {last: 9}, min_age: 9d, max_remove: 5")
    found = read_policies({"floor.yaml": FLOOR, "web.yaml": own, "api.yaml": limited})
    api, web = found.policies
    assert (api.file, web.file) == ("api.yaml", "web.yaml")
    assert [rule.text for rule in web.keep] == ["floor: last: 2"]
    assert [rule.text for rule in api.keep] == ["last: 9", "floor: last: 2"]
    assert (web.min_age, api.min_age) == (timedelta(days=3), timedelta(days=9))
    assert (web.max_remove.text, api.max_remove.text) == ("20%", "20% and 5 tags")
    assert [label.text for label in found.protect.labels] == ["keep=true"]
    facts = [TagFacts(Tag(f"t{days}"), digest_of(str(days)), NOW - timedelta(days=days)) for days in (10, 20, 30)]
    judged = judge(found, {Repository("web/a"): facts}, now=NOW)
    assert [(verdict.goes, str(verdict.reasons[0])) for verdict in judged] == [
        (False, "floor: last: 2"),
        (False, "floor: last: 2"),
        (True, "beyond floor: last: 2"),
    ]


def test_a_limit_of_a_share_and_a_number_allows_what_both_do() -> None:
    both = Limit(share=0.5).joined(Limit(number=3))
    assert [both.allows(removed, selected) for removed, selected in ((3, 6), (4, 8), (3, 5))] == [True, False, False]
    assert Limit(share=0.5).joined(Limit(share=0.2)) == Limit(share=0.2)
    assert Limit(number=5).joined(Limit(number=3)) == Limit(number=3)


def test_the_order_of_the_files_does_not_matter() -> None:
    texts = {"floor.yaml": FLOOR, "a.yaml": team("a", "a/*"), "b.yaml": team("b", "b/**")}
    found = {read_policies(dict(order)) for order in itertools.permutations(texts.items())}
    assert len(found) == 1


def test_policies_of_two_files_that_apply_to_one_repository_are_refused() -> None:
    assert mistakes(a=team("a", "team/**"), b=team("b", "**/web")) == [
        "b.yaml:3:5: 'b' and 'a' in a.yaml both apply to repositories such as 'team/web': "
        "which of them owns a tag would depend on the order of the files"
    ]
    strays = team("b", "**", "select: {untagged: true}, keep: {within: 14d}")
    assert len(read_policies({"a.yaml": team("a", "team/**"), "b.yaml": strays}).policies) == 2
    inside = team("a", "**") + "  - {name: b, repositories: ['**'], keep: {last: 1}}\n"
    assert len(read_policies({"a.yaml": inside}).policies) == 2


def test_mistakes_name_their_files() -> None:
    zone = "timezone: Asia/Tokyo\n"
    assert mistakes(b=team("b", "b", "keep: {lst: 1}"), a=team("a", "a", "keep: {last: 0}")) == [
        "a.yaml:3:49: '0' is not a whole number of at least 1",
        "b.yaml:3:43: unknown key 'lst' in 'keep': did you mean 'last'?",
    ]
    assert mistakes(a=team("x", "a"), b=team("x", "b")) == ["b.yaml:3:5: a policy in a.yaml is called 'x', too"]
    assert mistakes(a=FLOOR, b=FLOOR) == ["b.yaml:1:1: a.yaml has a 'floor' already"]
    assert mistakes(a=team("a", "a"), b=zone + team("b", "b")) == [
        "b.yaml:1:1: its 'timezone' is not that of a.yaml, UTC"
    ]
    assert mistakes(a="version: 1") == ["a.yaml:1:1: the policy file has no 'policies'"]
    assert mistakes(a="version: 1\nfloor: {last: 1}") == [
        "a.yaml:2:9: unknown key 'last' in 'floor': there are keep, protect, min_age, max_remove"
    ]


def test_a_folder_is_read_as_its_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no policy in"):
        load_policy(tmp_path)
    for name, text in (("floor.yaml", FLOOR), ("web.yml", team("web", "web")), ("notes.txt", "x"), (".x.yaml", "x")):
        (tmp_path / name).write_text(text)
    found = load_policy(tmp_path)
    assert [policy.file for policy in found.policies] == [str(tmp_path / "web.yml")]
    assert found.floor is not None


def test_a_floor_in_python_is_that_of_a_file() -> None:
    floor = Floor(
        keep=Keep(last=2), protect=Protect(tags=["latest"], labels=["keep=true"]), min_age="3d", max_remove="20%"
    )
    made = policy_set([Policy(name="a", repositories=["a"], keep=Keep(last=1))], floor=floor, name="f")
    read = read_policy(FLOOR + team("a", "a", "keep: {last: 1}").removeprefix("version: 1\n"), "f")
    assert made.floor == read.floor
    assert made.policies[0].keep == read.policies[0].keep
    with pytest.raises(TypeError):
        Floor(keep={"last": 1})  # type: ignore[arg-type]


@pytest.mark.property
@given(*(st.lists(st.sampled_from(("a", "b", "/", "*", "**/", "**", "?", "[ab]", "{a,b/}")), max_size=5),) * 2)
def test_globs_share_a_name_if_and_only_if_some_name_matches_both(one: list[str], other: list[str]) -> None:
    first, second = parse_glob("".join(one) or "a"), parse_glob("".join(other) or "a")
    shared = first.shared(second)
    assert shared == "" or (first.matches(shared) and second.matches(shared))
    names = ("".join(name) for length in range(1, 5) for name in itertools.product("ab/", repeat=length))
    assert bool(shared) or not any(first.matches(name) and second.matches(name) for name in names)

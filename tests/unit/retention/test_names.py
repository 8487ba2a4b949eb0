"""Lists of names, such as living branches: which are refused, and how names are compared."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from dregutil.errors import RefusedError
from dregutil.oci.names import Repository, Tag
from dregutil.retention.explain import explain
from dregutil.retention.judge import judge
from dregutil.retention.names import NamesFile, list_sizes, name_rules, read_names, slug, with_names
from dregutil.retention.policy import PolicySet
from dregutil.retention.policyfile import read_policy
from dregutil.retention.read_lists import read_name_lists
from dregutil.retention.verdict import TagFacts
from histories import NOW, digest_of

POLICY = read_policy("""version: 1
policies:
  - name: p
    repositories: ["**"]
    select: {regex: '(?P<branch>.+)-[0-9]'}
    keep: {all: [{named_in: {file: alive.txt, max_age: 24h}, by: branch}, {within: 30d}]}
""")
(RULE,) = name_rules(POLICY)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("main", "main"),
        ("Feature/Login_page", "feature-login-page"),
        ("/-x-/", "x"),
        ("1.0", "1-0"),
        ("ümlaut", "mlaut"),
        ("a" * 70, "a" * 63),
        ("a" * 62 + "/b", "a" * 62),
        ("__", ""),
    ],
)
def test_names_are_compared_as_gitlab_writes_them(name: str, found: str) -> None:
    assert slug(name) == found


@pytest.mark.parametrize(
    ("text", "age", "before", "told"),
    [
        ("", 0, 0, "the list alive.txt of names is empty"),
        (" \n\n", 0, 0, "the list alive.txt of names is empty"),
        ("main", 25, 0, "the list alive.txt of names is 1d1h old, and max_age is 1d"),
        ('[{"name": "main"}]', 0, 0, "the list alive.txt of names is JSON"),
        ("a\nb\nc\nd\ne\nf\ng", 0, 10, "the list alive.txt of names has 7 names, and had 10 at the last cleanup"),
    ],
)
def test_a_list_that_would_remove_what_lives_refuses_the_run(text: str, age: int, before: int, told: str) -> None:
    with pytest.raises(RefusedError, match=told):
        read_names(RULE, NamesFile(text, timedelta(hours=age)), before)


@pytest.mark.parametrize(("number", "before"), [(8, 10), (10, 10), (20, 10), (1, 3), (1, 0)])
def test_a_list_that_lost_few_names_is_read(number: int, before: int) -> None:
    text = "\n".join(map(str, range(number)))
    assert read_names(RULE, NamesFile(text, timedelta(0)), before).size == number
    shrunk = replace(RULE, max_shrink=RULE.max_shrink * 3)
    assert read_names(shrunk, NamesFile("a\nb", timedelta(0)), 10).size == 2 if before == 3 else True


def test_a_list_is_read_from_the_folder_of_the_policy(tmp_path: Path) -> None:
    with pytest.raises(RefusedError, match="of names cannot be read: No such file"):
        read_name_lists(POLICY, tmp_path, {})
    (tmp_path / "alive.txt").write_text("main\ndev\n")
    assert list_sizes(read_name_lists(POLICY, tmp_path, {})) == {"alive.txt": 2}
    with pytest.raises(RefusedError, match="has 2 names, and had 9"):
        read_name_lists(POLICY, tmp_path, {"alive.txt": 9})
    os.utime(tmp_path / "alive.txt", (time.time() - 90000,) * 2)
    with pytest.raises(RefusedError, match="is 1d1h old"):
        read_name_lists(POLICY, tmp_path, {})
    (tmp_path / "alive.txt").write_bytes(b"\xff\x00\xff")
    with pytest.raises(RefusedError, match="no UTF-8 text"):
        read_name_lists(POLICY, tmp_path, {})


def judged(policies: PolicySet) -> list[str]:
    facts = [
        TagFacts(Tag(tag), digest_of(tag), NOW - timedelta(days=days)) for tag, days in (("main-1", 9), ("x-2", 8))
    ]
    verdicts = judge(policies, {Repository("app"): facts}, now=NOW).verdicts[Repository("app")]
    factors = (explain(policies, verdicts, verdict, NOW) for verdict in verdicts)
    return [next(one.text for one in found if one.what.startswith("named_in")) for found in factors]


def test_without_its_list_a_rule_keeps_everything() -> None:
    assert all(rule.names is None for rule in name_rules(POLICY))
    one = replace(POLICY, policies=(replace(POLICY.policies[0], keep=(RULE,)),))
    assert judged(one) == ["main is in the list", "x is in the list"]
    read = with_names(one, lambda rule: read_names(rule, NamesFile("main", timedelta(0))))
    assert judged(read) == ["main is in the list", "x is not in the list"]

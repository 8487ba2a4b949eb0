"""No pattern on the command line or in a policy can make a command hang, and each means what it always did."""

from __future__ import annotations

import re
import signal
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dregutil
from dregutil.errors import UsageError
from dregutil.retention.policyfile import read_policy
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.glob import parse_glob
from dregutil.select.selection import select_repositories, select_tags
from dregutil.select.selector import TagSelector
from images import Pusher
from program import Program
from servers import DistributionServer

SLOW = [
    r"(a+)+$",
    r"(a|aa)+$",
    r"(a*)*b",
    r"(.*)*x",
    r"^(([a-z])+.)+[A-Z]([a-z])+$",
    r"(?=(a+)+$)b",
    r"(?:a?){40}a{40}$",
]
LONG = 20.0  # seconds: many times the limit, on a busy machine


@pytest.mark.parametrize("text", SLOW)
def test_a_regular_expression_that_backtracks_too_long_is_stopped(text: str) -> None:
    before, began = signal.getsignal(signal.SIGVTALRM), time.process_time()
    found = BoundedRegex(text, most=0.05)
    with pytest.raises(UsageError, match="takes too long"):
        found.match("a" * 127 + "-")
    assert time.process_time() - began < LONG
    assert signal.getsignal(signal.SIGVTALRM) is before
    assert signal.getitimer(signal.ITIMER_VIRTUAL)[0] == 0


def test_the_time_limit_covers_all_tags_together() -> None:
    found, began = BoundedRegex(r"(a+)+$", in_all=0.1), time.process_time()
    with pytest.raises(UsageError, match="too long"):
        _match_often(found, "a" * 21 + "-")  # well above what counts as slow, on a fast machine too
    assert time.process_time() - began < LONG


def _match_often(found: BoundedRegex, tag: str) -> None:
    for _ in range(1000):
        found.match(tag)


@pytest.mark.filterwarnings("ignore:Possible:FutureWarning")  # of nested sets, which Python may support one day
@given(
    st.text(r"ab1.*+?|()[]^$\d-{},2=!<:", max_size=10),
    st.text("ab1.-", max_size=8),
)
def test_it_matches_like_re(text: str, tag: str) -> None:
    try:
        plain = re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        with pytest.raises(type(error)):
            BoundedRegex(text)
        return
    found = BoundedRegex(text)
    for mine, theirs in ((found.match(tag), plain.match(tag)), (found.fullmatch(tag), plain.fullmatch(tag))):
        assert (mine and (mine.span(), mine.groups())) == (theirs and (theirs.span(), theirs.groups()))


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        (r"(?!1\.)2", "2.0"),
        (r"(a|b)\1", "bb"),
        (r"(?<!a)b", "b"),
        (r"(?i)V1", "v1"),
        (r"(?P<n>\d)\.(?P=n)", "1.1"),
        ("[[a]", "["),
    ],
)
def test_python_syntax_still_works(text: str, tag: str) -> None:
    assert TagSelector.build(regex=[text]).matches(tag)


@pytest.mark.parametrize(
    "text", ["{a,aa}" * 32, "{a,a}" * 60, "{a,aa,}" * 100, "{" * 490 + "a" + "}" * 490, "*a*a*a*a*"]
)
def test_no_glob_is_slow(text: str) -> None:
    found, began = parse_glob(text), time.process_time()
    for name in ("a" * 255, "a" * 254 + "/", "a" * 60 + "b"):
        found.matches(name)
    assert time.process_time() - began < LONG


def test_a_glob_with_alternatives_matches_each_of_them() -> None:
    found = parse_glob("{a,aa}" * 3)
    assert [number for number in range(9) if found.matches("a" * number)] == [3, 4, 5, 6]


def test_a_glob_that_is_too_long_is_refused() -> None:
    with pytest.raises(ValueError, match="characters"):
        parse_glob("a" * 100_000)


def test_commands_and_policies_fail_with_one_line(program: Program) -> None:
    for arguments in (
        ("query-tags", "-r", "shop/web", "-re", "(a+)+$"),
        ("query-tags", "-r", "shop/web", "-t", "1.0", "-xre", "(a+)+$"),
        ("remove-tags", "-r", "shop/web", "-re", "(a+)+$", "-y"),
        ("cleanup", "-f", "policy.yml", "-y"),
        ("policy", "check", "policy.yml", "--against", program.url),
    ):
        found = program.run(*arguments)
        assert found.returncode == 2, found.stderr
        assert "takes too long" in found.stderr
        assert "defect" not in found.stderr
    assert program.run("list-tag-names", "{a,aa}" * 32).returncode == 1  # no repository matches


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: object) -> Program:
    from pathlib import Path

    assert isinstance(tmp_path, Path)
    pusher.push_image("shop/web", "a" * 120 + "-", "1.0", seed="one")
    (tmp_path / "policy.yml").write_text(
        "version: 1\npolicies: [{name: p, repositories: ['**'], select: {regex: '(a+)+'}, keep: {last: 1}}]"
    )
    return Program(registry_server.url, tmp_path)


def test_a_policy_names_groups_as_before() -> None:
    policy = read_policy(
        "version: 1\npolicies: [{name: p, repositories: ['**'], select: {regex: '(?P<b>[a-z]+)-.*'}, keep: {last: 1},"
        " group_by: b}]"
    )
    assert policy.policies[0].select.regexes[0].groupindex == {"b": 1}


def test_a_string_is_not_a_list() -> None:
    """`build("12")` took `1` and `2`, and `select_tags(…, "shop/web")` the letters for repositories."""
    inventory = dregutil.Inventory({})
    for build in (
        lambda: TagSelector.build("12"),
        lambda: TagSelector.build(["1"], exclude="12"),
        lambda: TagSelector.build(regex="12"),
        lambda: TagSelector.build(["1"], exclude_regex="12"),
        lambda: select_tags(inventory, "shop/web", TagSelector.build(["1"])),  # type: ignore[arg-type]
        lambda: select_repositories(inventory, dregutil.Repository("shop/web")),  # type: ignore[arg-type]
    ):
        with pytest.raises(TypeError, match="a list"):
            build()

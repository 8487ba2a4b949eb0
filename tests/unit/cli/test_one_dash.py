"""Options with one dash: none is mistaken for another."""

from __future__ import annotations

import argparse

import pytest

from dregutil.cli.grammar import prepare
from dregutil.cli.parser import COMMANDS, build_parser
from dregutil.errors import UsageError

NEEDED = {
    "find": ["x"],
    "inspect": ["x"],
    "why": ["x", "-f", "p"],
    "cleanup": ["-f", "p"],
    "policy": ["check", "p"],
    "completion": ["bash"],
    "query-repos": ["--repo", "a"],
    "remove-repos": ["--repo", "a"],
    "query-tags": ["--repo", "a"],
    "remove-tags": ["--repo", "a"],
    "remove-digests": ["--repo", "a", "abcd"],
}
HAVING_R = ("query-repos", "remove-repos", "query-tags", "remove-tags", "remove-digests")
HAVING_RE = ("query-tags", "remove-tags", "list-tag-names", "ls")


def parsed(*arguments: str) -> argparse.Namespace:
    found: argparse.Namespace = build_parser().parse_args(prepare(arguments))
    return found


@pytest.mark.parametrize("command", COMMANDS)
def test_r_and_re_are_not_abbreviations_of_reg(command: str) -> None:
    for option, having in (("-r", HAVING_R), ("-re", HAVING_RE)):
        if command not in having:
            with pytest.raises(UsageError):
                parsed(command, *NEEDED.get(command, ()), option, "host")
        with pytest.raises(UsageError):
            parsed(option, "host", command, *NEEDED.get(command, ()))


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("apply", "plan", "-yes"), "--yes"),
        (("remove-tags", "-r", "a", "-tags", "1.0"), "--tags"),
        (("remove-repos", "-repo", "shop"), "--repo"),
        (("-user", "me", "list-repo-names"), "--user"),
        (("list-repo-names", "-password", "x"), "--password"),
        (("-count", "list-repo-names"), "--count"),
        (("-cache=None", "list-repo-names"), "--cache"),
        (("-version",), "--version"),
        (("cleanup", "-policy", "p.yml"), "--policy"),
        (("refresh", "-verify", "ca.pem"), "--verify"),
    ],
)
def test_a_long_name_with_one_dash(arguments: tuple[str, ...], meant: str) -> None:
    with pytest.raises(UsageError, match=f"did you mean {meant}"):
        parsed(*arguments)


def test_every_form_that_worked_still_works() -> None:
    assert parsed("-reg=h:1", "-uME", "-psecret", "-cNone", "-ldebug", "list-repo-names").registry == "h:1"
    assert parsed("query-tags", "-ra", "-t1.0").tags == ["1.0"]
    assert parsed("list-repo-names", "-uME").user == "ME"
    assert parsed("list-repo-names", "-p=-yes").password in ("-yes", "=-yes")

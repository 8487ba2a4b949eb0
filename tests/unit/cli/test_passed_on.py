"""The global options that `serve` passes on to its jobs."""

from __future__ import annotations

import argparse

import pytest

from dregutil.cli.grammar import prepare
from dregutil.cli.options.common import GLOBAL_GROUPS
from dregutil.cli.parser import build_parser
from dregutil.cli.passed_on import global_options

ALL = """
-reg https://r.example.com/x --config c.toml --insecure -v ca.pem -cert a.pem -key b.pem --concurrency 4 --timeout 2.5
--api https://a --api-repository n --use-get-manifest -u me -p s3cret --authfile f --digest-auth true --refresh
-c c-odd --repositories-from list --state-dir s --store postgresql://me@db/team
--raise-intersecting-repo --format json --quiet --count --color never
-l debug --log-format json
"""


def parsed(words: list[str]) -> argparse.Namespace:
    found: argparse.Namespace = build_parser().parse_args(prepare(words))
    return found


def test_a_job_gets_the_same_registry_login_and_folders_but_no_password() -> None:
    args = parsed([*ALL.split(), "serve"])
    given, options = vars(args), global_options(args)
    assert not [option for option in options if "s3cret" in option or option.startswith(("-p", "--password"))]
    again = vars(parsed([*options, "refresh"]))
    own = {"password", "format", "quiet", "count", "color", "log_level", "log_format", "refresh"}
    names = set()
    for fill in GLOBAL_GROUPS.values():
        fill(lambda *names_, **options_: names.add(options_.get("dest") or names_[0][2:].replace("-", "_")))
    kept = names - own - {"password_stdin"}
    assert {name: given[name] for name in kept} == {name: again[name] for name in kept}
    assert not own & again.keys()


@pytest.mark.parametrize(
    "words", [[], ["--no-raise-intersecting-repo"], ["--digest-auth"], ["-c", "None"], ["--verify="]]
)
def test_what_was_given_is_given_again_and_nothing_else(words: list[str]) -> None:
    before = vars(parsed([*words, "refresh"]))
    assert vars(parsed([*global_options(parsed([*words, "serve"])), "refresh"])) == before


def test_a_password_from_standard_input_is_not_asked_for_again() -> None:
    assert global_options(parsed(["--password-stdin", "-u", "me", "serve"])) == ("--user=me",)

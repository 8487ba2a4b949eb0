"""A mistyped command or option is answered with the one that is meant."""

from __future__ import annotations

import pytest

from dregutil.cli import run
from dregutil.cli.near import COMMANDS_ELSEWHERE, OPTIONS_ELSEWHERE
from dregutil.cli.parser import COMMANDS, build_parser


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("tags", "list-tag-names"),
        ("list", "list-tag-names"),
        ("images", "list-tag-names"),
        ("repos", "list-repo-names"),
        ("remove-tag", "remove-tags"),
        ("rm", "remove-tags"),
        ("prune", "cleanup"),
        ("gc", "cleanup"),
        ("search", "find"),
        ("restore", "undo"),
        ("log", "history"),
        ("retention", "cleanup"),
        ("remove_tags", "remove-tags"),
        ("Inspect", "inspect"),
        ("histroy", "history"),
        ("query", "find"),
        ("list-tag", "list-tag-names"),
    ],
)
def test_a_command_that_does_not_exist(typed: str, meant: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([typed, "-reg", "host"]) == 2
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith(f"dregutil: there is no command {typed} (did you mean ")
    assert meant in first.partition("did you mean ")[2]
    assert second == "  `dregutil help` lists the commands"


def test_nothing_is_suggested_for_a_word_that_is_near_to_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["shop/web:1.0"]) == 2
    assert capsys.readouterr().err.startswith("dregutil: there is no command shop/web:1.0\n")


@pytest.mark.parametrize(("words", "commands"), COMMANDS_ELSEWHERE.items())
def test_no_word_of_other_tools_is_a_command_here(words: str, commands: tuple[str, ...]) -> None:
    assert [word for word in words.split() if word in COMMANDS] == []
    assert commands


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (("list-repo-names", "--json"), "--format json"),
        (("list-repo-names", "--server", "x"), "--registry"),
        (("remove-tags", "-r", "x", "--dryrun"), "--dry-run"),
        (("remove-tags", "-r", "x", "--force"), "--yes"),
        (("remove-tags", "-r", "x", "--no-cache"), "--cache None"),
        (("query-tags", "-r", "x", "--before=3d"), "--older-than"),
        (("undo", "--force"), "--yes"),
        (("du", "--sotr", "size"), "--sort"),
    ],
)
def test_an_option_that_does_not_exist(
    arguments: tuple[str, ...], meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*arguments, "-reg", "host"]) == 2
    assert f"(did you mean {meant}?)" in capsys.readouterr().err


def test_no_option_of_another_command_is_suggested(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list-repo-names", "--force"]) == 2
    assert "--yes" not in capsys.readouterr().err


@pytest.mark.parametrize(("typed", "meant"), OPTIONS_ELSEWHERE.items())
def test_what_is_suggested_exists(typed: str, meant: str) -> None:
    """And no command has both: it would mean its own."""
    parsers = (build_parser(), *build_parser().command_parsers().values())
    having = [parser for parser in parsers if meant.partition(" ")[0] in parser._option_string_actions]
    assert having
    assert [parser.prog for parser in having if typed in parser._option_string_actions] == []

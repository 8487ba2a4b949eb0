"""Help: what exists is listed in its group, fits the terminal, and breaks lines only between words."""

from __future__ import annotations

import argparse
import contextlib
import re

import pytest

from dregutil.cli import run
from dregutil.cli.options.common import GLOBAL_GROUPS, MOST_USED
from dregutil.cli.parser import COMMANDS, GROUPS, build_parser

WIDTHS = (60, 80, 100, 200)


@pytest.fixture(params=WIDTHS)
def width(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setenv("COLUMNS", str(request.param))
    return min(int(request.param), 100)


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with contextlib.suppress(SystemExit):  # --help
        assert run(arguments) == 0
    found = capsys.readouterr()
    assert found.err == ""
    return found.out


def own_actions(name: str) -> list[argparse.Action]:
    parser = build_parser()
    common = {action.dest for action in parser._actions}
    (commands,) = (action for action in parser._actions if isinstance(action, argparse._SubParsersAction))
    return [action for action in commands.choices[name]._actions if action.dest not in common]


def test_the_overview_fits_40_lines_of_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    lines = shown(capsys, "--help").splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80
    assert shown(capsys, "help").splitlines() == lines


def test_the_overview_lists_each_command_once_in_its_group_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    text = shown(capsys, "--help")
    for group in GROUPS:
        for number, command in enumerate(group.COMMANDS):
            title = group.TITLE if number == 0 else ""
            assert f"\n{title:<10}  {command.name:<15}  {command.summary}\n" in text
    assert len(re.findall(r"^.{10}  \S+", text, re.MULTILINE)) == len(COMMANDS) + len(MOST_USED)
    assert len(MOST_USED) == 3


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_each_command_has_a_sentence_and_two_examples(command: object) -> None:
    found = COMMANDS[command.name]  # type: ignore[attr-defined]
    assert found.summary.endswith(".")
    assert found.about == "" or found.about.endswith(".")
    assert len(found.examples) >= 2, "a command names two examples in its row in cli/options"
    assert all(found.name in line.split() and comment for line, comment in found.examples)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_a_command_is_its_help(name: str, width: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "help", name)
    assert text == shown(capsys, name, "--help") == shown(capsys, "-reg", "host", name, "-h")
    usage, about, *rest = text.split("\n\n")
    command = COMMANDS[name]
    assert usage.startswith(f"Usage: dregutil {name}")
    assert " ".join(about.split()) == (command.about or command.summary)
    assert rest[-1] == "Global options: dregutil help options\n"
    squeezed = " ".join(re.sub(r"^  # ", "", text, flags=re.MULTILINE).split())
    for line, comment in command.examples:
        assert f"\n  dregutil {line}\n" in text, "an example can be copied: it is on one line"
        assert len(line) <= 64, "it must fit a terminal, also indented as in a man page"
        assert comment in squeezed
    for action in own_actions(name):
        assert str(action.help).replace("%%", "%") in squeezed, "a line is broken within a word"
    for line in text.splitlines():
        assert len(line) <= width or len(line.split()) == 1 or line.startswith(("  dregutil", "  -")), line


@pytest.mark.parametrize("name", COMMANDS)
def test_what_is_required_is_marked_in_the_usage_and_in_the_list(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = shown(capsys, name, "--help")
    usage, _, rest = text.partition("\n\n")
    words, squeezed = re.split(r"[\s\[\]]+", usage), " ".join(rest.split())
    for action in own_actions(name):
        label = min(action.option_strings, key=len) if action.option_strings else action.metavar or action.choices
        label = "|".join(label) if isinstance(label, (tuple, list)) else label
        assert (str(label) in words) == (action.required or not action.option_strings)
        required = action.required if action.option_strings else action.nargs not in ("?", "*")
        assert (f"{action.help} (required)" in squeezed) == required
        assert not required or f"[{label}" not in usage


@pytest.mark.parametrize("name", COMMANDS)
def test_global_options_are_one_line_in_the_help_of_a_command(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, name, "--help")
    assert "--state-dir" not in re.sub(r"^ {2}dregutil .*$", "", text, flags=re.MULTILINE)
    assert "--registry" not in text


def test_help_options_lists_every_global_option(width: int, capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "help", "options")
    squeezed = " ".join(text.split())
    options = [action for action in build_parser()._actions if action.option_strings and action.dest != "help"]
    assert [action.dest for action in options if not set(action.option_strings) <= set(re.split(r"[\s,]+", text))] == []
    assert [action.dest for action in options if str(action.help) not in squeezed] == []
    assert [title for title in GLOBAL_GROUPS if f"{title}:\n" not in text] == []
    assert max(map(len, text.splitlines())) <= width


def test_help_needs_no_settings(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("DREGUTIL_CONCURRENCY", "none of them")
    assert "remove-tags" in shown(capsys, "help", "remove-tags")
    assert "complet" in shown(capsys, "completion", "bash")


@pytest.mark.parametrize(("topic", "meant"), [("remove-tag", "remove-tags"), ("option", "options"), ("gc", "cleanup")])
def test_help_for_what_does_not_exist_names_what_is_near(
    topic: str, meant: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["help", topic]) == 2
    assert meant in capsys.readouterr().err

"""The help of the program and of each command, taken from the grammar."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Iterator, Sequence

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import GLOBAL_GROUPS, MOST_USED
from dregutil.cli.parser import GROUPS
from dregutil.report.help import WIDEST, Row, Section, Topic, overview_text, topic_text

__all__ = ["command_help", "command_topic", "global_options_help", "global_options_topic", "overview"]

Groups = Sequence[tuple[str, str, Sequence[argparse.Action]]]


def overview() -> str:
    """What `dregutil --help` shows: every command, and the options that are used most."""
    sections = [Section(group.TITLE, tuple(Row(one.name, one.summary) for one in group.COMMANDS)) for group in GROUPS]
    options = Section("options", tuple(Row(name, text) for name, text in MOST_USED.items()))
    return overview_text(
        "Usage: dregutil [OPTION ...] COMMAND ...",
        [*sections, options],
        ("Start with `dregutil -reg HOST doctor`; more: `dregutil help COMMAND|options`.",),
        _columns(),
    )


def command_help(command: Command, groups: Groups) -> str:
    """The help of one command. `groups` are those of its parser; global options are left out."""
    return topic_text(command_topic(command, groups), _columns())


def command_topic(command: Command, groups: Groups) -> Topic:
    """As `command_help`, as values."""
    sections = tuple(_sections(groups))
    own = [action for title, _, actions in groups if title not in GLOBAL_GROUPS for action in actions]
    needed = [_usage(action) for action in own if action.required or not action.option_strings]
    optional = any(action.option_strings and not action.required for action in own if action.dest != "help")
    usage = " ".join(("dregutil", command.name, *needed, *(("[OPTION ...]",) if optional else ())))
    return Topic(
        usage=usage,
        about=command.about or command.summary,
        sections=sections,
        examples=command.examples,
        more="Global options: dregutil help options",
    )


def global_options_help(groups: Groups) -> str:
    """All global options. `groups` are those of the whole program's parser."""
    return topic_text(global_options_topic(groups), _columns())


def global_options_topic(groups: Groups) -> Topic:
    """As `global_options_help`, as values."""
    sections = (Section(title, tuple(map(_row, own))) for title, _, own in groups if title in GLOBAL_GROUPS)
    rest = (Row("-h, --help", "show help; after a command, its help"), Row("--version", "show the version"))
    return Topic(
        usage="dregutil [OPTION ...] COMMAND [OPTION ...]",
        about=(
            "Global options are accepted before the command and after it. A name in brackets is an environment "
            "variable with the same effect."
        ),
        sections=(*sections, Section("Other", rest)),
    )


def _sections(groups: Groups) -> Iterator[Section]:
    for title, note, actions in groups:
        rows = tuple(_row(action) for action in actions if action.dest != "help")
        if rows and title not in GLOBAL_GROUPS:
            yield Section({"positional arguments": "Arguments", "options": "Options"}.get(title, title), rows, note)


def _row(action: argparse.Action) -> Row:
    text = str(action.help).replace("%%", "%")
    names = sorted(action.option_strings, key=lambda name: name.startswith("--"))
    return Row(
        " ".join(filter(None, (", ".join(names), _values(action)))),
        f"{text} (required)" if _is_required(action) else text,
    )


def _is_required(action: argparse.Action) -> bool:
    """argparse calls an argument required that may be given any number of times, or none."""
    return action.required if action.option_strings else action.nargs not in ("?", "*")


def _usage(action: argparse.Action) -> str:
    """An argument, or a required option by its shortest name, as in a usage line."""
    if action.option_strings:
        return f"{min(action.option_strings, key=len)} {_values(action)}"
    return _values(action) if _is_required(action) else f"[{_values(action)}]"


def _values(action: argparse.Action) -> str:
    """What follows an option's name: its value, `...` if there may be several, nothing for a switch."""
    if action.nargs == 0:
        return ""
    given = action.metavar if isinstance(action.metavar, str) else None
    name = given or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper())
    if action.option_strings and action.nargs == "?":
        return f"[{name}]"
    return f"{name} ..." if action.nargs in ("*", "+") else name


def _columns() -> int:
    return min(shutil.get_terminal_size().columns, WIDEST)

"""How options are parsed: abbreviations of the older tool's options keep their meaning when options are added.

`Parser` looks among the older names first.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from typing import Any, NoReturn

from dregutil.cli.options.command import Command
from dregutil.errors import UsageError

__all__ = ["OLDER", "Parser", "prepare"]

_OLDER_GLOBAL = (
    "--registry",
    "--user",
    "--password",
    "--digest-auth",
    "--client-cert",
    "--client-key",
    "--verify",
    "--cache",
    "--refresh",
    "--count",
    "--no-raise-intersecting-repo",
    "--use-get-manifest",
    "--log-level",
    "--help",
)
_OLDER_TAGS = (
    "--repo",
    "--tags",
    "--regex",
    "--exclude",
    "--exclude-regex",
    "--no-match-all-tags",
    "--raise-intersecting-tag",
    "--help",
)
OLDER: dict[str, tuple[str, ...]] = {
    "list-repo-names": ("--help",),
    "list-tag-names": ("--reverse-sort", "--image-names", "--help"),
    "query-repos": ("--repo", "--help"),
    "remove-repos": ("--repo", "--help"),
    "query-tags": _OLDER_TAGS,
    "remove-tags": _OLDER_TAGS,
}
_SWITCHES = ("true", "yes", "1", "false", "no", "0", "none")


class Parser(argparse.ArgumentParser):
    """argparse, with the older names first, and a UsageError instead of an exit."""

    older: tuple[str, ...] = _OLDER_GLOBAL
    command: Command | None = None  # the whole program's parser has none

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, advice=f"see `{self.prog} --help`")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse; the error for an unknown option suggests the nearest known one."""
        found, unknown = self.parse_known_args(args, namespace)
        if unknown:
            raise UsageError(
                f"unrecognized arguments: {_without_webhook(' '.join(unknown))}{self._meant(unknown[0], found)}",
                advice=f"see `{self.prog} {f'{found.command} ' if found.command else ''}--help`",
            )
        return found

    def format_help(self) -> str:
        from dregutil.cli import help as texts  # only needed for help

        return texts.overview() if self.command is None else texts.command_help(self.command, self.groups())

    def groups(self) -> list[tuple[str, str, list[argparse.Action]]]:
        """The title of each group, its description, and its arguments and options."""
        return [
            (one.title or "", one.description or "", one._group_actions)  # noqa: SLF001 - argparse has no other way
            for one in self._action_groups
        ]

    def command_parsers(self) -> dict[str, Parser]:
        """The parsers of the commands, by name; empty for the parser of a command."""
        return next((action.choices for action in self._actions if isinstance(action.choices, dict)), {})

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if isinstance(action.choices, dict) and value not in action.choices:
            from dregutil.cli.near import absent_command  # only needed for errors

            raise absent_command(value, action.choices)
        super()._check_value(action, value)

    def _meant(self, unknown: str, found: argparse.Namespace) -> str:
        from dregutil.cli.near import near_option

        parsers = (self, self.command_parsers().get(found.command or ""))
        known = dict.fromkeys(
            name
            for one in parsers
            if one is not None
            for name in one._option_string_actions  # noqa: SLF001 - argparse has no other way
        )
        near = near_option(unknown.partition("=")[0], known)
        return f" (did you mean {near}?)" if near else ""

    def _get_option_tuples(self, option_string: str) -> list[Any]:
        """What an abbreviation may mean; nothing if it is ambiguous (the subcommand may still know it)."""
        if not option_string.startswith("--"):
            found = super()._get_option_tuples(option_string)
            name = option_string.partition("=")[0]
            if f"-{name}" in self._option_string_actions:  # `-tags 1.0` would be -t with `ags` and `1.0`
                self.error(f"{name} is not an option (did you mean -{name}?)")
            # `-uNAME` is -u and its value; `-re` does not abbreviate -reg: it is an option of other commands.
            is_cut = len(found) == 1 and found[0][1].startswith(name)
            return found if len(found) == 1 and not is_cut else []
        name, equals, value = option_string.partition("=")
        for names in (self.older, tuple(self._option_string_actions)):
            meant = [full for full in names if full.startswith(name) and full in self._option_string_actions]
            if name in meant or len(meant) == 1:
                full = name if name in meant else meant[0]
                tuples = super()._get_option_tuples(f"{full}{equals}{value}")
                return [found for found in tuples if found[1] == full]
            if meant:
                return []
        return []


def _without_webhook(text: str) -> str:
    """Arguments without a URL after a cut `--notify`, which several options begin with: it is a secret."""
    return re.sub(r"((?:^| )--no[a-z-]*[= ]).*://.*", r"\1…", text)


def prepare(arguments: Sequence[str]) -> list[str]:
    """`--digest-auth` is a flag; a `true`, `yes` or `1` right after it, as for the older tool, is its value."""
    prepared: list[str] = []
    waiting = list(arguments)
    while waiting:
        argument = waiting.pop(0)
        if argument == "--":
            return [*prepared, argument, *waiting]
        if len(argument) > len("--d") and "--digest-auth".startswith(argument):
            given = waiting and waiting[0].lower() in _SWITCHES
            argument = f"--digest-auth={waiting.pop(0) if given else 'true'}"
        prepared.append(argument)
    return prepared

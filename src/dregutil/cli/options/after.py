"""Commands that look after a registry, its cache and the shell."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import add_storage, nonempty

__all__ = ["COMMANDS", "SHELLS", "TITLE"]

SHELLS = {"bash": "dregutil.bash", "zsh": "_dregutil", "fish": "dregutil.fish"}


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="check the connection only, not every tag")
    add_storage(parser)


def _add_collect(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "collector_command",
        nargs="+",
        type=nonempty,
        metavar="COMMAND",
        help="after `--`: the command that runs the registry's collector, with `garbage-collect` as one of its words",
    )
    add_storage(parser)
    add("--keep-undo", default="7d", metavar="AGE", help="refuse if a younger run could not be undone (default: 7d)")
    add("--assume-read-only", action="store_true", help="collect where it is not known whether pushes are refused")
    add("--dry-run", action="store_true", help="show what would be freed, and why it would be refused")
    add("--yes", "-y", action="store_true", help="do not ask")


def _add_refresh(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", nargs="*", metavar="REPO", help="repositories (default: all)")
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument(
        "--new",
        action="store_true",
        help="read the lists, and resolve only tags that the cache does not have; moved tags keep their old digest",
    )
    extent.add_argument(
        "--full", action="store_true", help="read everything, also what was not notified as changed (see listen)"
    )
    extent.add_argument(
        "--max-age",
        metavar="AGE",
        help="if all was read less than that ago (12h), resolve only the tags of repositories whose list has changed",
    )


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell that will read it")


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("show", "path"),
        help="show: the settings in force, and where each comes from; path: where the file is",
    )


def _add_help(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("topic", nargs="?", metavar="COMMAND", help="a command; or 'options': the global options")


TITLE = "look after"
COMMANDS = (
    Command(
        "doctor",
        "Check the connection, and what is broken.",
        "doctor:doctor",
        _add_doctor,
        about="Check whether the registry can be reached, what it allows, and what is broken. It changes nothing.",
        examples=(
            ("doctor --quick", "the connection, the login, and whether deletion is enabled"),
            ("doctor --storage /var/lib/registry", "every tag and index, and the registry's own storage"),
        ),
    ),
    Command(
        "collect",
        "Run the registry's own garbage collector.",
        "collect:collect",
        _add_collect,
        changes=True,
        about=(
            "Run the registry's own garbage collector (distribution's), and compare what it frees with what was "
            "predicted. The registry must be stopped or read-only. It is refused, before anything runs, where a tag "
            "would lose something, where something could be pushed meanwhile, and where a recent run could not be "
            "undone any more."
        ),
        examples=(
            (
                "collect --storage . --dry-run -- registry garbage-collect gc.yml",
                "in the registry's storage: show what would be freed, and which runs could not be undone any more",
            ),
            (
                "collect --storage . -y -- registry garbage-collect gc.yml",
                "collect, without being asked",
            ),
        ),
    ),
    Command(
        "refresh",
        "Read the registry again and show what changed.",
        "refresh:refresh",
        _add_refresh,
        changes=True,
        examples=(
            ("refresh", "read every repository"),
            ("refresh shop/web", "read one repository"),
            ("refresh --new", "find tags that are new or gone, in a few requests"),
        ),
    ),
    Command(
        "config",
        "Show the settings in force.",
        "config:config",
        _add_config,
        registry=False,
        about="Show the settings in force, and where each comes from: an option, a variable, the configuration file.",
        examples=(
            ("config show", "every setting, for the default registry"),
            ("config show --format json", "the same as JSON"),
            ("config path", "where the configuration file is"),
        ),
    ),
    Command(
        "completion",
        "Print the completion script for a shell.",
        "completion:completion",
        _add_completion,
        registry=False,
        settings=False,
        examples=(
            ("completion bash > dregutil.bash", "in ~/.local/share/bash-completion/completions, for example"),
            ("completion zsh > _dregutil", "in a folder of zsh's fpath"),
        ),
    ),
    Command(
        "help",
        "Show help for a command, or the global options.",
        "help:show_help",
        _add_help,
        registry=False,
        settings=False,
        examples=(
            ("help remove-tags", "the options of a command, with examples"),
            ("help options", "the options that every command has"),
        ),
    ),
)

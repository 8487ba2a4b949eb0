"""Commands that look after a registry, its cache and the shell."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import add_storage

__all__ = ["COMMANDS", "SHELLS"]

SHELLS = {"bash": "dregutil.bash", "zsh": "_dregutil", "fish": "dregutil.fish"}


def _add_doctor(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help="check the connection only, not every tag")
    add_storage(parser)


def _add_refresh(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("repo", nargs="*", metavar="REPO", help="repositories (default: all)")


def _add_completion(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell that will read it")


COMMANDS = (
    Command(
        "doctor",
        "Check whether the registry can be reached, what it allows, and what is broken.",
        "doctor:doctor",
        _add_doctor,
    ),
    Command(
        "refresh",
        "Read the registry again and show what changed.",
        "refresh:refresh",
        _add_refresh,
        changes=True,
    ),
    Command(
        "completion",
        "Print the completion script for a shell.",
        "completion:completion",
        _add_completion,
        registry=False,
    ),
)

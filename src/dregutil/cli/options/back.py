"""Commands that show past runs and put back what they removed."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import nonempty

__all__ = ["COMMANDS"]


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=nonempty, metavar="RUN", help="show this run")
    parser.add_argument("--prune", metavar="AGE", help="forget finished runs older than this, such as 90d")


def _add_undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", nargs="?", type=nonempty, metavar="RUN", help="default: the newest removal not yet undone"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be put back")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


COMMANDS = (
    Command("history", "List past runs, or show one.", "history:history", _add_history, registry=False),
    Command("undo", "Put back what a run removed.", "undo:undo", _add_undo, changes=True),
)

"""Commands that show past runs and put back what they removed."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import nonempty
from dregutil.journal.run_name import is_run_name

__all__ = ["COMMANDS", "TITLE"]


def _add_history(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", nargs="?", type=nonempty, metavar="RUN", help="show this run")
    parser.add_argument("--prune", metavar="AGE", help="forget finished runs older than this, such as 90d")


class _RunAndImages(argparse.Action):
    """`[RUN] [IMAGE …]`: the first word is a run if it has the form of one."""

    def __call__(
        self,
        _parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[Any] | None,
        _option: str | None = None,
    ) -> None:
        words = [str(value) for value in values or ()]
        has_run = bool(words) and is_run_name(words[0])
        namespace.run = words[0] if has_run else None
        namespace.images = words[1:] if has_run else words


def _add_undo(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        type=nonempty,
        action=_RunAndImages,
        metavar="RUN|IMAGE",
        help="a run (default: the newest removal not yet undone), then images (repository:tag or repository@digest) "
        "to put back only these, with their children and signatures; without a run, each from the newest that took it",
    )
    parser.add_argument("--list", action="store_true", help="show what can still come back; also of repositories")
    parser.add_argument("--check", action="store_true", help="with --list: ask the registry if it can")
    parser.add_argument("--dry-run", action="store_true", help="show what would be put back")
    parser.add_argument("--details", action="store_true", help="list all that cannot come back")
    parser.add_argument("--yes", "-y", action="store_true", help="do not ask")


TITLE = "go back"
COMMANDS = (
    Command(
        "history",
        "List past runs, or show one.",
        "history:history",
        _add_history,
        registry=False,
        default=False,  # without a registry it lists the runs of all
        examples=(
            ("history", "every recorded run"),
            ("history 20260301T020000Z-1a2b3", "what this run removed"),
        ),
    ),
    Command(
        "undo",
        "Put back what a run removed, or some of its images.",
        "undo:undo",
        _add_undo,
        changes=True,
        about="Put back what a run removed, or some of its images. This works until the registry collects its garbage.",
        examples=(
            ("undo --dry-run", "show what would be put back of the newest removal"),
            ("undo --list", "every image that can still come back, and the run that removed it"),
            ("undo shop/web:1.1 -y", "put back one image, from the newest run that removed it"),
        ),
    ),
)

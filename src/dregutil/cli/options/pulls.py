"""Commands that record and show when images were last pulled."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import nonempty

__all__ = ["COMMANDS", "TITLE"]

_IGNORE = "an agent whose pulls do not count; repeat it. In place of: trivy, grype, clair, renovate, diun"


def _add_pulls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "images",
        nargs="*",
        type=nonempty,
        metavar="IMAGE",
        help="repositories, globs of them, or repository:tag (default: all)",
    )


def _add_listen(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--addr", default="127.0.0.1:5099", metavar="HOST:PORT", help="where to listen (default: 127.0.0.1:5099)")
    add("--token-file", metavar="FILE", help="a file with the token that the registry must send")
    add("--ignore-agent", action="append", type=nonempty, metavar="NAME", help=_IGNORE)


TITLE = "pulls"
COMMANDS = (
    Command(
        "pulls",
        "Show when images were last pulled.",
        "pulls:pulls",
        _add_pulls,
        about="Show when images were last pulled, and by what, as far as it was recorded.",
        examples=(
            ("pulls shop/web", "the last pull of each tag of a repository"),
            ("pulls shop/web:1.3 --format json", "that of one image, as JSON"),
        ),
    ),
    Command(
        "listen",
        "Record pulls from the registry's notifications.",
        "listen:listen",
        _add_listen,
        changes=True,
        about=(
            "Receive the notifications of a registry and record when each image was last pulled, until the command is "
            "ended. It shows what to add to the registry's configuration."
        ),
        examples=(
            ("listen", "for a registry on the same machine"),
            ("listen --addr 127.0.0.1:5099 --token-file token", "only with the token in the file"),
        ),
    ),
)

"""Commands that say what stays."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import add_policy_file, add_storage, nonempty

__all__ = ["COMMANDS", "TITLE"]


def _add_why(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("image", metavar="IMAGE", help="repository:tag or repository@digest")
    add_policy_file(parser)
    add_storage(parser)


def _add_policy(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "action",
        choices=("check", "import"),
        help="check: look for mistakes; import: translate the rules of another registry into a policy",
    )
    parser.add_argument(
        "words",
        nargs="+",
        metavar="FILE",
        help="a policy file, or a folder of them; for import: harbor, ecr, gitlab, acr or zot, and a file of its rules",
    )
    parser.add_argument("--against", metavar="HOST", help="show what its selectors match in this registry")
    add_storage(parser)


def _add_hold(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "images",
        nargs="*",
        type=nonempty,
        metavar="IMAGE",
        help="repository:tag, wherever the tag points, or repository@digest; with --list and --end also a repository",
    )
    add("--for", dest="for_", metavar="AGE", help="how long, such as 30d (default: until --end)")
    add("--because", metavar="TEXT", help="why; shown when a removal leaves the image")
    add("--list", action="store_true", help="show what is held, also what undo put back in the last 14 days")
    add("--end", action="store_true", help="end these holds; also those of all that an undo put back, by its RUN")


TITLE = "keep"
COMMANDS = (
    Command(
        "hold",
        "Keep images whatever a removal or a policy asks.",
        "hold:hold",
        _add_hold,
        changes=True,
        about="Keep images whatever a removal or a policy asks; show what is held; or end that.",
        examples=(
            ("hold shop/web:1.3 --for 30d --because 'the audit'", "no removal takes it for 30 days"),
            ("hold --list", "what is held, until when, by whom and why"),
            ("hold --end shop/web:1.3", "it may go again"),
        ),
    ),
    Command(
        "policy",
        "Look for mistakes in a policy file, or make one.",
        "policy:policy_command",
        _add_policy,
        registry=False,
        default=False,  # --against names its registry; a default would refuse all others
        examples=(
            ("policy check policy.yml", "look for mistakes in the file alone"),
            ("policy check policy.yml --against registry.example.com", "and show what its selectors match"),
            ("policy import ecr lifecycle.json", "the rules of another registry as a policy, on standard output"),
        ),
    ),
    Command(
        "why",
        "Show what keeps or removes a tag under a policy.",
        "why:why",
        _add_why,
        about="Show which rules and references keep or remove a tag.",
        examples=(
            ("why shop/web:1.3 -f policy.yml", "the verdict on a tag, and every reason"),
            ("why shop/web:1.3 -f policy.yml --format json", "the same as JSON"),
        ),
    ),
)

"""Commands that this program runs for itself: no help lists them, and they may change with any version."""

from __future__ import annotations

import argparse

from dregutil.cli.options.command import Command
from dregutil.cli.options.common import nonempty

__all__ = ["COMMANDS"]


def _add_index_images(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--out", type=nonempty, required=True, metavar="FILE", help="the index")
    add("--plan", type=nonempty, metavar="FILE", help="the plan that says what goes")


def _add_image_records(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--asked", type=nonempty, required=True, metavar="FILE", help="what is asked, as JSON")


COMMANDS = (
    Command(
        "image-records",
        "Print what records say of an image, for `serve`.",
        "image_records:image_records",
        _add_image_records,
    ),
    Command(
        "index-images",
        "Build the index that `serve` searches.",
        "index_images:index_images",
        _add_index_images,
        changes=True,
    ),
)

"""`help`: the overview, a command's options and examples, or the global options."""

from __future__ import annotations

import argparse
import sys

from dregutil.cli import help as texts
from dregutil.cli.near import absent_command
from dregutil.cli.parser import COMMANDS, build_parser

__all__ = ["show_help"]

OPTIONS = "options"


def show_help(args: argparse.Namespace) -> int:
    topic: str | None = args.topic
    if topic is None:
        sys.stdout.write(texts.overview())
    elif topic == OPTIONS:
        sys.stdout.write(texts.global_options_help(build_parser(()).groups()))
    elif topic in COMMANDS:
        sys.stdout.write(build_parser((topic,)).command_parsers()[topic].format_help())
    else:
        raise absent_command(topic, (*COMMANDS, OPTIONS))
    return 0

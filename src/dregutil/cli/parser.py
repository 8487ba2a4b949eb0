"""The grammar of the command line: the complete grammar of the older tool, and the newer commands and options.

It is made of the tables in `cli/options`. Global options are accepted before the command and after it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from dregutil import __version__
from dregutil.cli.grammar import OLDER, Parser
from dregutil.cli.options import after, back, clean, keep, look
from dregutil.cli.options.common import add_global_options

__all__ = ["COMMANDS", "build_parser"]

GROUPS = (look, clean, keep, back, after)
COMMANDS = {command.name: command for group in GROUPS for command in group.COMMANDS}


def build_parser(arguments: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """The grammar. A parsed command line has `command` and the given options; global options have no default.

    With `arguments`, only the commands that these name get options: that is all that parsing them needs, and quicker.
    """
    parser = Parser(
        prog="dregutil",
        description="Search and safe cleanup on any Docker/OCI registry.",
        epilog=(
            "Start with `dregutil -reg HOST doctor`. Results go to standard output, everything else to standard error."
        ),
    )
    parser.add_argument("--version", action="version", version=f"dregutil {__version__}")
    add_global_options(parser)
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", parser_class=Parser)
    for name, command in COMMANDS.items():
        made: Parser = commands.add_parser(name, help=command.summary, description=command.summary)
        if arguments is None or name in arguments:
            made.older = OLDER.get(name, ())
            add_global_options(made.add_argument_group("global options, here or before the command"))
            command.options(made)
    return parser

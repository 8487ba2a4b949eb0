"""The grammar of the command line: the complete grammar of the older tool, and the newer commands and options.

It is made of the tables in `cli/options`. Global options are accepted before the command and after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from dregutil import __version__
from dregutil.cli.grammar import OLDER, Parser
from dregutil.cli.options import after, back, clean, internal, keep, look, pulls, team
from dregutil.cli.options.common import add_global_options

__all__ = ["COMMANDS", "EVERY_COMMAND", "GROUPS", "build_parser"]

GROUPS = (look, clean, keep, back, pulls, team, after)
COMMANDS = {command.name: command for group in GROUPS for command in group.COMMANDS}
EVERY_COMMAND = {**COMMANDS, **{command.name: command for command in internal.COMMANDS}}
"""With those that the program runs for itself."""


def build_parser(arguments: Sequence[str] | None = None) -> Parser:
    """The grammar. A parsed command line has `command` and the given options; global options have no default.

    With `arguments`, only the commands that these name get options: that is all that parsing them needs, and quicker.
    """
    parser = Parser(prog="dregutil")
    parser.add_argument("--version", action="version", version=f"dregutil {__version__}", help="show the version")
    add_global_options(parser)
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)
    for name, command in EVERY_COMMAND.items():
        if arguments is None and name not in COMMANDS:
            continue
        made: Parser = commands.add_parser(name, help=command.summary)
        made.command = command
        if arguments is None or name in arguments:
            made.older = OLDER.get(name, ())
            command.options(made)
            add_global_options(made, command.own)
    return parser

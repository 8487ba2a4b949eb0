"""The command line: `main` reads arguments, runs a command, and turns errors into a message and an exit code."""

from __future__ import annotations

import argparse
import contextlib
import errno
import gc
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TextIO

from dregutil.cli.grammar import prepare
from dregutil.cli.log import set_up_log
from dregutil.cli.options.command import Command
from dregutil.cli.parser import COMMANDS, EVERY_COMMAND, build_parser
from dregutil.cli.settings import read_settings, shown_command
from dregutil.cli.source import tell_registry
from dregutil.errors import DregutilError, UsageError, escaped
from dregutil.report.terminal import SafeStream
from dregutil.store.secrets import without_store_passwords

__all__ = ["main", "run"]

_INTERRUPTED = 130
_OBJECTS_BEFORE_COLLECTION = 50_000  # nearly all objects live to the end or are freed without it: cycles are rare


def main() -> None:
    """The command `dregutil`."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, 20, 20)
    _fill_closed()
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Errors are reported on standard error, never as a traceback.

    Output that cannot be written is reported too. The exit code stays that of the work, which is done. It is 1 if the
    command only shows something, unless the reader closed the pipe or the descriptor itself.
    """
    args = argparse.Namespace()
    out, standard = SafeStream(sys.stdout), (sys.stdin, sys.stdout, sys.stderr)
    with open(os.devnull) as nothing, contextlib.ExitStack() as stack:  # noqa: PTH123 - devnull is not a real file
        stack.callback(_set_standard, *standard)
        stack.callback(out.flush)  # --help ends by SystemExit
        _set_standard(sys.stdin or nothing, out, SafeStream(sys.stderr, always=True))
        code = _run(arguments, args)
        out.flush()
        if out.failure is None or isinstance(out.failure, BrokenPipeError):
            return code
        _print_error(f"the results could not be written to standard output: {out.failure.strerror or out.failure}", "")
        return 1 if not code and out.failure.errno != errno.EBADF and _only_shows(args) else code


def _run(arguments: Sequence[str], args: argparse.Namespace) -> int:
    """As `run`; the parsed command line is stored in `args`."""
    debug = False
    try:
        build_parser(arguments).parse_args(prepare(arguments), args)
        debug = str(getattr(args, "log_level", "")).lower() == "debug"
        set_up_log(str(getattr(args, "log_level", "warning")), str(getattr(args, "log_format", "text")))
        if args.command is None:
            _explain_no_command(arguments, getattr(args, "verify", None))
        _color(getattr(args, "color", "auto"))
        command = EVERY_COMMAND[args.command]
        if not command.settings:
            return _function(command)(args)
        settings = replace(read_settings(args), command=shown_command(arguments))
        _color(settings.color)
        if command.registry:
            _ = settings.address  # UsageError if none is named
            tell_registry(settings)
        return _function(command)(args, settings)
    except DregutilError as error:
        _print_error(error.message, error.advice)
        return error.exit_code
    except KeyboardInterrupt:
        _print_error("interrupted", "")
        return _INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last resort
        if debug:
            traceback.print_exc()
        _print_error(
            f"an unexpected {type(error).__name__}: {escaped(str(error))}",
            "this is a defect; -l debug shows the traceback",
        )
        return 1


def _function(command: Command) -> Callable[..., int]:
    """A command's module is imported when the command runs: a query from the cache needs no HTTP client."""
    module, _, name = command.run.partition(":")
    found: Callable[..., int] = getattr(importlib.import_module(f"dregutil.cli.commands.{module}"), name)
    return found


def _set_standard(given: TextIO, out: object, errors: object) -> None:
    sys.stdin, sys.stdout, sys.stderr = given, out, errors


def _color(given: str) -> None:
    for stream in (sys.stdout, sys.stderr):
        if given in ("always", "never") and isinstance(stream, SafeStream):
            stream.is_colored = given == "always"


def _fill_closed() -> None:
    """Open closed standard descriptors (`>&-`): otherwise a file opened later would become standard output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def _only_shows(args: argparse.Namespace) -> bool:
    """Whether a command changes nothing and only shows results."""
    command = EVERY_COMMAND.get(getattr(args, "command", None) or "")
    changes = (command is not None and command.changes) or getattr(args, "prune", None) is not None
    return not changes or getattr(args, "dry_run", False)


def _print_error(message: str, advice: str) -> None:
    sys.stderr.write(f"dregutil: {without_store_passwords(message)}\n")
    if advice:
        sys.stderr.write(f"  {without_store_passwords(advice)}\n")


def _explain_no_command(arguments: Sequence[str], verify: str | None) -> None:
    if verify in COMMANDS:
        raise UsageError(
            f"-v {verify}: this is a command, not a CA bundle",
            advice=f"-v names a CA bundle here, it is not 'verbose': write `dregutil {verify}`, or -v FILE {verify}",
        )
    what = "no command was given" if not arguments else "options were given, but no command"
    raise UsageError(what, advice="`dregutil help` lists the commands; start with `dregutil -reg HOST doctor`")

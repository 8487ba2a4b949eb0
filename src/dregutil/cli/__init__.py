"""The command line: `main` reads arguments, runs a command, and turns errors into two lines and an exit code."""

from __future__ import annotations

import argparse
import gc
import importlib
import os
import sys
from collections.abc import Callable, Sequence

from dregutil.cli.log import set_up_log
from dregutil.cli.parser import COMMANDS, WITHOUT_REGISTRY, build_parser, prepare
from dregutil.cli.settings import Settings, read_settings, state_folder
from dregutil.errors import DregutilError, UsageError

__all__ = ["main", "run"]

# A command's module is imported when the command runs: a query from the cache needs no HTTP client.
_COMMANDS = {
    "list-repo-names": "dregutil.cli.listing:list_repo_names",
    "list-tag-names": "dregutil.cli.listing:list_tag_names",
    "query-repos": "dregutil.cli.query:query_repos",
    "query-tags": "dregutil.cli.query:query_tags",
    "remove-repos": "dregutil.cli.remove:remove_repos",
    "remove-tags": "dregutil.cli.remove:remove_tags",
    "refresh": "dregutil.cli.refresh:refresh",
    "find": "dregutil.cli.find:find",
    "inspect": "dregutil.cli.inspect:inspect",
    "du": "dregutil.cli.du:du",
    "apply": "dregutil.cli.apply:apply",
    "history": "dregutil.cli.history:history",
    "undo": "dregutil.cli.undo:undo",
    "doctor": "dregutil.cli.doctor:doctor",
    "completion": "dregutil.cli.completion:completion",
    "cleanup": "dregutil.cli.cleanup:cleanup",
    "why": "dregutil.cli.why:why",
    "policy": "dregutil.cli.policy:policy_command",
}
_INTERRUPTED = 130
_OBJECTS_BEFORE_COLLECTION = 50_000  # nearly all that we make lives to the end or dies by itself: circles are rare


def main() -> None:
    """The command `dregutil`."""
    gc.set_threshold(_OBJECTS_BEFORE_COLLECTION, 20, 20)
    code = run(sys.argv[1:])
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def run(arguments: Sequence[str]) -> int:
    """Run one command line; returns its exit code. Errors are told on standard error, never as a traceback."""
    debug = False
    try:
        parser = build_parser()
        args = parser.parse_args(prepare(arguments))
        debug = str(getattr(args, "log_level", "")).lower() == "debug"
        set_up_log(str(getattr(args, "log_level", "warning")), str(getattr(args, "log_format", "text")))
        if args.command is None:
            _explain_no_command(arguments, getattr(args, "verify", None))
        _name_registry(args)
        settings = read_settings(args)
        if args.command not in (*WITHOUT_REGISTRY, "apply"):
            _ = settings.address  # a registry is named, or this says so; of a plan, `apply` can say which
        module, _, name = _COMMANDS[args.command].partition(":")
        command: Callable[[object, Settings], int] = getattr(importlib.import_module(module), name)
        return command(args, settings)
    except DregutilError as error:
        _tell(error.message, error.advice)
        return error.exit_code
    except KeyboardInterrupt:
        _tell("interrupted", "")
        return _INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if debug:
            raise
        _tell(f"an unexpected {type(error).__name__}: {error}", "this is a defect; -l debug shows where it happened")
        return 1


def _name_registry(args: argparse.Namespace) -> None:
    """Where nothing names a registry, a run that is named does: its record is our own.

    A plan's file does not: it never chooses where credentials go.
    """
    run = getattr(args, {"undo": "run", "apply": "resume"}.get(args.command, ""), None)
    if run is None or hasattr(args, "registry") or os.environ.get("REGISTRY"):
        return
    from dregutil.runs import RunStore

    registry = RunStore(state_folder(args)).get(run).plan.registry
    if registry:  # else the line that names it is damaged
        args.registry = registry


def _tell(message: str, advice: str) -> None:
    sys.stderr.write(f"dregutil: {message}\n")
    if advice:
        sys.stderr.write(f"  {advice}\n")


def _explain_no_command(arguments: Sequence[str], verify: str | None) -> None:
    if verify in COMMANDS:
        raise UsageError(
            f"-v {verify}: a command stands where the CA bundle should",
            advice=f"-v names a CA bundle here, it is not 'verbose': write `dregutil {verify}`, or -v FILE {verify}",
        )
    what = "no command was given" if not arguments else "the options name no command"
    raise UsageError(what, advice=f"one of {', '.join(COMMANDS)}; start with `dregutil -reg HOST doctor`")

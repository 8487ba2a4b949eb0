"""Consent: what removes or puts back asks on a terminal; elsewhere it needs `-y`.

The older tool's removals act without `-y` in a script, as they always did; `--confirm always` ends that.
"""

from __future__ import annotations

import argparse
import sys

from dregutil.cli.settings import Settings
from dregutil.errors import UsageError

__all__ = ["agreed", "check_consent", "check_older_consent", "is_on_terminal"]


def is_on_terminal() -> bool:
    """Whether a question can be asked and answered."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def agreed(question: str) -> bool:
    """Ask on a terminal; elsewhere True, as `check_consent` has refused what needs an answer."""
    if not is_on_terminal():
        return True
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def check_consent(args: argparse.Namespace, advice: str) -> None:
    """Raise UsageError if a command would act without a terminal to ask on and without `-y`. `advice` says what `-y`
    does."""
    if not (args.yes or _only_shows(args) or is_on_terminal()):
        raise UsageError("not a terminal, so confirmation cannot be asked for", advice=advice)


def check_older_consent(args: argparse.Namespace, settings: Settings) -> None:
    """As `check_consent` for the older tool's removals, if `--confirm always` asks for it."""
    if settings.confirm == "always":
        check_consent(args, "--dry-run shows what would go; -y removes without asking")


def _only_shows(args: argparse.Namespace) -> bool:
    return bool(getattr(args, "dry_run", False) or getattr(args, "plan_out", None) or getattr(args, "approve", False))

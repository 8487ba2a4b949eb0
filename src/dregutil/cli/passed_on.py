"""The global options of a command line, for another command that works with the same registry."""

from __future__ import annotations

import argparse
from typing import Any

from dregutil.cli.options.common import GLOBAL_GROUPS

__all__ = ["global_options"]

_SECRET = frozenset(("password", "password_stdin"))
_OWN = frozenset(("refresh", "format", "quiet", "count", "color", "log_level", "log_format"))


def global_options(args: argparse.Namespace) -> tuple[str, ...]:
    """The options as they can be given again, without those of the output, and without the password."""
    given, found = vars(args), []

    def add(*names: str, **options: Any) -> None:
        name = options.get("dest") or names[0].removeprefix("--").replace("-", "_")
        if name in given and name not in _SECRET | _OWN:
            action = options.get("action")
            if action is None:
                found.append(f"{names[0]}={given[name]}")
            elif given[name] is (action == "store_true"):
                found.append(names[0])

    for fill in GLOBAL_GROUPS.values():
        fill(add)
    return tuple(found)

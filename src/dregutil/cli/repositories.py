"""Repositories as they are named on the command line, and those of them that do not exist."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence

from dregutil.errors import DregutilError, NotFoundError
from dregutil.inventory import Inventory
from dregutil.reference import Repository

__all__ = ["parse_repositories", "tell_absent"]

PARTIAL = 3
_MOST_NAMED = 5


def parse_repositories(names: Sequence[str]) -> tuple[Repository, ...]:
    """Raises UsageError for a name that can be none."""
    return tuple(dict.fromkeys(Repository.parse(name) for name in names))


def tell_absent(inventory: Inventory, named: Sequence[Repository], failed: Mapping[Repository, DregutilError]) -> int:
    """Name those that are not there, with the nearest names; returns the exit code that follows from it.

    Raises NotFoundError where none of them exists.
    """
    absent = [name for name in named if not inventory.tags(name) and name not in failed]
    texts = [_absent_text(inventory, name) for name in absent]
    if named and len(absent) == len(named):
        more = f"; and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
        raise NotFoundError(
            "; ".join(texts[:_MOST_NAMED]) + more,
            advice="`dregutil list-repo-names` lists what is there, `--refresh` reads the registry again",
        )
    for text in texts:
        sys.stderr.write(f"dregutil: {text}\n")
    return PARTIAL if absent or failed else 0


def _absent_text(inventory: Inventory, name: Repository) -> str:
    near = difflib.get_close_matches(name, inventory.repositories, n=3)
    return f"there is no repository {name} with tags" + (f" (did you mean {', '.join(near)}?)" if near else "")

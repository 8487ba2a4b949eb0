"""Repositories named on the command line, and messages for those that do not exist."""

from __future__ import annotations

import functools
import sys
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dregutil.errors import NotFoundError, UsageError
from dregutil.files import read_stream, read_text
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.select.absent import absent_text
from dregutil.select.named import Named

if TYPE_CHECKING:
    from dregutil.inventory.crawl_result import CrawlResult

__all__ = [
    "absent_lines",
    "expand",
    "listed_repositories",
    "odd_names_lines",
    "tell_absent",
]

PARTIAL = 3
_LIST_ADVICE = "--repositories-from needs one repository per line"
_MOST_NAMED = 5
_LONGEST_NAME = 100
_LONGEST_LIST = 64 * 1024 * 1024  # bytes


def odd_names_lines(names: Collection[str]) -> Iterator[str]:
    """A line about the names in the catalog that are not valid repository names; none if there are none."""
    if names:
        shown = ", ".join(ascii(name[:_LONGEST_NAME]) for name in sorted(names)[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        what = "1 name of the catalog is skipped: not a valid repository name"
        if len(names) > 1:
            what = f"{len(names):,} names of the catalog are skipped: not valid repository names"
        yield f"{what}: {shown}{more}"


def expand(named: Named, inventory: Inventory, source: CrawlResult) -> tuple[tuple[Repository, ...], int]:
    """The repositories that names and globs match, and the exit code so far; missing ones are named on standard error.

    Raises NotFoundError if none exists.
    """
    found, empty = named.matching(sorted({*inventory.repositories, *source.failed}))
    for pattern in empty if found else ():
        sys.stderr.write(f"dregutil: no repository matches {pattern.text}\n")
    if named.names and not found:
        raise NotFoundError(
            f"no repository matches {' or '.join(pattern.text for pattern in empty[:_MOST_NAMED])}",
            advice="'*' matches anything without a slash, '**' also slashes; quote them for the shell",
        )
    return found, max(tell_absent(inventory, found, source), PARTIAL if empty else 0)


@functools.cache
def listed_repositories(path: str, address: RegistryAddress) -> tuple[Repository, ...]:
    """The repositories that a file names, one per line; `-` is standard input. `#` starts a comment.

    Raises UsageError if it cannot be read, names none, or has a line that is not a repository name.
    """
    where = "standard input" if path == "-" else path
    try:
        text = read_stream(sys.stdin, _LONGEST_LIST) if path == "-" else _read(path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is not text"
        raise UsageError(f"the repositories cannot be read from {where}: {why}", advice=_LIST_ADVICE) from error
    found: dict[Repository, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        name = line.partition("#")[0].strip()
        if name:
            try:
                found[address.repository(name)] = None
            except UsageError as error:
                raise UsageError(f"{where}, line {number}: {error.message}", advice=error.advice) from error
    if not found:
        raise UsageError(f"{where} names no repository", advice=_LIST_ADVICE)
    return tuple(found)


def _read(path: str) -> str:
    return read_text(Path(path).expanduser(), _LONGEST_LIST)


def tell_absent(inventory: Inventory, named: Sequence[Repository], source: CrawlResult) -> int:
    """Name the repositories that do not exist, with the nearest names; returns the exit code.

    Raises NotFoundError if none exists.
    """
    texts = absent_lines(inventory, named, source)
    if named and len(texts) == len(named):
        more = f"; and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
        raise NotFoundError(
            "; ".join(texts[:_MOST_NAMED]) + more,
            advice="`dregutil list-repo-names` lists them all, `--refresh` reads the registry again",
        )
    for text in texts:
        sys.stderr.write(f"dregutil: {text}\n")
    return PARTIAL if texts or source.failed else 0


def absent_lines(inventory: Inventory, named: Sequence[Repository], source: CrawlResult) -> list[str]:
    """A line for each repository that does not exist, with the nearest names."""
    absent = [name for name in named if not inventory.tags(name) and name not in source.failed]
    there = sorted({*inventory.repositories, *source.others}) if absent else []
    return [absent_text(there, name) for name in absent]

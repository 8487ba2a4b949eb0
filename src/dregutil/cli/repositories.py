"""Repositories as they are named on the command line, and those of them that do not exist."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dregutil.errors import DregutilError, NotFoundError, UsageError
from dregutil.files import read_stream, read_text
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Reference, RegistryAddress, Repository, Tag, parse_signature_tag
from dregutil.select.glob import Glob, is_glob, parse_glob
from dregutil.select.version import tag_order

__all__ = [
    "Named",
    "absent_image",
    "listed_repositories",
    "odd_names_lines",
    "parse_named",
    "parse_repositories",
    "tell_absent",
]

PARTIAL = 3
_LIST_ADVICE = "--repositories-from wants a repository a line"
_MOST_NAMED = 5
_LONGEST_NAME = 100
_LONGEST_LIST = 64 * 1024 * 1024  # bytes


def parse_repositories(names: Sequence[str], address: RegistryAddress) -> tuple[Repository, ...]:
    """Repositories of the registry at `address`, each once. Raises UsageError for a name that can be none."""
    return tuple(dict.fromkeys(address.repository(name) for name in names))


def odd_names_lines(names: Collection[str]) -> Iterator[str]:
    """A line on what the catalog names and what can be no repository's name; none where there is nothing."""
    if names:
        shown = ", ".join(ascii(name[:_LONGEST_NAME]) for name in sorted(names)[:_MOST_NAMED])
        more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
        what = "1 name of the catalog is" if len(names) == 1 else f"{len(names):,} names of the catalog are"
        yield f"{what} not looked at, since no repository can be called so: {shown}{more}"


@dataclass(frozen=True, slots=True)
class Named:
    """Repositories and globs, in the order of the command line."""

    names: tuple[Repository | Glob, ...]

    @property
    def only(self) -> tuple[Repository, ...] | None:
        """All repositories that can be meant; None where only the registry's own list tells, or none was named."""
        exact = tuple(name for name in self.names if isinstance(name, Repository))
        return exact if self.names and len(exact) == len(self.names) else None

    def matching(self, there: Sequence[Repository]) -> tuple[tuple[Repository, ...], tuple[Glob, ...]]:
        """The repositories that are meant, in the order of the names, those of a glob as they stand in `there`; and the
        globs that match none."""
        found: dict[Repository, None] = {}
        empty: list[Glob] = []
        for name in self.names:
            matching = [name] if isinstance(name, Repository) else [one for one in there if name.matches(one)]
            found.update(dict.fromkeys(matching))
            if isinstance(name, Glob) and not matching:
                empty.append(name)
        return tuple(found), tuple(empty)

    def expand(
        self, inventory: Inventory, failed: Mapping[Repository, DregutilError]
    ) -> tuple[tuple[Repository, ...], int]:
        """The repositories that are meant, and the exit code so far; those that are not there are named.

        Raises NotFoundError where there is none at all.
        """
        found, empty = self.matching(sorted({*inventory.repositories, *failed}))
        for pattern in empty if found else ():
            sys.stderr.write(f"dregutil: no repository matches {pattern.text}\n")
        if self.names and not found:
            raise NotFoundError(
                f"no repository matches {' or '.join(pattern.text for pattern in empty[:_MOST_NAMED])}",
                advice="'*' stands for what has no slash, '**' also for slashes; quote them for the shell",
            )
        return found, max(tell_absent(inventory, found, failed), PARTIAL if empty else 0)


def parse_named(names: Sequence[str], address: RegistryAddress) -> Named:
    """Repositories and globs of the registry at `address`. Raises UsageError for what can be neither."""
    return Named(tuple(_glob(name, address) if is_glob(name) else address.repository(name) for name in names))


def _glob(text: str, address: RegistryAddress) -> Glob:
    try:
        return parse_glob(text.removeprefix(f"{address.name}/"))
    except ValueError as error:
        raise UsageError(
            f"not a glob of repositories: {error}",
            advice="'*' and '?' stand for what has no slash, '**' also for slashes, '{a,b}' for either",
        ) from error


@functools.cache
def listed_repositories(path: str, address: RegistryAddress) -> tuple[Repository, ...]:
    """The repositories that a file names, one a line; `-` is standard input. `#` begins a comment.

    Raises UsageError where it cannot be read, names none, or has a line that is no name.
    """
    where = "standard input" if path == "-" else path
    try:
        text = read_stream(sys.stdin, _LONGEST_LIST) if path == "-" else _read(path)
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "it is no text"
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


def tell_absent(inventory: Inventory, named: Sequence[Repository], failed: Mapping[Repository, DregutilError]) -> int:
    """Name those that are not there, with the nearest names; returns the exit code that follows from it.

    Raises NotFoundError where none of them exists.
    """
    absent = [name for name in named if not inventory.tags(name) and name not in failed]
    texts = [_absent_text(inventory.repositories, name) for name in absent]
    if named and len(absent) == len(named):
        more = f"; and {len(texts) - _MOST_NAMED} more" if len(texts) > _MOST_NAMED else ""
        raise NotFoundError(
            "; ".join(texts[:_MOST_NAMED]) + more,
            advice="`dregutil list-repo-names` lists what is there, `--refresh` reads the registry again",
        )
    for text in texts:
        sys.stderr.write(f"dregutil: {text}\n")
    return PARTIAL if absent or failed else 0


def absent_image(
    image: Reference, tags: Collection[Tag], there: Sequence[Repository], address: RegistryAddress
) -> NotFoundError:
    """The error for an image that is not there: `tags` are what its repository has, `there` all repositories."""
    if tags:
        ordered = sorted((tag for tag in tags if parse_signature_tag(tag) is None), key=tag_order, reverse=True)
        more = f" and {len(ordered) - _MOST_NAMED} more" if len(ordered) > _MOST_NAMED else ""
        named = f" (tags: {', '.join(ordered[:_MOST_NAMED])}{more})" if ordered else ""
        absent = image if image.tag or image.digest else f"{image}:latest"
        return NotFoundError(
            f"there is no {absent}{named}", advice=f"`dregutil list-tag-names {image.repository}` lists them all"
        )
    host, slash, _ = image.repository.partition("/")
    if slash and ("." in host or host == "localhost") and host != address.host:
        return NotFoundError(
            f"{image} is not in {address.name}: {host} is another registry than -reg names",
            advice=f"name that one: -reg {host}",
        )
    return NotFoundError(_absent_text(there, image.repository), advice="`dregutil list-repo-names` lists what is there")


def _absent_text(there: Sequence[Repository], name: Repository) -> str:
    near = difflib.get_close_matches(name, there, n=3)
    return f"there is no repository {name} with tags" + (f" (did you mean {', '.join(near)}?)" if near else "")

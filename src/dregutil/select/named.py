"""Repositories as people name them: exactly, or by globs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dregutil.errors import UsageError
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.select.glob import Glob, is_glob, parse_glob

__all__ = ["Named", "parse_named", "parse_repositories"]


def parse_repositories(names: Sequence[str], address: RegistryAddress) -> tuple[Repository, ...]:
    """Repositories of the registry at `address`, each once. Raises UsageError for a name that can be none."""
    return tuple(dict.fromkeys(address.repository(name) for name in names))


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

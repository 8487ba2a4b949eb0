"""Repositories by glob: `team/*`, `**/cache`, `app-?`. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from dregutil.errors import UsageError
from dregutil.reference import Repository

__all__ = ["RepositoryPattern", "expand_repositories", "is_pattern"]

_SPECIAL = re.compile(r"[*?\[]")
_ALLOWED = re.compile(r"[a-z0-9._/*?\[\]!-]{1,255}")
_STARS = re.compile(r"\*+")
_MOST_STARS = 5  # each multiplies the time that one name may take


@dataclass(frozen=True, slots=True)
class RepositoryPattern:
    """`*` and `?` stand for what has no slash, `**` also for slashes, `[…]` for one of some characters."""

    text: str
    expression: re.Pattern[str]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises UsageError."""
        if not _ALLOWED.fullmatch(text):
            raise UsageError(
                f"not a pattern of repositories: {text[:150]!r}",
                advice="lower-case letters, digits, '.', '_', '-' and '/', with *, ** or ? among them",
            )
        if len(_STARS.findall(text)) > _MOST_STARS:
            raise UsageError(
                f"not a pattern of repositories: {text[:150]!r} has more than {_MOST_STARS} wildcards *",
                advice="name the repositories with several patterns",
            )
        try:
            return cls(text, re.compile(_translated(text)))
        except re.error as error:
            raise UsageError(f"not a pattern of repositories: {text[:150]!r}: {error}") from error

    def matches(self, repository: str) -> bool:
        return self.expression.fullmatch(repository) is not None


def is_pattern(text: str) -> bool:
    """Whether a name on the command line is a glob: no repository's name has these characters."""
    return _SPECIAL.search(text) is not None


def expand_repositories(
    named: Iterable[Repository | RepositoryPattern], repositories: Iterable[Repository]
) -> tuple[tuple[Repository, ...], tuple[RepositoryPattern, ...]]:
    """The repositories that were named, in that order, those of a pattern sorted; and the patterns that match none."""
    there = sorted(repositories)
    found: dict[Repository, None] = {}
    empty: list[RepositoryPattern] = []
    for name in named:
        if isinstance(name, Repository):
            found[name] = None
            continue
        matching = [repository for repository in there if name.matches(repository)]
        found.update(dict.fromkeys(matching))
        if not matching:
            empty.append(name)
    return tuple(found), tuple(empty)


def _translated(text: str) -> str:
    parts: list[str] = []
    for part in re.findall(r"\*\*+|\*|\?|\[[^\]]+\]|.", text):
        if part.startswith("**"):
            parts.append(".*")
        elif part in ("*", "?"):
            parts.append({"*": "[^/]*", "?": "[^/]"}[part])
        elif len(part) > 1:
            # What Python's expressions may come to read as operations on sets is there for itself.
            inner = part[1:-1].replace("[", r"\[").replace("--", r"-\-")
            # A slash is never among them: `[!a]` stays within a part of the name.
            parts.append(f"(?!/)[{'^' if inner.startswith('!') else ''}{inner.removeprefix('!')}]")
        else:
            parts.append(re.escape(part))
    return "".join(parts)

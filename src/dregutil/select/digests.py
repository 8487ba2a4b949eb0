"""Manifests that are named by their digest, or by the beginning of it. Pure.

A registry deletes per repository: other repositories that have the same digest keep theirs, so only one is named.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository
from dregutil.select.selection import Selected, Selection

__all__ = ["Beginning", "parse_digests", "select_digests"]

_BEGINNING = re.compile(r"(?:(sha256|sha384|sha512):)?([0-9a-f]{4,128})")
_MOST_NAMED = 5


@dataclass(frozen=True, slots=True)
class Beginning:
    """The beginning of a digest, as `text`: hexadecimal digits, of any algorithm if `algorithm` is None."""

    text: str
    hex: str
    algorithm: str | None = None

    def __str__(self) -> str:
        return self.text

    def only_one(self, digests: Iterable[Digest]) -> Digest | None:
        """The one of `digests` that begins so; None if there is none. Raises UsageError if there are several."""
        found = sorted({one for one in digests if one.hex.startswith(self.hex)})
        found = [one for one in found if self.algorithm in (None, one.algorithm)]
        if len(found) > 1:
            shown = ", ".join(digest.short for digest in found[:_MOST_NAMED])
            raise UsageError(f"{self.text} is the beginning of {len(found)} digests: {shown}", advice="give more of it")
        return found[0] if found else None


def parse_digests(texts: Collection[str]) -> tuple[Digest | Beginning, ...]:
    """Whole digests, and beginnings of digests with at least four digits. Raises UsageError, and TypeError for a string
    in place of a list."""
    if isinstance(texts, str):
        raise TypeError(f"expected a list of digests, such as [{texts!r}]")
    return tuple(map(_parse, dict.fromkeys(texts)))


def _parse(text: str) -> Digest | Beginning:
    found = _BEGINNING.fullmatch(text)
    if found is None:
        raise UsageError(
            f"{text[:150]!r} is neither a digest nor the beginning of one",
            advice="write it as sha256:… or as its first digits, at least four; `dregutil inspect IMAGE` shows digests",
        )
    try:
        return Digest.parse(text)
    except UsageError:
        return Beginning(text, found[2], found[1])


def select_digests(repository: Repository, digests: Iterable[Digest], *, with_tags: bool = False) -> Selection:
    """Select manifests of one repository: each as long as it has no tag or, `with_tags`, with all that it has."""
    return Selection(
        tuple(Selected(repository, digest, (), is_named=True, with_tags=with_tags) for digest in dict.fromkeys(digests))
    )

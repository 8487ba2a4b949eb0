"""Selectors that match no tag, and excluded tags that do not exist: usually typing errors. Pure."""

from __future__ import annotations

from collections.abc import Sequence, Set

from dregutil.select.nearest import near
from dregutil.select.selector import Exact, TagSelector

__all__ = ["unmatched_lines"]

_MOST_NAMED = 5


def unmatched_lines(given: Sequence[str], selector: TagSelector, there: Set[str], *, exclude: str = "-x") -> list[str]:
    """A line for each, at most five, with the nearest tag of `there`. `given`: the selectors that include, as texts;
    `exclude`: the option of those that exclude."""
    lines = [
        f"{text} selects no tag{near(text, there) if isinstance(one, Exact) else ''}"
        for text, one in zip(given, selector.include, strict=False)
        if not (one.name in there if isinstance(one, Exact) else any(map(one.matches, there)))
    ]
    lines += [
        f"{exclude} {one.name} names no tag{near(one.name, there)}"
        for one in selector.exclude
        if isinstance(one, Exact) and one.name not in there
    ]
    more = len(lines) - _MOST_NAMED
    return lines if more <= 0 else [*lines[:_MOST_NAMED], f"and {more:,} more that match no tag"]

"""The older tool's lines, exactly: they never change with the width of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["pair_lines"]


def pair_lines(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """`first  second`, the first column padded to its longest."""
    width = max((len(first) for first, _ in pairs), default=0)
    return (f"{first:{width}}  {second}" for first, second in pairs)

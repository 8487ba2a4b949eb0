"""The older tool's lines, exactly: they never change with the width of a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

__all__ = ["column_lines", "pair_lines"]


def pair_lines(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """`first  second`, the first column padded to its longest."""
    width = max((len(first) for first, _ in pairs), default=0)
    return (f"{first:{width}}  {second}" for first, second in pairs)


def column_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, each padded to its longest but for the last."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [f"{cell:{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  ".join((*cells, row[-1]))

"""Lines in columns, exactly as the older tool prints them: they do not depend on the width of the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.errors import escaped
from dregutil.oci.names import parse_signature_tag

__all__ = ["column_lines", "pair_lines", "short_tag"]


def short_tag(tag: str) -> str:
    """A signature tag shortened to `sha256-f1683e7e8ee9….sig`; every other tag unchanged."""
    signature = parse_signature_tag(tag)
    if signature is None:
        return tag
    suffix = f".{signature.suffix}" if signature.suffix else ""
    return f"{signature.algorithm}-{signature.hex[:12]}…{suffix}"


def pair_lines(pairs: Sequence[tuple[str, str]]) -> Iterator[str]:
    """`first  second`, the first column padded to its longest cell."""
    width = max((len(first) for first, _ in pairs), default=0)
    return (f"{first:{width}}  {second}" for first, second in pairs)


def column_lines(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows in columns, all but the last padded to the longest cell. Line breaks in a cell are escaped."""
    shown = [tuple(map(escaped, row)) for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*shown, strict=True)]
    for row in shown:
        cells = [f"{cell:{width}}" for cell, width in zip(row[:-1], widths, strict=False)]
        yield "  ".join((*cells, row[-1]))

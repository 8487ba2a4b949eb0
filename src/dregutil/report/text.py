"""Lines in columns. In a pipe they are exactly as the older tool printed them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dregutil.errors import escaped
from dregutil.oci.names import Digest, parse_signature_tag
from dregutil.report.layout import cells, cut, fitted_widths

__all__ = ["column_lines", "pair_lines", "short_tag"]

_LAST = 24  # cells that the last column of a table keeps, if it needs them
_LEAST = 12  # cells that the others keep


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


def column_lines(rows: Sequence[Sequence[str]], *, width: int | None = None) -> Iterator[str]:
    """Rows in columns, all but the last padded to the longest cell. Line breaks in a cell are escaped.

    With `width`, that of a terminal, digests have 12 digits, and all columns but the last are cut if they would leave
    it no room.
    """
    shown = [tuple(_shown(cell, is_short=width is not None) for cell in row) for row in rows]
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    if width is not None:
        room = width - 2 * (len(widths) - 1) - min(widths[-1], _LAST)
        widths[:-1] = fitted_widths(widths[:-1], room, [_LEAST] * (len(widths) - 1))
    for row in shown:
        first = (cut(cell, size, "middle") for cell, size in zip(row[:-1], widths, strict=False))
        padded = [cell + " " * (size - cells(cell)) for cell, size in zip(first, widths, strict=False)]
        yield "  ".join((*padded, row[-1]))


def _shown(cell: str, *, is_short: bool) -> str:
    return cell.hex[:12] if is_short and isinstance(cell, Digest) else escaped(cell)

"""How text is laid out for a width: columns that are cut with an ellipsis, prose that is wrapped at words. Pure."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from dregutil.errors import escaped

__all__ = ["Column", "Cut", "cells", "cut", "fitted_widths", "laid_out", "painted", "table_lines", "wrapped"]

Cut = str  # "end", "middle", or "" for a column that is never cut
_GAP = "  "
_ELLIPSIS = "…"
_LEAST = 6  # cells that a cut column keeps, if there is room
_SMALLEST = 3  # cells that it keeps even then
_WORD = re.compile(r"( *)(`[^`\n]*`[^ `]*|[^ ]+)")  # a command between backticks is one word: it is there to be copied
_STYLES = (
    (re.compile(r"(?:REMOVE|REFUSED)\b"), "31"),
    (re.compile(r"(?:KEEP|HELD)\b"), "32"),
    (re.compile(r"(?:UNTAG|LEFT|FOLLOW)\b"), "33"),
    (re.compile(r"NOTE\b"), "36"),
    (re.compile(r"  \+(?= )"), "31"),
    (re.compile(r"(?:dregutil: )?(?:warning|WARNING):"), "33"),
    (re.compile(r"(?:dregutil|lost|broken|failed|in doubt):"), "31"),
    (re.compile(r"left:"), "33"),
    (re.compile(r"put back:"), "32"),
)
_RESET = "\x1b[0m"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `right`: its cells are aligned to the right. `cut`: where a cell that is too wide loses
    characters. `least`: the cells that it keeps at least."""

    title: str
    right: bool = False
    cut: Cut = ""
    least: int = _LEAST


def cells(text: str) -> int:
    """The number of cells of a terminal that `text` takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_cells(character) for character in text)


def cut(text: str, width: int, where: Cut = "end") -> str:
    """`text` in at most `width` cells, with an ellipsis where something was left out."""
    if cells(text) <= width:
        return text
    if width <= 1:
        return _ELLIPSIS[:width]
    front = width - 1 if where == "end" else width // 2
    head = _first(text, front)
    tail = "" if where == "end" else _first(text[::-1], width - 1 - cells(head))[::-1]
    return f"{head}{_ELLIPSIS}{tail}"


def table_lines(columns: Sequence[Column], rows: Iterable[Sequence[str]], *, width: int | None = None) -> Iterator[str]:
    """A line with the titles, then one for each row; none if there is no row.

    With `width`, the widest of the columns that can be cut are cut until a line fits. Line breaks and other control
    characters in a cell are escaped.
    """
    shown = [tuple(map(escaped, row)) for row in rows]
    if not shown:
        return iter(())
    shown.insert(0, tuple(column.title for column in columns))
    widths = [max(map(cells, column)) for column in zip(*shown, strict=True)]
    if width is not None:
        room, uncut = width - len(_GAP) * (len(columns) - 1), sum(widths)
        least = [column.least if column.cut else uncut for column in columns]
        widths = fitted_widths(widths, room, least)
    return (_row(columns, row, widths) for row in shown)


def fitted_widths(widths: Sequence[int], room: int, least: Sequence[int]) -> list[int]:
    """Widths whose sum is at most `room`: the widest give way first, down to what is the `least` of each, and only if
    that is not enough further. Where even that is too much, the sum is larger."""
    fitted = list(widths)
    able = [place for place, width in enumerate(widths) if least[place] < sum(widths)]
    for smallest in (least, [_SMALLEST] * len(fitted)):
        while sum(fitted) > room:
            wide = [place for place in able if fitted[place] > smallest[place]]
            if not wide:
                break
            fitted[max(wide, key=fitted.__getitem__)] -= 1
    return fitted


def wrapped(text: str, width: int, *, hang: int = 2) -> Iterator[str]:
    """A line in lines of at most `width` cells, broken at words; the later ones are indented by `hang` more. A word
    that is longer stays whole."""
    if cells(text) <= width:
        yield text
        return
    indent = " " * (len(text) - len(text.lstrip(" ")))
    line, is_first = "", True
    for space, word in _words(text, width - len(indent) - hang):
        if line and cells(line) + cells(space) + cells(word) > width:
            yield line
            line, is_first = "", False
        line = f"{line}{space}{word}" if line else f"{indent if is_first else indent + ' ' * hang}{word}"
    if line:
        yield line


def painted(line: str) -> str:
    """A line with its first word in color if it is one that says what happens, and the titles of a table in bold."""
    for pattern, style in _STYLES:
        found = pattern.match(line)
        if found:
            return f"\x1b[{style}m{found[0]}{_RESET}{line[found.end() :]}"
    if line.isupper() and not any(map(str.isdigit, line)) and ":" not in line:
        return f"\x1b[1m{line}{_RESET}"
    return line


def laid_out(text: str, *, width: int | None, is_colored: bool) -> str:
    """Lines for a terminal of `width` cells (None: of any width)."""
    lines: list[str] = []
    for line in text.split("\n"):
        parts = [line] if width is None else [*wrapped(line, width)] or [""]
        if len(parts) > 1:
            parts[-1] += " " * (len(line) - len(line.rstrip(" ")))  # the answer to a question is typed after it
        lines += [painted(parts[0]) if is_colored else parts[0], *parts[1:]]
    return "\n".join(lines)


def _words(text: str, longest: int) -> Iterator[tuple[str, str]]:
    """Each word with the spaces before it. A command between backticks is one word if it takes at most `longest`."""
    for found in _WORD.finditer(text):
        space, word = found[1], found[2]
        if cells(word) <= longest:
            yield space, word
        else:
            yield from ((space if not place else " ", part) for place, part in enumerate(word.split(" ")) if part)


def _row(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> str:
    placed = (_placed(column, cell, width) for column, cell, width in zip(columns, row, widths, strict=True))
    return _GAP.join(placed).rstrip()


def _placed(column: Column, cell: str, width: int) -> str:
    taken = cells(cell)
    if taken > width:
        cell = cut(cell, width, column.cut or "end")
        taken = cells(cell)
    space = " " * (width - taken)
    return f"{space}{cell}" if column.right else f"{cell}{space}"


def _cells(character: str) -> int:
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def _first(text: str, width: int) -> str:
    """The longest beginning of `text` that takes at most `width` cells."""
    if text.isascii():
        return text[:width]
    taken = 0
    for place, character in enumerate(text):
        taken += _cells(character)
        if taken > width:
            return text[:place]
    return text

"""Texts and tables in HTML and in Markdown, with every name as text. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Collection, Iterable, Iterator, Sequence

from dregutil.errors import escaped

__all__ = ["html_head", "html_row", "html_text", "markdown_table", "markdown_text"]

# What begins markup inside a line; `:` and `@` begin links and mentions where a renderer looks for them.
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~$]")
_LINK = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.|@")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def html_head(title: str, style: str, policy: str) -> Iterator[str]:
    """The lines of a page up to its body. `policy` is its Content-Security-Policy."""
    yield from ("<!DOCTYPE html>", '<html lang="en">', "<head>", '<meta charset="utf-8">')
    yield f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy)}">'
    yield '<meta name="viewport" content="width=device-width, initial-scale=1">'
    yield '<meta name="referrer" content="no-referrer">'
    yield '<link rel="icon" href="data:,">'  # otherwise a browser asks the server for one
    yield from (f"<title>{html_text(title)}</title>", f"<style>\n{style}\n</style>", "</head>")


def html_text(text: str) -> str:
    """`text` for the content of an element or the value of a quoted attribute, on one line."""
    return html.escape(escaped(text))


def html_row(cells: Sequence[str], element: str, numbers: Collection[int] = (), *, scoped: bool = False) -> str:
    """A row of a table; `element` is that of its cells, and those in `numbers` have the class `n`. `scoped`: the first
    cell of each row is its header, and every header says of what."""
    return f"<tr>{''.join(_cells(cells, element, numbers, scoped=scoped))}</tr>"


def _cells(cells: Sequence[str], element: str, numbers: Collection[int], *, scoped: bool) -> Iterator[str]:
    for place, cell in enumerate(cells):
        is_header = scoped and (element == "th" or place == 0)
        scope = f' scope="{"col" if element == "th" else "row"}"' if is_header else ""
        name = "th" if is_header else element
        number = ' class="n"' if place in numbers else ""
        yield f"<{name}{scope}{number}>{html_text(cell)}</{name}>"


def markdown_text(text: str) -> str:
    """`text` so that Markdown shows it as it is, on one line."""
    text = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], escaped(text))
    text = _MARKUP.sub(r"\\\g<0>", text)
    return _LINK.sub(lambda found: f"&#{ord(found[0])};", text)


def markdown_table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Collection[int] = ()
) -> Iterator[str]:
    """The lines of a table as GitHub writes them; the columns in `numbers` are aligned to the right."""
    yield _row(columns)
    yield _row("---:" if place in numbers else "---" for place in range(len(columns)))
    yield from (_row(map(markdown_text, row)) for row in rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"

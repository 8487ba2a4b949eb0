"""Objects as JSON, JSON lines, CSV, or a table on a terminal."""

from __future__ import annotations

import csv
import functools
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dregutil.errors import escaped, escaped_json

__all__ = ["render"]


def render(
    form: str, objects: Iterable[Mapping[str, object]], *, color: str = "auto", only_ascii: bool = False
) -> Iterator[str]:
    """The text of `objects` in `form`: json (one list), jsonl, csv or table. All but a table are streamed.

    `only_ascii`: escape other characters in JSON. In a CSV cell and in a table, a value that is not text, a number or a
    list of these is JSON.
    """
    if form == "json":
        yield from _json(objects, only_ascii=only_ascii)
    elif form == "jsonl":
        yield from (_dumped(found, only_ascii=only_ascii) + "\n" for found in objects)
    elif form == "csv":
        yield from _csv(objects)
    elif listed := list(objects):
        yield _table(listed, color)


def _dumped(found: object, *, only_ascii: bool = False, indent: int | None = None) -> str:
    return escaped_json(json.dumps(found, ensure_ascii=only_ascii, indent=indent))


def _json(objects: Iterable[Mapping[str, object]], *, only_ascii: bool) -> Iterator[str]:
    """The text that `json.dumps` writes for a list with an indent of 2, in parts."""
    opening = "["
    for found in objects:
        yield f"{opening}\n{textwrap.indent(_dumped(found, only_ascii=only_ascii, indent=2), '  ')}"
        opening = ","
    yield "[]\n" if opening == "[" else "\n]\n"


def _csv(objects: Iterable[Mapping[str, object]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    header: Mapping[str, object] | None = None
    for found in objects:
        if header is None:
            header = found
            writer.writerow(header)
        writer.writerow([_cell(value) for value in found.values()])
        yield buffer.getvalue()
        buffer.seek(0)
        buffer.truncate()


def _cell(value: object) -> str:
    if isinstance(value, Mapping) or (isinstance(value, list | tuple) and not all(map(_is_plain, value))):
        return _dumped(value) if value else ""
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _is_plain(value: object) -> bool:
    return isinstance(value, str | int | float)


def _table(objects: Sequence[Mapping[str, object]], color: str) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in objects[0] if objects else ():
        numbers = all(isinstance(found[name], int) for found in objects)
        table.add_column(name.upper().replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for found in objects:
        table.add_row(*(escaped(_cell(value)) for value in found.values()))
    plain = functools.partial(Console, highlight=False, markup=False, emoji=False)  # cells are shown as they are
    console = plain(force_terminal=color == "always" or None, no_color=color == "never")
    if not console.is_terminal:
        console = plain(width=400, no_color=True)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())

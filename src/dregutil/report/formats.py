"""Objects as JSON, JSON lines, CSV, or a table on a terminal."""

from __future__ import annotations

import csv
import io
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["render"]


def render(form: str, objects: Iterable[Mapping[str, object]], *, color: str = "auto") -> Iterator[str]:
    """The text of `objects` in `form`: json (one list), jsonl, csv or table. All but a table go out one by one."""
    if form == "json":
        yield from _json(objects)
    elif form == "jsonl":
        yield from (json.dumps(found, ensure_ascii=False) + "\n" for found in objects)
    elif form == "csv":
        yield from _csv(objects)
    elif listed := list(objects):
        yield _table(listed, color)


def _json(objects: Iterable[Mapping[str, object]]) -> Iterator[str]:
    """As `json.dumps` writes a list, with an indent of 2."""
    opening = "["
    for found in objects:
        yield f"{opening}\n{textwrap.indent(json.dumps(found, indent=2, ensure_ascii=False), '  ')}"
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
    if isinstance(value, list | tuple):
        return " ".join(map(str, value))
    return "" if value is None else str(value)


def _table(objects: Sequence[Mapping[str, object]], color: str) -> str:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in objects[0] if objects else ():
        numbers = all(isinstance(found[name], int) for found in objects)
        table.add_column(name.upper().replace("_", " "), justify="right" if numbers else "left", overflow="fold")
    for found in objects:
        table.add_row(*map(_cell, found.values()))
    console = Console(force_terminal=color == "always" or None, no_color=color == "never", highlight=False)
    if not console.is_terminal:
        console = Console(width=400, no_color=True, highlight=False)
    with console.capture() as capture:
        console.print(table)
    return "".join(f"{line.rstrip()}\n" for line in capture.get().splitlines())

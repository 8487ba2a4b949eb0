"""Objects as JSON, JSON lines, CSV, or a table on a terminal."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["render"]


def render(form: str, objects: Sequence[Mapping[str, object]], *, color: str = "auto") -> Iterator[str]:
    """The text of `objects` in `form`: json (one list), jsonl, csv or table."""
    if form == "json":
        yield json.dumps(list(objects), indent=2, ensure_ascii=False) + "\n"
    elif form == "jsonl":
        yield from (json.dumps(found, ensure_ascii=False) + "\n" for found in objects)
    elif form == "csv":
        yield from _csv(objects)
    elif objects:
        yield _table(objects, color)


def _csv(objects: Sequence[Mapping[str, object]]) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    if objects:
        writer.writerow(objects[0])
    writer.writerows([_cell(value) for value in found.values()] for found in objects)
    yield buffer.getvalue()


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

"""Objects as JSON, JSON lines, CSV, or a table on a terminal."""

from __future__ import annotations

import csv
import io
import json
import re
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dregutil.errors import escaped_json
from dregutil.oci.names import Digest
from dregutil.report.layout import Column, table_lines

__all__ = ["render"]

_DATE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?\+00:00")


def render(
    form: str, objects: Iterable[Mapping[str, object]], *, width: int | None = None, only_ascii: bool = False
) -> Iterator[str]:
    """The text of `objects` in `form`: json (one list), jsonl, csv or table. All but a table are streamed.

    `only_ascii`: escape other characters in JSON. `width`: that of the terminal, for a table. In a CSV cell and in a
    table, a value that is not text, a number or a list of these is JSON.
    """
    if form == "json":
        yield from _json(objects, only_ascii=only_ascii)
    elif form == "jsonl":
        yield from (_dumped(found, only_ascii=only_ascii) + "\n" for found in objects)
    elif form == "csv":
        yield from _csv(objects)
    else:
        yield from _table(list(objects), width)


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


def _table(objects: Sequence[Mapping[str, object]], width: int | None) -> Iterator[str]:
    """A column for each key. On a terminal digests are short, and what does not fit is cut."""
    if not objects:
        return
    columns = [
        Column(
            name.upper().replace("_", " "),
            right=all(isinstance(found[name], int) for found in objects),
            cut="" if all(isinstance(found[name], int) for found in objects) else "middle",
        )
        for name in objects[0]
    ]
    rows = [[_short(value) if width else _cell(value) for value in found.values()] for found in objects]
    yield from (f"{line}\n" for line in table_lines(columns, rows, width=width))


def _short(value: object) -> str:
    """A value for a person: the first 12 digits of a digest, a date to the minute."""
    if isinstance(value, Digest):
        return value.hex[:12]
    text = _cell(value)
    return f"{text[:10]} {text[11:16]}" if _DATE.fullmatch(text) else text

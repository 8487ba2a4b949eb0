"""Where lines go: results to standard output, everything else to standard error."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import TextIO

from dregutil.cli.settings import Settings
from dregutil.errors import escaped
from dregutil.report.terminal import width_of, write_data
from dregutil.report.text import short_tag
from dregutil.report.units import plural

__all__ = ["count", "emit", "note", "plural", "tag_text"]


def note(settings: Settings, text: str) -> None:
    """A line for a person, on standard error."""
    if not settings.quiet:
        sys.stderr.write(f"{escaped(text)}\n")


def emit(settings: Settings, objects: Iterable[Mapping[str, object]], lines: Iterable[str]) -> None:
    """Print results in the requested format: `lines` as the older tool printed them, or `objects`."""
    if settings.format == "text":
        sys.stdout.writelines(f"{escaped(line)}\n" for line in lines)
        return
    from dregutil.report.formats import render

    only_ascii = not sys.stdout.encoding.lower().startswith("utf")
    for text in render(settings.format, objects, width=width_of(sys.stdout), only_ascii=only_ascii):
        if settings.format == "table":
            sys.stdout.write(text)
        else:
            write_data(sys.stdout, text)


def count(settings: Settings, what: str, number: int) -> None:
    """The older tool's closing lines for --count."""
    if settings.count and settings.format == "text":
        text = f"Number of {what}: {number}"
        write_data(sys.stdout, f"{'-' * len(text)}\n{text}\n")


def tag_text(where: TextIO) -> Callable[[str], str]:
    """How tags are shown: on a terminal signature tags are shortened, for a program they are not."""
    return short_tag if where.isatty() else str

"""Help as text for a width. Lines break between words only: never within an option's name or a command to copy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dregutil.report.layout import wrapped

__all__ = ["WIDEST", "Row", "Section", "Topic", "overview_text", "topic_text"]

WIDEST = 100  # longer lines of prose are hard to read
_NAMES = 28  # the widest column of names; a longer name has its text below it


@dataclass(frozen=True, slots=True)
class Row:
    """A command, argument or option, and what it is."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    rows: tuple[Row, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Topic:
    """The help of one command. `examples` are pairs of a command line and what it does; `more` is the last line."""

    usage: str
    about: str
    sections: tuple[Section, ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    more: str = ""


def overview_text(usage: str, sections: Sequence[Section], more: Sequence[str], width: int) -> str:
    """All commands, a line each, with the name of their group before the first; the last section is of options."""
    titles = max(len(section.title) for section in sections) + 2
    names = max(len(row.name) for section in sections for row in section.rows) + 2
    lines = [usage, ""]
    for section in sections:
        if section is sections[-1]:
            lines.append("")  # options are no commands
        for number, row in enumerate(section.rows):
            start = f"{'' if number else section.title:<{titles}}{row.name:<{names}}"
            lines += _hanging(start, row.text, width)
    lines.append("")
    for text in more:
        lines += wrapped(text, width, hang=0)
    return _joined(lines)


def topic_text(topic: Topic, width: int) -> str:
    lines = [*_hanging("Usage: ", topic.usage, width), "", *wrapped(topic.about, width, hang=0)]
    longest = max((len(row.name) for section in topic.sections for row in section.rows), default=0)
    for section in topic.sections:
        lines += ["", *wrapped(f"{section.title}{f' ({section.note})' if section.note else ''}:", width, hang=0)]
        lines += _listed(section.rows, min(longest + 4, _NAMES, width // 2), width)
    if topic.examples:
        lines += ["", "Examples:"]
    for command, comment in topic.examples:
        lines += [*_hanging("  # ", comment, width, again="  # "), f"  dregutil {command}"]
    return _joined([*lines, *(["", topic.more] if topic.more else [])])


def _listed(rows: Sequence[Row], names: int, width: int) -> Iterator[str]:
    """Names in a column of width `names`, texts in the next; below a name that is too long for that."""
    for row in rows:
        start = f"  {row.name}"
        if len(start) + 2 > names:
            yield start
            start = ""
        yield from _hanging(f"{start:<{names}}", row.text, width)


def _hanging(start: str, text: str, width: int, *, again: str | None = None) -> list[str]:
    """A paragraph after `start`; its further lines begin with `again`, else with as many blanks."""
    first, *others = wrapped(text, width - len(start), hang=0)
    indent = " " * len(start) if again is None else again
    return [f"{start}{first}".rstrip(), *(f"{indent}{line}" for line in others)]


def _joined(lines: Sequence[str]) -> str:
    return "".join(f"{line}\n" for line in lines)

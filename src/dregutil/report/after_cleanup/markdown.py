"""A report as Markdown: GitHub's tables, with every name as text. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

from dregutil.errors import escaped
from dregutil.report.after_cleanup.model import CleanupReport
from dregutil.report.after_cleanup.sections import Section, facts, headline, sections

__all__ = ["markdown"]

# What begins markup inside a line; `:` and `@` begin links and mentions where a renderer looks for them.
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~$]")
_LINK = re.compile(r"(?<=[A-Za-z]):(?=//)|(?<=\bwww)\.|@")
_ENTITIES = {"&": "&amp;", "<": "&lt;", ">": "&gt;"}


def markdown(report: CleanupReport) -> str:
    """The whole document."""
    lines = [f"# {_text(headline(report))}", ""]
    lines += _table(("", ""), [(name, value) for name, value in facts(report)], frozenset())
    for section in sections(report):
        lines += ["", f"## {_text(section.title)}", "", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield from _table(section.columns, section.rows, section.numbers)
    if section.note:
        yield from ("", _text(section.note))


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: frozenset[int]) -> Iterator[str]:
    yield _row(columns)
    yield _row("---:" if place in numbers else "---" for place in range(len(columns)))
    yield from (_row(map(_text, row)) for row in rows)


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _text(text: str) -> str:
    """`text` so that it is shown as it is, on one line."""
    text = re.sub("[&<>]", lambda found: _ENTITIES[found[0]], escaped(text))
    text = _MARKUP.sub(r"\\\g<0>", text)
    return _LINK.sub(lambda found: f"&#{ord(found[0])};", text)

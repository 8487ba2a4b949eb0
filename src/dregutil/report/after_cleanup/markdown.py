"""A report as Markdown: GitHub's tables, with every name as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.report.after_cleanup.model import CleanupReport
from dregutil.report.after_cleanup.sections import Section, facts, headline, sections
from dregutil.report.markup import markdown_table, markdown_text

__all__ = ["markdown"]


def markdown(report: CleanupReport) -> str:
    """The whole document."""
    lines = [f"# {markdown_text(headline(report))}", ""]
    lines += markdown_table(("", ""), [(name, value) for name, value in facts(report)], frozenset())
    for section in sections(report):
        lines += ["", f"## {markdown_text(section.title)}", "", *_section(section)]
    return "\n".join(lines) + "\n"


def _section(section: Section) -> Iterator[str]:
    yield from markdown_table(section.columns, section.rows, section.numbers)
    if section.note:
        yield from ("", markdown_text(section.note))

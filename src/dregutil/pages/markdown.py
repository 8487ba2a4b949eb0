"""A document as Markdown, for a chat or a merge request: the first rows of each table. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.pages.model import Plan, Report
from dregutil.pages.parts import Part, Table, parts, plan_of
from dregutil.report.markup import markdown_table, markdown_text

__all__ = ["markdown", "plan_markdown"]

_MOST_IMAGES = 5


def markdown(report: Report) -> str:
    """The whole text."""
    return "\n".join(_lines(report)) + "\n"


def plan_markdown(plan: Plan) -> str:
    """A plan alone, as in the text of a report."""
    return "\n".join(_part(plan_of(plan, _MOST_IMAGES))).lstrip("\n") + "\n"


def _lines(report: Report) -> Iterator[str]:
    yield f"# {markdown_text(report.registry)}"
    yield ""
    yield markdown_text(f"Report of {report.made:%Y-%m-%d %H:%M} UTC")
    alarm = report.week.alarm
    if alarm is not None:
        yield ""
        yield f"**{markdown_text(alarm.what)}**" + (
            "" if alarm.command is None else f": {markdown_text(alarm.command)}"
        )
    for part in parts(report, most_images=_MOST_IMAGES):
        yield from _part(part)
    for note in report.notes:
        yield from ("", markdown_text(note))


def _part(part: Part) -> Iterator[str]:
    yield from ("", f"## {markdown_text(part.title)}")
    for line in part.lines:
        yield from ("", markdown_text(line))
    for table in part.tables:
        yield from ("", f"**{markdown_text(table.caption)}**", "", *_table(table))


def _table(table: Table) -> Iterator[str]:
    columns = [markdown_text(one) for one in table.columns]
    yield from markdown_table(columns, table.rows[: table.most], table.numbers)
    left = len(table.rows) - table.most
    if left > 0:
        yield from ("", f"{left:,} more rows are left out.")

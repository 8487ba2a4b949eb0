"""A report as one HTML file: without a script, without any request, with every name as text. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.report.after_cleanup.model import CleanupReport
from dregutil.report.after_cleanup.sections import Section, facts, headline, sections
from dregutil.report.markup import html_head, html_row, html_text

__all__ = ["page"]

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none'; form-action 'none'"
_STYLE = """:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
div { overflow-x: auto; }
table { border-collapse: collapse; }
th, td { text-align: left; vertical-align: top; padding: .25rem .75rem; border-bottom: 1px solid #8884; }
td { overflow-wrap: anywhere; unicode-bidi: isolate; }
.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }"""


def page(report: CleanupReport) -> str:
    """The whole document."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: CleanupReport) -> Iterator[str]:
    title = headline(report)
    yield from html_head(title, _STYLE, _POLICY)
    yield from ("<body>", f"<h1>{html_text(title)}</h1>")
    yield "<div><table>"
    for name, value in facts(report):
        yield f'<tr><th scope="row">{html_text(name)}</th><td>{html_text(value)}</td></tr>'
    yield "</table></div>"
    for section in sections(report):
        yield from _section(section)
    yield from ("</body>", "</html>")


def _section(section: Section) -> Iterator[str]:
    yield from (
        f"<h2>{html_text(section.title)}</h2>",
        "<div><table>",
        f"<thead>{html_row(section.columns, 'th', section.numbers)}</thead>",
    )
    yield from (
        "<tbody>",
        *(html_row(row, "td", section.numbers) for row in section.rows),
        "</tbody>",
        "</table></div>",
    )
    if section.note:
        yield f"<p>{html_text(section.note)}</p>"

"""A document as one HTML file: complete without a script, and without any request. Pure.

The document is in it as JSON. A script, where there is one, is allowed by its hash alone.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterator

import msgspec

from dregutil.errors import escaped_json
from dregutil.pages.limits import Limits
from dregutil.pages.model import Plan, Report
from dregutil.pages.parts import Part, Table, parts
from dregutil.pages.picture import picture
from dregutil.pages.style import STYLE
from dregutil.report.markup import html_head, html_row, html_text

__all__ = ["LARGEST", "encoded", "fitted", "page"]

LARGEST = 1 << 20  # bytes of a page

_encode = msgspec.json.Encoder(enc_hook=str).encode  # Digest, Tag and Repository are subclasses of str


def encoded(document: Report | Plan) -> str:
    """The document as JSON."""
    return escaped_json(_encode(document).decode())


def fitted(make: Callable[[Limits], Report], script: str = "", style: str = "") -> str:
    """The page of the largest document that `make` returns and that takes at most LARGEST bytes, or of the smallest."""
    limits = Limits()
    while True:
        found = page(make(limits), script, style)
        if len(found.encode()) <= LARGEST or limits.is_least:
            return found
        limits = limits.smaller()


def page(report: Report, script: str = "", style: str = "") -> str:
    """The whole page. `script` and `style` are those of the bundle, if there is one."""
    return "\n".join(_lines(report, script, style)) + "\n"


def _lines(report: Report, script: str, style: str) -> Iterator[str]:
    title = f"{report.registry}: report of {report.made:%Y-%m-%d}"
    yield from html_head(title, f"{STYLE}\n{style}".rstrip(), _policy(script))
    yield "<body>"
    yield '<main id="report">'
    yield from _head(report)
    for part in parts(report):
        yield from _part(part, report)
    yield from _foot(report)
    yield "</main>"
    yield f'<script type="application/json" id="data">{_in_script(encoded(report))}</script>'
    if script:
        yield f"<script>{script}</script>"
    yield from ("</body>", "</html>")


def _policy(script: str) -> str:
    """The Content-Security-Policy: nothing is loaded, and no script runs but `script`."""
    allowed = ""
    if script:
        summed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        allowed = f" script-src 'sha256-{summed}';"
    return f"default-src 'none'; style-src 'unsafe-inline';{allowed} img-src data:; base-uri 'none'; form-action 'none'"


def _in_script(text: str) -> str:
    """JSON that ends no script element and begins no comment."""
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def _head(report: Report) -> Iterator[str]:
    read = "" if report.read is None else f", tags read {report.read:%Y-%m-%d %H:%M} UTC"
    yield f"<header><h1>{html_text(report.registry)}</h1>"
    yield f"<p>{html_text(f'Report of {report.made:%Y-%m-%d %H:%M} UTC{read}')}</p></header>"
    alarm = report.week.alarm
    if alarm is not None:
        command = "" if alarm.command is None else f" <code>{html_text(alarm.command)}</code>"
        yield f'<p class="alarm" role="alert"><strong>To do:</strong> {html_text(alarm.what)}{command}</p>'


def _part(part: Part, report: Report) -> Iterator[str]:
    yield f'<section id="{part.name}" aria-labelledby="{part.name}-title">'
    yield f'<h2 id="{part.name}-title">{html_text(part.title)}</h2>'
    for line in part.lines:
        yield f"<p>{html_text(line)}</p>"
    if part.name == "space":
        yield from picture(report.space.root)
    for table in part.tables:
        yield from _table(table)
    yield "</section>"


def _table(table: Table) -> Iterator[str]:
    yield f'<div class="table" tabindex="0"><table><caption>{html_text(table.caption)}</caption>'
    yield f"<thead>{html_row(table.columns, 'th', table.numbers, scoped=True)}</thead><tbody>"
    for row in table.rows:
        yield html_row(row, "td", table.numbers, scoped=True)
    yield "</tbody></table></div>"


def _foot(report: Report) -> Iterator[str]:
    yield "<footer>"
    for note in report.notes:
        yield f"<p>{html_text(note)}</p>"
    yield f"<p>Made by {html_text(report.program)}: <code>{html_text(report.command)}</code></p></footer>"

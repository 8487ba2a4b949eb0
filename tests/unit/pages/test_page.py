"""The page and the Markdown of a report: complete without a script, and no name gets out of its text.

`python tests/unit/pages/test_page.py` writes the golden files anew.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

ROOT = Path(__file__).parents[3]
if __name__ == "__main__":
    sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "cli")]

from test_json import REPORT as EXAMPLE  # noqa: E402

from dregutil.errors import escaped  # noqa: E402
from dregutil.pages.label import label  # noqa: E402
from dregutil.pages.limits import Limits  # noqa: E402
from dregutil.pages.markdown import markdown  # noqa: E402
from dregutil.pages.model import Report  # noqa: E402
from dregutil.pages.page import LARGEST, fitted, page  # noqa: E402

GOLDEN = ROOT / "tests" / "golden" / "report"
REPORT = msgspec.convert(EXAMPLE, Report, strict=False)
FORMS: dict[str, Callable[[Report], str]] = {"report.html": page, "report.md": markdown}
HOSTILE = st.one_of(
    st.text(min_size=1, max_size=12),
    st.sampled_from(
        [
            "<script>alert(1)</script>",
            "</script><script>alert(1)</script>",
            "<!--<script>",
            "]]>",
            "</td></table><img src=x onerror=alert(1)>",
            "</svg><a href='https://example.com'>",
            '" onload="x',
            "' x='",
            "a\u202eb",
            "\u2066\u2028\u2029",
            "\x1b[31m\x00",
            "a\nb\r",
            "# | `x` |",
            "[x](https://example.com)",
            "&lt;",
            "\\u003c",
            "\udcff",
            "long " * 2000,
        ]
    ),
)
_WORDS = {"kind", "action", "change", "result", "checked"}  # of the program
_TIMES = {"made", "read", "when", "since", "oldest", "created", "collected"}


@dataclass
class Read(HTMLParser):
    """The elements of a document with their attributes, and its text."""

    tags: list[tuple[str, tuple[tuple[str, str | None], ...]]] = field(default_factory=list)
    text: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, tuple(attrs)))

    def handle_data(self, data: str) -> None:
        self.text.append(data)

    @property
    def elements(self) -> set[str]:
        return {tag for tag, _ in self.tags}


def read(text: str) -> Read:
    found = Read()
    found.feed(text)
    found.close()
    return found


def poisoned(value: Any, name: str, key: str = "") -> Any:
    """The document with `name` in place of every text that somebody else may have written."""
    if isinstance(value, dict):
        return {one: poisoned(found, name, one) for one, found in value.items()}
    if isinstance(value, list):
        return [poisoned(one, name, key) for one in value]
    return label(name) if isinstance(value, str) and key not in _WORDS | _TIMES else value


def hostile(name: str) -> Report:
    return msgspec.convert(poisoned(EXAMPLE, name), Report, strict=False)


@pytest.mark.parametrize("name", FORMS)
def test_the_golden_forms(name: str) -> None:
    assert FORMS[name](REPORT) == (GOLDEN / name).read_text()


@given(HOSTILE)
def test_no_name_gets_out_of_its_text_in_html(name: str) -> None:
    text = page(hostile(name))
    found, plain = read(text), read(page(hostile("name")))
    assert [tag for tag, _ in found.tags] == [tag for tag, _ in plain.tags]
    assert [attributes for tag, attributes in found.tags if tag not in ("meta", "title")] == [
        attributes for tag, attributes in plain.tags if tag not in ("meta", "title")
    ]
    assert found.elements.isdisjoint({"img", "a", "iframe", "form"})
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]", text)


@given(HOSTILE)
def test_the_document_in_the_page_is_the_one_that_was_made(name: str) -> None:
    report = hostile(name)
    found = re.findall(r'<script type="application/json" id="data">(.*?)</script>', page(report), re.DOTALL)
    assert len(found) == 1
    assert "<" not in found[0]
    assert msgspec.json.decode(found[0], type=Report) == report


@given(HOSTILE)
def test_no_name_gets_out_of_its_line_in_markdown(name: str) -> None:
    found, plain = markdown(hostile(name)).splitlines(), markdown(hostile("name")).splitlines()
    assert len(found) == len(plain)
    for line, other in zip(found, plain, strict=True):
        assert len(re.findall(r"(?<!\\)\|", line)) == len(re.findall(r"(?<!\\)\|", other))
        assert not re.search(r"(?<!\\)[\[\]`]|<|https?:", line)


def test_a_page_loads_nothing_and_runs_nothing() -> None:
    text = page(REPORT)
    found = read(text)
    for tag, attributes in found.tags:
        for name, value in attributes:
            assert not name.startswith("on")
            assert name not in ("src", "action", "srcset") or not value
            assert name != "href" or (tag, value) == ("link", "data:,")
    assert not re.search(r"url\((?!#hatch)|@import|https?://(?!registry\.example)", text.split('id="data"')[0])
    metas = [dict(attributes) for tag, attributes in found.tags if tag == "meta"]
    policy = next(one["content"] for one in metas if one.get("http-equiv") == "Content-Security-Policy")
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    assert "script-src" not in policy


def test_every_element_is_closed_in_order() -> None:
    open_ones: list[str] = []

    class Nesting(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            if tag not in ("meta", "link"):
                open_ones.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert open_ones.pop() == tag

    parser = Nesting()
    parser.feed(page(REPORT))
    parser.close()
    assert open_ones == []


def test_the_script_of_the_bundle_is_allowed_by_its_hash_alone() -> None:
    script = "document.title = 'x < y';"
    text = page(REPORT, script, "p { color: red }")
    summed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{summed}';" in html.unescape(text)
    assert f"<script>{script}</script>" in text
    assert "p { color: red }\n</style>" in text


def test_every_table_has_a_caption_and_headers() -> None:
    text = page(REPORT)
    tables = re.findall(r"<table>(.*?)</table>", text, re.DOTALL)
    assert len(tables) == 7
    for table in tables:
        assert table.startswith("<caption>")
        assert '<th scope="col">' in table
        rows = re.findall(r"<tr>(.*?)</tr>", table, re.DOTALL)
        assert all(row.startswith('<th scope="') for row in rows)


def test_a_page_fits_whatever_its_names_are() -> None:
    """As many rows as the limits allow, each with the longest names."""

    def make(limits: Limits) -> Report:
        tags = [
            {"kind": "tag", "name": "t" * 128, "frees": 9, "reaches": 9, "tags": 1, "digest": f"sha512:{'0' * 128}"}
            for _ in range(limits.tags)
        ]
        found = json.loads(json.dumps(EXAMPLE))
        found["space"]["root"]["children"][0]["children"][0]["children"] = tags
        image = {"tags": ["\u202e" * 300], "digest": f"sha256:{'0' * 64}"}
        found["plan"]["groups"][0]["rows"][0]["images"] = [poisoned(image, "\u202e" * 300)] * limits.images
        return msgspec.convert(found, Report, strict=False)

    script = " " * 300_000
    assert len(page(make(Limits()), script).encode()) > LARGEST
    assert LARGEST / 3 < len(fitted(make, script).encode()) <= LARGEST


def test_a_long_text_is_cut_with_an_ellipsis() -> None:
    assert label("x" * 10_000) == "x" * 299 + "…"
    assert label("\u202e" * 10_000).endswith("…")
    assert len(label("\u202e" * 10_000)) == 300
    assert label("web\u202e1") == "web\\u202e1"
    assert label("x" * 300) == "x" * 300


def test_text_that_is_escaped_stays_as_it_is() -> None:
    assert escaped(label("a\x1bb\udcff")) == label("a\x1bb\udcff") == "a\\x1bb\\xff"


if __name__ == "__main__":
    GOLDEN.mkdir(exist_ok=True)
    for name, rendered in FORMS.items():
        (GOLDEN / name).write_text(rendered(REPORT))

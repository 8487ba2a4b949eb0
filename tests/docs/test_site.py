"""The site of the documents is built without a warning, loads nothing from elsewhere, and each link leads somewhere."""

from __future__ import annotations

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urldefrag, urlsplit

import diagrams
import pytest
import site_pages
from site_build import build

import dregutil
from browsing import overflow, violations
from documents import ROOT

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

_LOADS = {("script", "src"), ("link", "href"), ("img", "src"), ("iframe", "src"), ("source", "src"), ("object", "data")}


@dataclass
class Found(HTMLParser):
    """What a page links to, loads, and can be linked to."""

    links: list[str] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" and "href" in given else []
        is_load = tag != "link" or given.get("rel") not in ("search", "prev", "next", "index", "author")
        (self.loads if is_load else self.links).extend(given[name] for name in given if (tag, name) in _LOADS)


def read(text: str) -> Found:
    found = Found()
    found.feed(text)
    return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("built") / "site"
    build(folder)
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Found]:
    return {page: read(page.read_text()) for page in sorted(site.rglob("*.html"))}


def broken(page: Path, pages: dict[Path, Found]) -> Iterator[str]:
    """The links of a page that lead nowhere, and addresses elsewhere that are not https."""
    for link in [*pages[page].links, *pages[page].loads]:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if parts.scheme != "https" or not re.fullmatch(r"[a-z0-9.-]+\.[a-z]+", parts.netloc):
                yield link
            continue
        name, anchor = urldefrag(link)
        target = (page.parent / unquote(name).partition("?")[0]).resolve() if name else page
        if not target.is_file() or (anchor and unquote(anchor) not in pages[target].ids):
            yield link


def test_every_link_leads_somewhere(pages: dict[Path, Found]) -> None:
    assert {page.name: found for page in pages if (found := list(broken(page, pages)))} == {}


def test_a_broken_link_is_noticed(tmp_path: Path) -> None:
    page, other = tmp_path / "a.html", tmp_path / "b.html"
    other.write_text('<h1 id="here">')
    page.write_text(
        '<a href="b.html#here"><a href="b.html#gone"><a href="c.html"><a href="#no"><a href="https://example.com/x">'
        '<a href="http://example.com"><img src="gone.png">'
    )
    found = {one: read(one.read_text()) for one in (page, other)}
    assert list(broken(page, found)) == ["b.html#gone", "c.html", "#no", "http://example.com", "gone.png"]


def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Found]) -> None:
    assert [load for found in pages.values() for load in found.loads if urlsplit(load).netloc] == []
    styles = [style.read_text() for style in site.rglob("*.css")]
    assert styles
    assert [url for text in styles for url in re.findall(r"url\(['\"]?([^)'\"]*)|@import", text) if "//" in url] == []


def test_every_document_is_a_page_that_the_index_leads_to(site: Path, pages: dict[Path, Found]) -> None:
    named = {urldefrag(link)[0] for link in pages[site / "docs" / "index.html"].links}
    wanted = [*(ROOT / "docs").rglob("*.md"), *(ROOT / name for name in ("README.md", "CHANGELOG.md", "SECURITY.md"))]
    for document in wanted:
        page = (site / document.relative_to(ROOT)).with_suffix(".html")
        assert page in pages
        linked = [name for name in named if (site / "docs" / name).resolve() == page]
        assert linked or document.name == "index.md", f"docs/index.md has no link to {document.relative_to(ROOT)}"
    assert 'url=docs/index.html"' in (site / "index.html").read_text()


def test_the_order_of_the_index_is_that_of_the_side_bar(pages: dict[Path, Found], site: Path) -> None:
    text = (site / "docs" / "tour.html").read_text()
    captions = re.findall(r'class="caption"[^>]*><span class="caption-text">([^<]+)', text)
    assert captions == re.findall(r"^## (.+)$", (ROOT / "docs" / "index.md").read_text(), re.MULTILINE)


def test_every_public_name_is_listed_once() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    names = re.findall(r"`(\w+)`", "".join(re.findall(r"^- .*\n(?:  .*\n)*", text, re.MULTILINE)))
    assert sorted(names) == sorted({*dregutil.__all__} - {"__version__"})


def test_every_public_name_is_in_the_reference(pages: dict[Path, Found], site: Path) -> None:
    ids = pages[site / "docs" / "api.html"].ids
    assert [name for name in dregutil.__all__ if name != "__version__" and f"dregutil.{name}" not in ids] == []
    verbs = [name for name in dir(dregutil.Session) if not name.startswith("_")]
    assert [name for name in verbs if f"dregutil.Session.{name}" not in ids] == []


def test_every_diagram_is_drawn() -> None:
    names = {name for _, name in diagrams.blocks()}
    assert names == {file.stem for file in diagrams.FOLDER.iterdir()}, "run tools/diagrams.py"


def test_a_docstring_becomes_what_sphinx_reads() -> None:
    text = 'Does `this`, *that* and `a b`.\n\nwith dregutil.open("x") as one:\n    one.tags()\n\nEnds name_ here.'
    assert site_pages.as_rst(text) == (
        "Does :py:obj:`this`, \\*that\\* and ``a b``.\n\n.. code-block:: python\n\n"
        '    with dregutil.open("x") as one:\n        one.tags()\n\n\nEnds name\\_ here.'
    )


def test_a_signature_is_python() -> None:
    given = "(steps: tuple[~dregutil.plan.model.Step, ...] = <factory>, by: Collector = <Collector.DEFAULT: 'default'>)"
    assert site_pages.readable(given) == "(steps: tuple[Step, ...] = ..., by: Collector = Collector.DEFAULT)"


@pytest.fixture(scope="module")
def url(site: Path) -> Iterator[str]:
    """Where the site is served, as any web server does."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@contextmanager
def opened(chromium: Browser, url: str, *, width: int = 900, dark: bool = False) -> Iterator[Page]:
    """A page, which has asked nobody else for anything in the end, and met no error."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme="dark" if dark else "light", reduced_motion="reduce"
    )
    shown = context.new_page()
    seen: list[str] = []
    shown.on("request", lambda one: None if one.url.startswith(url) else seen.append(one.url))
    shown.on("pageerror", lambda error: seen.append(str(error)))
    yield shown
    context.close()
    assert seen == []


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [400, 1280])
def test_axe_finds_nothing_and_nothing_sticks_out(chromium: Browser, url: str, width: int, dark: bool) -> None:
    with opened(chromium, url, width=width, dark=dark) as shown:
        for name in ("docs/architecture", "docs/registries", "docs/api"):
            shown.goto(f"{url}/{name}.html")
            shown.evaluate(
                "[...document.querySelectorAll('dl.py')].slice(40).forEach(one => one.remove())"
            )  # all alike
            assert violations(shown) == [], name
            assert overflow(shown) <= 0, name


def test_the_search_needs_no_service(chromium: Browser, url: str) -> None:
    with opened(chromium, url) as shown:
        shown.goto(f"{url}/search.html?q=placeholder")
        shown.locator("#search-results a", has_text="Architecture").first.wait_for()
        shown.locator("#search-results .context").first.wait_for()  # text around what was found

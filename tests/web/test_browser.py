"""The page of a report in Chromium: what its script adds, at three widths, light and dark, by keyboard, on paper."""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from test_json import REPORT as EXAMPLE

from browsing import HOSTILE, overflow, violations
from dregutil.pages.bundle_files import bundle
from dregutil.pages.model import Report
from dregutil.pages.page import page
from images import Pusher
from program import PROGRAM, Program
from reported import report_document, report_of_shop
from servers import DistributionServer

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Dialog, Page

SHOP = report_of_shop(EXAMPLE)
_WORDS = {"kind", "action", "change", "result", "checked"}  # of the program
_TIMES = {"made", "read", "when", "since", "oldest", "created", "collected"}

Opened = Callable[..., AbstractContextManager["Page"]]


@pytest.fixture
def opened(chromium: Browser, tmp_path: Path) -> Opened:
    """Open a report's page from disk. Afterwards there was no request but that for the page, no message in the console,
    no error and no dialog of the browser."""

    @contextmanager
    def opening(report: Report = SHOP, *, width: int = 900, dark: bool = False, script: bool = True) -> Iterator[Page]:
        file = tmp_path / "report.html"
        file.write_text(page(report, *(bundle() if script else ("", ""))))
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light", offline=True
        )
        shown = context.new_page()
        seen: list[str] = []

        def dismiss(dialog: Dialog) -> None:
            seen.append(f"dialog: {dialog.message}")
            dialog.dismiss()

        shown.on("console", lambda message: seen.append(f"console: {message.text}"))
        shown.on("pageerror", lambda error: seen.append(f"error: {error}"))
        shown.on("dialog", dismiss)
        shown.on("request", lambda request: seen.append(f"request: {request.url}"))
        shown.goto(file.as_uri())
        yield shown
        context.close()
        assert seen == [f"request: {file.as_uri()}"]

    return opening


def place(shown: Page) -> str:
    found: str = shown.locator("#space .path strong").inner_text()
    return found


def rows(shown: Page, section: str = "#space .space") -> list[str]:
    """The first cell of each row of a table."""
    found: list[str] = shown.locator(f"{section} tbody th").all_inner_texts()
    return found


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 900, 1600])
def test_axe_finds_nothing_and_nothing_sticks_out(opened: Opened, width: int, dark: bool) -> None:
    with opened(width=width, dark=dark) as shown:
        assert shown.locator(".on-screen").count() == 3
        assert violations(shown) == []
        assert overflow(shown) <= 0
        shown.locator("#space button.open").first.click()
        shown.locator("#space button.open").first.click()
        assert place(shown) == "shop/api"
        assert violations(shown) == []
        assert overflow(shown) <= 0


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 1600])
def test_axe_finds_nothing_without_the_script(opened: Opened, width: int, dark: bool) -> None:
    with opened(width=width, dark=dark, script=False) as shown:
        assert shown.locator(".on-screen").count() == 0
        assert violations(shown) == []
        assert overflow(shown) <= 0


def test_the_picture_is_walked_by_keyboard(opened: Opened) -> None:
    with opened() as shown:
        shown.locator(".map").focus()
        chosen = shown.locator("#space [role=option][aria-selected=true]")
        assert chosen.get_attribute("aria-label") == "shop/, frees 28 GB, opens"
        shown.keyboard.press("ArrowRight")
        assert chosen.get_attribute("aria-label") == "platform/, frees 22 GB, opens"
        assert shown.locator("#space tr.chosen th").inner_text() == "platform/"
        shown.keyboard.press("ArrowLeft")
        shown.keyboard.press("Enter")
        assert place(shown) == "shop/"
        shown.keyboard.press("ArrowRight")
        shown.keyboard.press("Enter")
        assert place(shown) == "shop/api"
        shown.keyboard.press("End")
        assert chosen.count() == 1
        shown.keyboard.press("Home")
        shown.keyboard.press("Enter")  # what is shared opens nothing
        assert place(shown) == "shop/api"
        shown.keyboard.press("ArrowDown")
        shown.keyboard.press("Enter")
        inner = place(shown)
        assert inner.startswith("shop/api:")
        assert shown.locator("#space .facts").inner_text().startswith(f"Removing {inner} alone frees")
        for expected in ("shop/api", "shop/", "all", "all"):
            shown.keyboard.press("Escape" if expected != "shop/" else "Backspace")
            assert place(shown) == expected
        assert chosen.get_attribute("aria-label") == "shop/, frees 28 GB, opens"


def test_the_table_is_the_picture_in_the_same_order(opened: Opened) -> None:
    with opened() as shown:
        for _ in range(3):
            options = shown.locator("#space [role=option]").evaluate_all(
                "all => all.map(one => one.getAttribute('aria-label').split(', ')[0])"
            )
            assert options == [one for one in rows(shown) if not one.startswith("sha256:")][: len(options)]
            areas = shown.locator("#space .edge").evaluate_all(
                "all => all.map(one => one.width.baseVal.value * one.height.baseVal.value)"
            )
            assert areas == sorted(areas, reverse=True)
            shown.locator("#space button.open").first.click()


def test_the_table_is_walked_by_keyboard(opened: Opened) -> None:
    with opened() as shown:
        shown.locator("#space button.open").first.focus()
        shown.keyboard.press("ArrowDown")
        shown.keyboard.press("Enter")
        assert place(shown) == "platform/"
        shown.keyboard.press("ArrowDown")
        shown.keyboard.press("Enter")
        assert place(shown) == "platform/billing"
        shown.keyboard.press("Backspace")
        assert place(shown) == "platform/"
        assert shown.evaluate("document.activeElement.textContent") == "platform/billing"


def test_a_slash_filters_names_and_escape_ends_it(opened: Opened) -> None:
    with opened() as shown:
        shown.locator(".map").scroll_into_view_if_needed()
        shown.locator(".map").focus()
        shown.keyboard.press("/")
        shown.keyboard.type("ledger")
        assert rows(shown) == []
        shown.keyboard.press("Escape")
        shown.keyboard.type("SEARCH 1.4.")
        assert rows(shown) == ["data/search:1.4.0", "platform/search:1.4.0", "shop/search:1.4.0"]
        assert shown.locator("#space .tile.faint").count() == 3
        assert shown.locator("#space .space [role=status]").last.inner_text() == "3 found"
        shown.locator("#space button.open").first.click()
        assert place(shown) == "data/search:1.4.0"
        assert shown.locator("#space .space input").input_value() == ""


def test_the_plan_is_filtered_and_sorted(opened: Opened) -> None:
    with opened() as shown:
        table = shown.locator("#plan .live").last
        table.locator("input").fill("remove SHOP/")
        assert table.locator("[role=status]").inner_text() == "9 of 104 rows"
        assert {*table.locator(".action").all_inner_texts()} == {"REMOVE"}
        frees = table.get_by_role("columnheader", name="Frees")
        assert frees.get_attribute("aria-sort") == "none"
        frees.get_by_role("button").click()
        assert frees.get_attribute("aria-sort") == "descending"
        sizes = [int(one.split()[0]) for one in table.locator("tbody td:nth-child(4)").all_inner_texts()]
        assert sizes == sorted(sizes, reverse=True)
        frees.get_by_role("button").click()
        assert table.locator("tbody td:nth-child(4)").first.inner_text() == f"{min(sizes)} MB"
        table.get_by_role("button", name="3 more images").first.click()
        assert "0.7.0" in table.locator("tbody tr").first.inner_text()


def test_a_question_mark_shows_the_keys(opened: Opened) -> None:
    with opened(width=360) as shown:
        shown.keyboard.press("?")
        assert shown.get_by_role("dialog").is_visible()
        assert violations(shown) == []
        shown.keyboard.press("Escape")
        assert not shown.get_by_role("dialog").is_visible()
        shown.locator("#space .space input").focus()
        shown.keyboard.type("?")
        assert shown.locator("#space .space input").input_value() == "?"


def test_each_place_has_its_command(opened: Opened) -> None:
    with opened() as shown:
        expected = ["du --by namespace", "du 'shop/**'", "du shop/api --by tag", "inspect shop/api:"]
        for command in expected:
            assert shown.locator("#space .same code").inner_text().startswith(f"dregutil {command}")
            for button in shown.locator("#space button.open").all()[:1]:
                button.click()


def test_the_commands_of_a_real_report_show_the_same(
    registry_server: DistributionServer, pusher: Pusher, chromium: Browser, tmp_path: Path
) -> None:
    for version in ("1.0", "1.1"):
        pusher.push_image("shop/web", version, seed=version, layers=[b"base" * 5000, version.encode() * 900])
    program = Program(registry_server.url, tmp_path)
    assert program.run("report", "-o", "report.html").returncode == 0
    shown = chromium.new_page()
    shown.goto((tmp_path / "report.html").as_uri())
    for name in ("shop", "shop/web", "1.0", "shop/web:1.0"):
        words = shlex.split(shown.locator("#space .same code").inner_text())
        done = subprocess.run([PROGRAM, *words[1:]], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert name in done.stdout
        for button in shown.locator("#space button.open").all()[:1]:
            button.click()
    shown.close()


def poisoned(value: Any, name: str, key: str = "") -> Any:
    """A document with `name` in place of every text that somebody else may have written, unescaped."""
    if isinstance(value, dict):
        return {one: poisoned(found, name, one) for one, found in value.items()}
    if isinstance(value, list):
        return [poisoned(one, name, key) for one in value]
    return name if isinstance(value, str) and key not in _WORDS | _TIMES else value


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_text(opened: Opened, name: str) -> None:
    report = msgspec.convert(poisoned(report_document(EXAMPLE, small=True), name), Report, strict=False)
    with opened(report, width=360) as shown:
        assert shown.locator(".on-screen").count() == 3
        while shown.locator("#space .space button.open").count():
            shown.locator("#space .space button.open").first.click()
            assert overflow(shown) <= 0
        text = shown.locator("#report").inner_text()
        assert name[:300].replace("\u202e", "\\u202e").replace("\u2066", "\\u2066").replace("\x1b", "\\x1b") in text
        assert "\u202e" not in text
        assert shown.locator("#report :is(img, a, iframe, script, object)").count() == 0


def test_paper_has_what_the_page_has_without_a_script(opened: Opened, tmp_path: Path) -> None:
    with opened() as shown:
        shown.emulate_media(media="print")
        assert not shown.locator(".on-screen").filter(visible=True).count()
        tables = shown.locator(".table.on-paper")
        assert tables.count() == tables.filter(visible=True).count() > 2
        assert shown.pdf(format="A4").startswith(b"%PDF")


def test_the_page_of_another_version_is_left_as_it_is(opened: Opened) -> None:
    with opened(msgspec.structs.replace(SHOP, version=2)) as shown:
        assert shown.locator(".on-screen").count() == 0
        assert shown.locator("#space svg").is_visible()

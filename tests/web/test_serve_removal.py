"""Removals in Chromium on a real registry: from a search to an undo by keyboard alone, and by people who approve."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browsing import overflow, violations
from images import Pusher, created
from listening import until
from program import Program
from servers import DistributionServer
from serving import Serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

POLICY = """version: 1
policies: [{name: web, repositories: [shop/web], keep: {last: 10}, order: version}]
"""
OPTIONS = ("-c", "tags.json", "--refresh-every", "0", "-f", "policy.yml")
PROXY = ("--user-header", "X-User", "--trusted-proxy", "127.0.0.1", "--viewer", "*", "--planner", "ann")
IN_FOCUS = "(document.activeElement.getAttribute('aria-label') ?? document.activeElement.textContent).trim()"


@pytest.fixture
def program(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    for number in range(12):
        pusher.push_image("shop/web", f"1.{number}", seed=f"{number}", config=created(200 - number))
    for name in ("1.0", "1.1"):
        pusher.push_image("shop/api", name, seed=f"api {name}", config=created(90))
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def serving(program: Program) -> Iterator[Serving]:
    with Serving(program, OPTIONS) as found:
        yield found


@contextmanager
def opened(chromium: Browser, serving: Serving, **person: str) -> Iterator[Page]:
    """The page of the server for a person, whom headers name. Afterwards it had no error, and no message in the console
    but of what is not made yet."""
    context = chromium.new_context(viewport={"width": 900, "height": 800}, extra_http_headers=person)
    if serving.cookie:
        name, _, value = serving.cookie.partition("=")
        context.add_cookies([{"name": name, "value": value, "url": f"http://127.0.0.1:{serving.port}"}])
    page, seen = context.new_page(), list[str]()
    page.on("console", lambda message: seen.append(message.text))
    page.on("pageerror", lambda error: seen.append(str(error)))
    page.goto(f"http://127.0.0.1:{serving.port}/")
    yield page
    context.close()
    assert [one for one in seen if "status of 503" not in one] == []


@pytest.fixture
def shown(chromium: Browser, serving: Serving) -> Iterator[Page]:
    with opened(chromium, serving) as found:
        yield found


def go_to(shown: Page, name: str) -> None:
    """Press Tab until what is called `name`, or begins so, has the focus; and Enter."""
    for _ in range(80):
        shown.keyboard.press("Tab")
        if str(shown.evaluate(IN_FOCUS)).startswith(name):
            shown.keyboard.press("Enter")
            return
    raise AssertionError(f"Tab does not reach {name}")


def heading(shown: Page, text: str) -> None:
    shown.get_by_role("heading", name=text, level=1).wait_for()


def test_a_removal_from_search_to_undo_by_keyboard(shown: Page, serving: Serving, pusher: Pusher) -> None:
    before = pusher.tags("shop/web")
    shown.locator(".cards").wait_for()
    go_to(shown, "Images")
    shown.get_by_text("14 images found").wait_for()
    shown.keyboard.press("/")
    shown.keyboard.type("web 1.0")
    shown.keyboard.press("Enter")
    shown.get_by_text("1 image found").wait_for()
    shown.keyboard.press("Space")
    shown.get_by_text("1 selected").wait_for()
    shown.keyboard.press("/")
    shown.keyboard.press("Control+A")
    shown.keyboard.type("web 1.1")
    shown.keyboard.press("Enter")
    shown.get_by_text("3 images found").wait_for()
    shown.keyboard.press("Space")
    shown.get_by_text("2 selected").wait_for()
    go_to(shown, "Make a plan")

    shown.get_by_text("1 approval is missing.").wait_for()
    assert pusher.tags("shop/web") == before
    assert violations(shown) == []
    go_to(shown, "Approve")
    go_to_when(shown, "Carry out…")
    assert "It removes 2 tags" in shown.get_by_role("dialog").inner_text()
    assert pusher.tags("shop/web") == before
    go_to(shown, "Carry out")
    shown.get_by_text("carried out by the run").wait_for()
    assert pusher.tags("shop/web").keys() == before.keys() - {"1.0", "1.1"}

    run = shown.locator("dd a").inner_text()
    go_to(shown, run)
    heading(shown, f"Run {run}")
    assert violations(shown) == []
    shown.get_by_role("checkbox", name="Choose shop/web:1.0").focus()
    shown.keyboard.press("Space")
    shown.keyboard.press("Shift+Tab")
    go_back_to(shown, "Put 1 chosen back")
    go_to(shown, "Put back")
    until(lambda: "1.0" in pusher.tags("shop/web"))
    shown.get_by_text("finished, partly undone").wait_for()
    assert "1.1" not in pusher.tags("shop/web")
    go_back_to(shown, "Put everything back")
    go_to(shown, "Put back")
    shown.locator(".facts-of").get_by_text("undone", exact=True).wait_for()
    assert pusher.tags("shop/web") == before
    assert all(pusher.is_whole("shop/web", tag) for tag in before)
    assert overflow(shown) <= 0

    go_back_to(shown, "shop/web:1.0")
    heading(shown, "Where is my image")
    shown.locator(".timeline .undone").first.wait_for()
    happened = shown.locator(".timeline li > strong").all_inner_texts()
    assert happened.index("removed") < happened.index("undone")
    assert violations(shown) == []


def go_to_when(shown: Page, name: str) -> None:
    """As `go_to`, once there is such a button."""
    shown.get_by_role("button", name=name).wait_for()
    go_to(shown, name)


def go_back_to(shown: Page, name: str) -> None:
    """As `go_to`, with Shift + Tab."""
    for _ in range(80):
        if str(shown.evaluate(IN_FOCUS)).startswith(name):
            shown.keyboard.press("Enter")
            return
        shown.keyboard.press("Shift+Tab")
    raise AssertionError(f"Shift+Tab does not reach {name}")


def test_tonights_plan_has_its_reasons_and_what_is_held_stays(shown: Page, serving: Serving, pusher: Pusher) -> None:
    shown.locator(".cards").wait_for()
    go_to(shown, "Plans")
    go_to(shown, "Plan tonight's cleanup")
    shown.get_by_text("beyond last: 10").first.wait_for()
    assert shown.locator(".action.REMOVE").first.inner_text() == "REMOVE"
    assert violations(shown) == []
    shown.get_by_role("button", name="hold 30 days: shop/web:1.0").first.click()
    shown.locator(".following").get_by_text("done").wait_for()
    assert [one["image"] for one in serving.get("holds").json["holds"]] == ["shop/web:1.0"]


def test_two_people_approve_what_a_third_planned(chromium: Browser, program: Program, pusher: Pusher) -> None:
    approvers = (one for name in ("ann", "bob", "cy") for one in ("--approver", name))
    with (
        Serving(program, (*OPTIONS, *PROXY, *approvers, "--approvals", "2")) as serving,
        opened(chromium, serving, **{"X-User": "ann"}) as ann,
        opened(chromium, serving, **{"X-User": "bob"}) as bob,
        opened(chromium, serving, **{"X-User": "cy"}) as cy,
        opened(chromium, serving, **{"X-User": "eve"}) as eve,
    ):
        ann.locator(".cards").wait_for()
        ann.get_by_role("link", name="Images").click()
        ann.locator("#row-2 .check").click()
        ann.get_by_role("button", name="Make a plan").click()
        ann.get_by_text("2 approvals are missing").wait_for()
        before = pusher.tags("shop/web")
        for page in (bob, cy, eve):
            page.goto(ann.url)
            page.get_by_text("2 approvals are missing").wait_for()
        for page in (ann, eve):
            assert page.get_by_role("button", name="Approve", exact=True).count() == 0
        bob.get_by_role("button", name="Approve", exact=True).click()
        for page in (ann, bob, cy, eve):
            page.get_by_text("1 approval is missing").wait_for()
            assert page.get_by_role("button", name="Carry out").count() == 0
        cy.get_by_role("button", name="Approve", exact=True).click()
        eve.get_by_text("None is missing.").wait_for()
        ann.get_by_role("button", name="Carry out…").click()
        assert pusher.tags("shop/web") == before
        ann.get_by_role("dialog").get_by_role("button", name="Carry out").click()
        bob.get_by_text("carried out by the run").wait_for()
        assert pusher.tags("shop/web").keys() == before.keys() - {"1.0"}
        bob.get_by_role("link", name="2026").first.click()
        bob.get_by_text("bob, cy", exact=True).wait_for()
        assert eve.get_by_role("button", name="Carry out").count() == 0

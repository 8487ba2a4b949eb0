"""The screens of `serve` in Chromium, on answers that are made up: widths, colours, keyboard, hostile names, a million
rows. What is real is in test_serve_removal."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import pytest
from test_json import REPORT as EXAMPLE

from browsing import HOSTILE, overflow, violations
from mock_serve import JOB, OTHER, RUN, SUM, UNDO, Mock, answers, image, serving
from reported import report_document

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

PATHS = {
    "week": "/",
    "space": "/space",
    "images": "/images",
    "plans": "/plans",
    "plan": f"/plans/{SUM}",
    "removed": "/where",
    "where": "/where?of=shop/web:1.0",
    "runs": "/runs",
    "run": f"/runs/{RUN}",
    "health": "/health",
}
_WORDS = {
    "kind",
    "action",
    "change",
    "result",
    "checked",
    "verdict",
    "state",
    "what",
    "roles",
    "decision",
    "sum",
    "run",
}
_TIMES = {"made", "read", "when", "since", "until", "oldest", "created", "collected", "expires", "pulled", "undoes"}

Opened = Callable[..., AbstractContextManager["Page"]]


@pytest.fixture
def mock() -> Iterator[Mock]:
    with serving(Mock(answers(EXAMPLE))) as found:
        yield found


@pytest.fixture
def opened(chromium: Browser, mock: Mock) -> Opened:
    """Open a path of the server. Afterwards there was no error, no dialog of the browser, no message in the console (of
    the policy, for example) but of what the test refused, and no request to anywhere else."""

    @contextmanager
    def opening(path: str = "/", *, width: int = 900, dark: bool = False, refused: int | None = None) -> Iterator[Page]:
        context = chromium.new_context(
            viewport={"width": width, "height": 800}, color_scheme="dark" if dark else "light"
        )
        shown = context.new_page()
        seen: list[str] = []
        shown.on("console", lambda message: seen.append(f"console: {message.text}"))
        shown.on("pageerror", lambda error: seen.append(f"error: {error}"))
        shown.on("request", lambda one: None if one.url.startswith(mock.url) else seen.append(f"request: {one.url}"))
        shown.goto(mock.url + path)
        shown.locator("#title").wait_for()
        shown.get_by_text("Loading…").first.wait_for(state="hidden")
        yield shown
        context.close()
        assert [one for one in seen if refused is None or f"status of {refused}" not in one] == []

    return opening


def ready(shown: Page, name: str) -> None:
    """Wait for what is read after the screen is there."""
    if name == "images":
        shown.locator(".row .cell-image a").first.wait_for()


def posted(shown: Page, path: str) -> AbstractContextManager[object]:
    """Wait at the end until `path` was posted and answered."""
    return shown.expect_response(lambda one: one.request.method == "POST" and one.url.endswith(f"/{path}"))


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [360, 900, 1600])
def test_axe_finds_nothing_and_nothing_sticks_out(opened: Opened, width: int, dark: bool) -> None:
    with opened(width=width, dark=dark) as shown:
        for name, path in PATHS.items():
            shown.evaluate("path => { history.pushState(null, '', path); dispatchEvent(new Event('popstate')); }", path)
            shown.locator("main h1").wait_for()
            shown.get_by_text("Loading…").first.wait_for(state="hidden")
            ready(shown, name)
            assert violations(shown) == [], name
            assert overflow(shown) <= 0, name


def test_a_screen_has_a_title_its_focus_and_its_place(opened: Opened) -> None:
    with opened() as shown:
        assert shown.title() == "This week - registry.example.com"
        shown.get_by_role("link", name="Images", exact=True).click()
        ready(shown, "images")
        assert shown.title() == "Images - registry.example.com"
        assert shown.evaluate("document.activeElement.textContent") == "Images"
        assert shown.locator("nav [aria-current=page]").inner_text() == "Images"
        shown.go_back()
        assert shown.locator("h1").inner_text() == "This week"
        shown.goto(shown.url + "nothing")
        assert shown.locator("h1").inner_text() == "There is no such page"
        assert shown.locator("nav a").count() == 7


def test_every_screen_shows_the_command_that_does_the_same(opened: Opened) -> None:
    with opened() as shown:
        for name, path in PATHS.items():
            shown.evaluate("path => { history.pushState(null, '', path); dispatchEvent(new Event('popstate')); }", path)
            shown.locator(".same code").first.wait_for()
            assert shown.locator(".same code").first.inner_text().startswith("dregutil "), name
            assert shown.locator(".same").get_by_role("button", name="Copy").count() > 0, name


def test_what_is_not_made_yet_shows_how_far_it_is(opened: Opened, mock: Mock) -> None:
    report = mock.answers["report"]
    mock.answers["report"] = (503, {"error": "the report is being made", "advice": "it takes as long as reading"})
    mock.answers["jobs"] = {"jobs": [JOB]}
    with opened(refused=503) as shown:
        pending = shown.locator(".pending")
        pending.get_by_text("4,200 of 10,200 tags").wait_for()
        assert "it takes as long as reading" in pending.inner_text()
        assert violations(shown) == []
        mock.tell("job", JOB | {"done": 9000})
        pending.get_by_text("9,000 of 10,200 tags").wait_for()
        mock.answers["report"] = report
        mock.tell("changed", {"what": "report"})
        shown.locator(".cards").wait_for()


_TOPS = "['.top', 'h1', '.cards'].map(one => document.querySelector(one).getBoundingClientRect().bottom)"


@pytest.mark.parametrize("width", [360, 900, 1600])
def test_nothing_moves_when_a_job_begins_or_ends(opened: Opened, mock: Mock, width: int) -> None:
    with opened(width=width) as shown:
        shown.locator(".cards").wait_for()
        before = shown.evaluate(_TOPS)
        mock.tell("job", JOB)
        shown.get_by_text("Reading the registry: running").wait_for()
        assert shown.evaluate(_TOPS) == before
        ended = {"ended": "2026-11-26T12:00:01Z", "message": "no answer " * 40, "advice": "start the registry"}
        mock.tell("job", JOB | {"state": "failed", **ended})
        shown.locator(".top .failed").wait_for()
        assert shown.evaluate(_TOPS) == before
        assert overflow(shown) <= 0
        shown.get_by_role("button", name="Why it failed").click()
        assert "start the registry" in shown.get_by_role("dialog").inner_text()
        assert violations(shown) == []


def test_a_first_reading_that_failed_is_told_with_its_advice(opened: Opened, mock: Mock) -> None:
    mock.answers["report"] = (503, {"error": "the report is being made", "advice": None})
    told = {"message": "no answer", "advice": "start the registry"}
    mock.answers["jobs"] = {"jobs": [JOB | told | {"state": "failed", "ended": "2026-11-26T12:00:01Z"}]}
    with opened(refused=503) as shown:
        alarm = shown.locator("main").get_by_role("alert")
        alarm.get_by_text("no answer").wait_for()
        assert "start the registry" in alarm.inner_text()
        assert shown.get_by_text("the report is being made").count() == 0
        mock.tell("job", JOB)
        shown.locator(".pending").get_by_text("4,200 of 10,200 tags").wait_for()


def test_the_week_begins_with_what_waits_for_approval(opened: Opened, mock: Mock) -> None:
    waiting = mock.answers["plans"]["plans"][1]
    with opened() as shown:
        told = shown.locator(".to-do")
        told.wait_for()
        text = "1 plan waits for approval: 1,248 tags and 12 manifests without a tag, at most 21 GB"
        assert told.inner_text() == text
        mock.answers["plans"] = {"plans": [waiting, waiting | {"sum": OTHER}, waiting | {"tags": 0, "untagged": 0}]}
        mock.tell("changed", {"what": "plans"})
        shown.get_by_text("2 plans wait for approval").wait_for()
        mock.answers["plans"] = {"plans": [waiting | {"state": "done"}]}
        mock.tell("changed", {"what": "plans"})
        told.wait_for(state="hidden")


def test_what_a_cleanup_refuses_is_said_to_who_approves(opened: Opened, mock: Mock) -> None:
    detail = mock.answers[f"plans/{OTHER}"]
    detail["plan"] = detail["plan"] | {"refused": "it removes 68 tags, more than max_remove: 50"}
    said = "A cleanup by itself refuses this: it removes 68 tags, more than max_remove: 50."
    with opened(f"/plans/{OTHER}") as shown:
        alarm = shown.locator("main .alarm")
        assert alarm.inner_text() == f"{said} Whoever approves it says that they looked at it."
        shown.get_by_role("button", name="Carry out…").click()
        assert said in shown.get_by_role("dialog").inner_text()
        detail["summary"] = detail["summary"] | {"state": "done", "run": RUN}
        mock.tell("changed", {"what": "plans"})
        shown.get_by_text("carried out by the run").wait_for()
        assert shown.locator("main > .alarm").count() == 0


def test_a_plan_is_discarded_after_a_question(opened: Opened, mock: Mock) -> None:
    mock.answers[f"POST plans/{SUM}/discard"] = (204, None)
    with opened(f"/plans/{SUM}") as shown:
        shown.get_by_role("button", name="Discard…").click()
        dialog = shown.get_by_role("dialog")
        assert "goes the approval of jo" in dialog.inner_text()
        assert mock.posts == []
        assert violations(shown) == []
        with posted(shown, "discard"):
            dialog.get_by_role("button", name="Discard").click()
        shown.get_by_role("heading", name="Plans", level=1).wait_for()
        assert mock.posts == [(f"plans/{SUM}/discard", {})]


def test_who_is_not_known_is_told_how_to_come_in(opened: Opened, mock: Mock) -> None:
    mock.answers["session"] = (401, {"error": "no", "advice": None})
    with opened(refused=401) as shown:
        assert "Open the URL that the terminal shows" in shown.locator("main").inner_text()
        assert violations(shown) == []


def test_a_viewer_is_offered_nothing_that_a_viewer_may_not(opened: Opened, mock: Mock) -> None:
    mock.answers["session"] = mock.answers["session"] | {"roles": ["viewer"]}
    mock.answers[f"plans/{SUM}"] = mock.answers[f"plans/{SUM}"] | {"may_approve": False}
    mock.answers["jobs"] = {"jobs": [JOB]}
    with opened() as shown:
        for name, path in PATHS.items():
            shown.evaluate("path => { history.pushState(null, '', path); dispatchEvent(new Event('popstate')); }", path)
            shown.locator(".same code").first.wait_for()
            ready(shown, name)
            words = "Refresh|Stop|Check now|Plan tonight|Make a plan|pprove|Carry out|Discard|Put|Resume|[Hh]old"
            shown.get_by_text("4,200 of 10,200 tags").wait_for()
            buttons = shown.get_by_role("button").all_inner_texts()
            assert [one for one in buttons if re.search(words, one)] == [], name
        shown.goto(mock.url + "/images")
        ready(shown, "images")
        shown.locator("[role=grid]").focus()
        shown.keyboard.press("Space")
        assert shown.locator(".row.selected").count() == 0
        assert shown.locator(".box").count() == 0


def test_what_is_refused_is_said_in_the_servers_words(opened: Opened, mock: Mock) -> None:
    mock.answers["images"] = (400, {"error": "older: needs a duration", "advice": "write older:30d"})
    with opened("/images?q=older:x", refused=400) as shown:
        assert shown.get_by_role("alert").inner_text().split("\n") == ["older: needs a duration", "", "write older:30d"]


_CUT = "all => all.filter(one => one.scrollWidth > one.clientWidth).map(one => one.textContent)"


@pytest.mark.parametrize("width", [360, 660, 900, 1200, 1600])
def test_a_row_has_room_for_its_dates_sizes_and_reason(opened: Opened, width: int) -> None:
    with opened("/images", width=width) as shown:
        ready(shown, "images")
        cells = ".cell-made, .cell-size, .cell-frees" + (", .cell-verdict" if width != 660 else "")
        found = shown.locator(f".row[aria-selected] > :is({cells})")
        assert found.filter(has_not_text="held").evaluate_all(_CUT) == []
        assert overflow(shown) <= 0


def test_rows_stay_while_a_term_is_half_typed(opened: Opened, mock: Mock) -> None:
    with opened("/images", refused=400) as shown:
        ready(shown, "images")
        shown.keyboard.press("/")
        mock.answers["images"] = (400, {"error": "label: names no label", "advice": "write label:team"})
        shown.keyboard.type("label:")
        shown.get_by_text("label: names no label: write label:team").wait_for()
        assert shown.get_by_role("alert").count() == 0
        assert shown.locator(".row .cell-image a").count() > 0
        assert shown.get_by_role("button", name="Select all found").is_disabled()
        del mock.answers["images"]
        shown.keyboard.type("team")
        shown.get_by_text("2,500 images found").wait_for()


def test_what_is_gone_is_put_back_and_not_held(opened: Opened, mock: Mock) -> None:
    found = mock.answers["timeline"]
    removed = found["events"][3] | {"text": "removed, because beyond last: 10"}
    mock.answers["timeline"] = found | {"digest": None, "holders": [], "holds": [], "events": [removed]}
    with opened("/where?of=shop/web:1.0") as shown:
        assert "removed by nele because beyond last: 10" in " ".join(shown.locator(".timeline li").inner_text().split())
        assert shown.get_by_role("button", name="Put it back…").is_visible()
        assert shown.get_by_role("button", name="Hold…").count() == 0
        assert shown.get_by_role("button", name="Why it stays").count() == 0
        shown.get_by_role("button", name="Put it back…").click()
        with posted(shown, "undo"):
            shown.get_by_role("dialog").get_by_role("button", name="Put it back").click()
        shown.locator(".following").wait_for()
        mock.tell("job", JOB | {"state": "failed", "ended": "2026-11-26T12:00:01Z", "message": "no answer"})
        shown.locator("main .alarm").wait_for()
        mock.answers["timeline"] = found | {"undo": None}
        mock.tell("changed", {"what": "runs"})
        shown.get_by_role("button", name="Hold…").wait_for()
        assert shown.locator("main .alarm").count() == 0


def test_a_plan_that_removes_nothing_asks_for_nothing(opened: Opened, mock: Mock) -> None:
    detail = mock.answers[f"plans/{SUM}"]
    nothing = {"tags": 0, "untagged": 0, "frees": 0, "approvals": []}
    mock.answers[f"plans/{SUM}"] = detail | {
        "summary": detail["summary"] | nothing,
        "may_approve": False,
        "why_not": "it removes nothing",
    }
    with opened(f"/plans/{SUM}") as shown:
        assert shown.get_by_text("nothing to do").is_visible()
        assert shown.get_by_text("missing").count() == 0
        assert shown.get_by_role("heading", name="Approvals").count() == 0


def test_plans_of_selected_images_are_told_apart(opened: Opened, mock: Mock) -> None:
    detail = mock.answers[f"plans/{SUM}"]
    detail["plan"] = detail["plan"] | {"refused": "it removes 68 tags"}
    with opened("/plans") as shown:
        shown.get_by_text("shop/web:1.1, shop/web:1.2, …").wait_for()
        shown.get_by_text("a cleanup refuses it").wait_for()
        assert shown.locator(".badge.bad").count() == 1


def test_images_are_searched_sorted_and_selected_by_keyboard(opened: Opened, mock: Mock) -> None:
    names = [f"{one['repository']}:{one['tag']}" for one in map(image, range(10))]
    with opened("/images") as shown:
        ready(shown, "images")
        shown.keyboard.press("/")
        shown.keyboard.type("web label:team=a")
        shown.keyboard.press("Enter")
        shown.get_by_text("2,500 images found").wait_for()
        assert shown.url.endswith("/images?q=web+label%3Ateam%3Da")
        for key in ("Space", "ArrowDown", "ArrowDown", "Shift+ArrowDown", "Shift+ArrowDown"):
            shown.keyboard.press(key)
        shown.get_by_text("4 selected").wait_for()
        assert shown.locator("[role=row][aria-selected=true]").count() == 4
        shown.keyboard.press("Shift+ArrowUp")
        shown.get_by_text("3 selected").wait_for()
        shown.keyboard.press("/")
        shown.keyboard.press("Control+A")
        shown.keyboard.type("none")
        shown.get_by_text("0 images found", exact=True).wait_for()
        assert shown.get_by_text("No image matches all words.").is_visible()
        shown.get_by_role("button", name="Show them").click()
        assert shown.locator("dialog bdi").all_inner_texts() == [names[0], names[2], names[3]]
        assert violations(shown) == []
        shown.keyboard.press("Escape")
        with posted(shown, "plans"):
            shown.get_by_role("button", name="Make a plan").click()
        shown.locator(".following").wait_for()
        assert mock.posts == [("plans", {"images": [names[0], names[2], names[3]]})]
        mock.tell("job", JOB | {"state": "done", "ended": "2026-11-26T12:00:01Z", "result": {"plan": SUM}})
        shown.get_by_text("Plan: Cleanup by policy.yml").wait_for()


def test_a_column_sorts_and_enter_opens_an_image(opened: Opened, mock: Mock) -> None:
    with opened("/images") as shown:
        ready(shown, "images")
        with shown.expect_response(lambda answer: "sort=frees" in answer.url):
            shown.get_by_role("columnheader", name="Frees").get_by_role("button").click()
        assert {"sort": "frees", "desc": "1"}.items() <= mock.queries[-1].items()
        shown.locator("[aria-sort=descending]").get_by_text("Frees").wait_for()
        shown.locator(".row .cell-image a").first.wait_for()
        shown.locator("[role=grid]").focus()
        shown.keyboard.press("Enter")
        shown.get_by_role("heading", name="Where is my image").wait_for()
        assert shown.url.endswith("/where?of=team-000%2Fservice-00:1.0.8")


def test_no_more_are_selected_than_a_plan_may_have(opened: Opened, mock: Mock) -> None:
    with opened("/images") as shown:
        ready(shown, "images")
        shown.get_by_role("button", name="Select all found").click()
        shown.get_by_text("At most 10,000 images can be selected").wait_for()
        assert shown.get_by_text("0 selected").is_visible()
        mock.total = 2300
        mock.tell("changed", {"what": "images"})
        shown.get_by_text("2,300 images found").wait_for()
        shown.get_by_role("button", name="Select all found").click()
        shown.get_by_text("2,300 selected").wait_for()
        shown.locator("[role=grid]").focus()
        for key in ("End", "Space"):
            shown.keyboard.press(key)
        shown.get_by_text("2,299 selected").wait_for()


_SCROLL = """async at => {
    const grid = document.querySelector("[role=grid]");
    grid.scrollTop = at < 1 ? at * (grid.scrollHeight - grid.clientHeight) : at;
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    return document.querySelectorAll("[role=row]").length;
}"""


def test_a_million_rows_are_scrolled_in_frames_of_50_ms_and_answers_of_2_mb(opened: Opened, mock: Mock) -> None:
    with opened("/images", width=1600) as shown:
        ready(shown, "images")
        profiler = shown.context.new_cdp_session(shown)
        profiler.send("Performance.enable", {"timeDomain": "threadTicks"})  # what other processes take does not count

        def spent() -> float:
            """What the page's thread has worked, in ms."""
            found = profiler.send("Performance.getMetrics")["metrics"]
            return 1000 * next(float(one["value"]) for one in found if one["name"] == "TaskDuration")

        for at in (*range(1, 2000, 90), *(part / 60 for part in range(60))):
            before = spent()
            assert shown.evaluate(_SCROLL, at) < 60
            assert spent() - before <= 50, at
        shown.locator("[role=grid]").focus()
        shown.keyboard.press("End")
        last = image(999_999)
        shown.get_by_text(f"{last['repository']}:{last['tag']}").wait_for()
        assert shown.locator("[role=row]").last.get_attribute("aria-rowindex") == "1000001"
        shown.keyboard.press("PageUp")
        shown.keyboard.press("Home")
        first = image(0)
        shown.get_by_text(f"{first['repository']}:{first['tag']}").wait_for()
        assert mock.largest <= 2_000_000
        assert 10 < len(mock.queries) < 200


_WATCH = """new MutationObserver((_, watch) => {
    if (!document.querySelector(".map .tile")) return;
    watch.disconnect();
    requestAnimationFrame(() => requestAnimationFrame(now => { globalThis.painted = now; }));
}).observe(document, {childList: true, subtree: true});"""


def test_the_space_is_painted_within_a_second(opened: Opened, mock: Mock) -> None:
    report = report_document(EXAMPLE)
    root = report["space"]["root"]
    root["children"] = [one | {"name": f"{one['name']}{at}"} for at in range(4) for one in root["children"]]
    mock.answers["report"] = report | {"plan": None}
    assert len(json.dumps(report)) > 1_500_000, "more than a report names"
    with opened("/health") as shown:
        shown.context.add_init_script(_WATCH)
        painted: list[float] = []
        while not painted or (min(painted) > 1000 and len(painted) < 3):  # ms; another process may hold some up
            shown.goto(mock.url + "/space")
            shown.locator(".map .tile").first.wait_for()
            shown.locator(".map .tile").last.scroll_into_view_if_needed()
            painted.append(shown.evaluate("globalThis.painted"))
        assert min(painted) <= 1000, painted


def test_a_plan_is_approved_and_carried_out(opened: Opened, mock: Mock) -> None:
    detail = mock.answers[f"plans/{SUM}"]
    mock.answers[f"POST plans/{SUM}/approve"] = detail
    with opened(f"/plans/{SUM}") as shown:
        assert shown.get_by_text("1 approval is missing.").is_visible()
        assert shown.get_by_role("button", name="Carry out").count() == 0
        mock.answers[f"plans/{SUM}"] = detail | {"may_approve": False, "may_apply": True}
        shown.get_by_role("button", name="Approve").click()
        shown.get_by_role("button", name="Carry out…").click()
        dialog = shown.get_by_role("dialog")
        assert SUM in dialog.inner_text()
        assert "1,248 tags and 12 manifests without a tag" in dialog.inner_text()
        assert dialog.get_by_role("textbox").count() == 0
        assert violations(shown) == []
        with posted(shown, "apply"):
            dialog.get_by_role("button", name="Carry out").click()
        shown.get_by_text("4,200 of 10,200 tags").last.wait_for()
        assert mock.posts[-1] == (f"plans/{SUM}/apply", {"confirm_tags": None})


def test_every_step_of_a_plan_can_be_read(opened: Opened, mock: Mock) -> None:
    for width in (360, 900):
        with opened(f"/plans/{SUM}", width=width) as shown:
            shown.get_by_text("Every step of this plan").click()
            steps = shown.get_by_role("region", name="240 steps")
            steps.wait_for()
            assert steps.get_by_role("link", name="shop/web:1.2", exact=True).is_visible()
            assert "after 1 step" in steps.locator("tbody tr").nth(1).inner_text()
            assert shown.get_by_text("1 to 100 of 240").is_visible()
            assert violations(shown) == []
            assert overflow(shown) <= 0
            shown.get_by_role("button", name="After").click()
            shown.get_by_text("101 to 200 of 240").wait_for()


def test_what_removes_most_of_a_repository_wants_a_number_that_is_typed(opened: Opened, mock: Mock) -> None:
    mock.answers[f"POST plans/{OTHER}/apply"] = (
        409,
        {"error": "this plan removes 3 tags, and more than half of what shop/web has", "advice": "look at the plan"},
    )
    with opened(f"/plans/{OTHER}", refused=409) as shown:
        shown.get_by_role("button", name="Carry out…").click()
        dialog = shown.get_by_role("dialog")
        dialog.get_by_role("button", name="Carry out").click()
        number = dialog.get_by_role("textbox", name="How many tags does it remove?")
        assert number.input_value() == ""
        assert dialog.get_by_role("button", name="Carry out").is_disabled()
        assert violations(shown) == []
        mock.answers[f"POST plans/{OTHER}/apply"] = (202, JOB | {"kind": "apply"})
        number.fill("3")
        with posted(shown, "apply"):
            number.press("Enter")
        dialog.wait_for(state="hidden")
        assert mock.posts[-1] == (f"plans/{OTHER}/apply", {"confirm_tags": 3})


def test_an_image_of_a_plan_is_held(opened: Opened, mock: Mock) -> None:
    with opened(f"/plans/{SUM}") as shown:
        with posted(shown, "holds"):
            shown.get_by_role("button", name="hold 30 days: shop/web:1.0.0").click()
        shown.locator(".following").wait_for()
        path, body = mock.posts[-1]
        assert (path, body["image"], body["days"]) == ("holds", "shop/web:1.0.0", 30)


def test_an_image_is_put_back_held_and_explained(opened: Opened, mock: Mock) -> None:
    with opened("/where?of=shop/web:1.0") as shown:
        assert shown.locator(".timeline li").count() == 4
        assert shown.locator(".timeline time").first.get_attribute("datetime") == "2026-03-01T10:00:00Z"
        shown.get_by_role("button", name="Put it back…").click()
        assert mock.posts == []
        with posted(shown, "undo"):
            shown.get_by_role("dialog").get_by_role("button", name="Put it back").click()
        shown.locator(".following").wait_for()
        assert mock.posts == [(f"runs/{RUN}/undo", {"images": ["shop/web:1.0"]})]
        shown.get_by_role("button", name="Hold…").click()
        shown.get_by_role("textbox", name="Because").fill("the audit")
        assert violations(shown) == []
        with posted(shown, "holds"):
            shown.get_by_role("dialog").get_by_role("button", name="Hold").click()
        shown.get_by_role("dialog").wait_for(state="hidden")
        assert mock.posts[-1] == ("holds", {"image": "shop/web:1.0", "days": 30, "because": "the audit"})
        with posted(shown, "holds/end"):
            shown.get_by_role("button", name="End the hold").click()
        shown.get_by_role("button", name="Why it stays, or goes").click()
        shown.get_by_text("keeps it: last: 3").first.wait_for()
        assert mock.posts[-1] == ("holds/end", {"image": "shop/web:1.0"})


def test_what_was_removed_is_found_and_opened(opened: Opened, mock: Mock) -> None:
    with opened("/where") as shown:
        shown.get_by_text("120 found").wait_for()
        shown.get_by_role("button", name="After").click()
        shown.get_by_text("51 to 100 of 120").wait_for()
        mock.answers["removed"] = mock.answers["removed"] | {"total": 1, "rows": mock.answers["removed"]["rows"][:1]}
        shown.get_by_role("searchbox", name="Filter what was removed").fill("1.0")
        shown.get_by_text("1 found", exact=True).wait_for()
        shown.get_by_role("link", name="shop/web:1.0").click()
        shown.locator(".timeline li").first.wait_for()
        assert shown.evaluate("document.activeElement.textContent") == "Where is my image"


def test_chosen_images_of_a_run_are_put_back(opened: Opened, mock: Mock) -> None:
    with opened(f"/runs/{RUN}") as shown:
        assert shown.get_by_text("100 of 240 steps").is_visible()
        shown.get_by_role("checkbox", name="Choose shop/web:1.2", exact=True).check()
        shown.get_by_role("button", name="Put 1 chosen back").click()
        with posted(shown, "undo"):
            shown.get_by_role("dialog").get_by_role("button", name="Put back").click()
        shown.locator(".following").wait_for()
        assert mock.posts == [(f"runs/{RUN}/undo", {"images": ["shop/web:1.2"]})]
        shown.get_by_role("button", name="Resume it").click()
        assert violations(shown) == []
        with posted(shown, "resume"):
            shown.get_by_role("dialog").get_by_role("button", name="Resume").click()
        shown.get_by_role("dialog").wait_for(state="hidden")
        assert mock.posts[-1] == (f"runs/{RUN}/resume", {})


def test_a_run_that_is_partly_put_back_leads_to_its_undo_and_back(opened: Opened, mock: Mock) -> None:
    detail = mock.answers[f"runs/{RUN}"]
    finished = {"partly_undone": True, "unfinished": False}
    mock.answers[f"runs/{RUN}"] = detail | {
        "run": detail["run"] | finished,
        "progress": None,
        "can_resume": False,
        "command": f"dregutil undo {RUN}",
    }
    with opened(f"/runs/{RUN}") as shown:
        shown.get_by_text(f"Partly put back: see the undo run {UNDO}.").wait_for()
        commands = shown.locator(".same").all_inner_texts()
        assert [one.partition(" -")[0].removesuffix(" Copy") for one in commands] == [
            f"The same in a terminal: dregutil history {RUN}",
            f"To put it back in a terminal: dregutil undo {RUN}",
        ]
        mock.answers["runs"] = {"total": 1, "runs": mock.answers["runs"]["runs"][:1]}
        shown.get_by_role("link", name="Runs", exact=True).click()
        shown.get_by_text("1 run", exact=True).wait_for()
        assert shown.locator("td a").get_attribute("href") == f"/runs/{RUN}"


@pytest.mark.parametrize("roles", [["viewer"], ["viewer", "planner"]])
def test_what_was_not_checked_does_not_look_well(opened: Opened, mock: Mock, roles: list[str]) -> None:
    mock.answers["session"] = mock.answers["session"] | {"roles": roles}
    mock.answers["report"]["health"] = {"checked": "records", "findings": [], "left_out": 0}
    with opened("/health") as shown:
        text = shown.locator("main").inner_text()
        assert "Not checked since the last reading; these come from the records." in text
        assert "The records show nothing that is wrong." in text
        assert ("Check now" in text) == ("planner" in roles)


def test_the_health_is_checked_and_a_failure_is_told(opened: Opened, mock: Mock) -> None:
    with opened("/health") as shown:
        assert "did not end" in shown.locator("tbody").inner_text()
        shown.get_by_role("button", name="Check now").click()
        shown.locator(".following").wait_for()
        mock.tell("job", JOB | {"state": "failed", "ended": "2026-11-26T12:00:01Z", "message": "no answer"})
        shown.locator("main").get_by_role("alert").get_by_text("failed: no answer").wait_for()
        assert violations(shown) == []


def poisoned(value: Any, name: str, key: str = "") -> Any:
    """An answer with `name` in place of every text that somebody else may have written."""
    if isinstance(value, dict):
        return {one: poisoned(found, name, one) for one, found in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(poisoned(one, name, key) for one in value)
    return name if isinstance(value, str) and key not in _WORDS | _TIMES else value


@pytest.mark.parametrize("name", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_names_are_text(opened: Opened, mock: Mock, name: str) -> None:
    mock.answers = {path: poisoned(found, name) for path, found in mock.answers.items()}
    mock.answers["jobs"] = {"jobs": [poisoned(JOB, name)]}
    mock.change = lambda one: poisoned(one, name)
    mock.total = 20
    with opened(width=360) as shown:
        for screen, path in PATHS.items():
            shown.evaluate("path => { history.pushState(null, '', path); dispatchEvent(new Event('popstate')); }", path)
            shown.locator("main h1").wait_for()
            shown.get_by_text("Loading…").first.wait_for(state="hidden")
            ready(shown, screen)
            assert overflow(shown) <= 0, screen
            text = shown.locator("#app").inner_text()
            assert "\u202e" not in text, screen
            assert name[:100].replace("\u202e", "\\u202e").replace("\u2066", "\\u2066").replace("\x1b", "\\x1b") in text
            assert shown.locator("#app :is(img, iframe, script, object, form[action])").count() == 0, screen
            links = shown.locator("#app a").evaluate_all("all => all.map(one => one.protocol + '//' + one.host)")
            assert {one for one in links if one != mock.url} == set(), screen


def test_plans_of_a_team_and_a_store_that_does_not_answer(mock: Mock, opened: Opened) -> None:
    session = mock.answers["session"]
    session["store"] = "postgresql://pages@db/cleanup"
    with opened(f"/plans/{SUM}", width=360) as shown:
        shown.get_by_text("A worker of the team carries it out").wait_for()
        shown.get_by_role("button", name="Reject…").click()
        shown.get_by_text("Nobody in the team carries out").wait_for()
        shown.get_by_role("button", name="Cancel").click()
        session["store_problem"] = "the store does not answer: what is shown is of 2026-11-26 12:00:00 UTC"
        mock.tell("changed", {"what": "store"})
        shown.get_by_text("Nothing can be decided until it answers").wait_for()
        assert violations(shown) == []
        assert overflow(shown) <= 0
        session["store_problem"] = None
        mock.tell("changed", {"what": "store"})
        shown.get_by_text("Nothing can be decided until it answers").wait_for(state="hidden")
        summary = mock.answers[f"plans/{SUM}"]["summary"]
        summary |= {"state": "rejected", "why": "bob rejected it: wrong week", "approvals": []}
        mock.tell("changed", {"what": "plans"})
        shown.get_by_text("bob rejected it: wrong week").wait_for()
        assert shown.get_by_role("button", name="Reject…").count() == 0


def test_the_page_listens_again_after_the_server_was_away(chromium: Browser) -> None:
    made = answers(EXAMPLE)
    with serving(Mock(made)) as first:
        shown = chromium.new_page()
        shown.goto(first.url)
        shown.locator(".cards").wait_for()
        port = int(first.url.rsplit(":", 1)[1])
        first.tell("job", JOB)
        shown.get_by_text("4,200 of 10,200 tags").wait_for()
    shown.get_by_text("(no live connection)").wait_for()
    made["jobs"] = {"jobs": [JOB | {"done": 9999}]}
    with serving(Mock(made), port):
        shown.get_by_text("9,999 of 10,200 tags").wait_for()
        assert shown.get_by_text("(no live connection)").count() == 0
    made["jobs"] = (401, {"error": "no", "advice": None})
    with serving(Mock(made), port):
        shown.get_by_text("Open the URL that the terminal shows").wait_for()
    shown.close()

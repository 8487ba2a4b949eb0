"""Complete lists: incomplete Link headers, endless lists, missing pages."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from dregutil.errors import UnlistableError
from dregutil.oci.names import Digest, Repository
from dregutil.plan.outcome import Result
from dregutil.registry import connect
from dregutil.registry.paging import next_page
from images import IMAGE, Pusher
from removing import Removing, results
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches

_URL = URL("http://localhost:5000/v2/r/tags/list?n=2")
_NEXT = URL("http://localhost:5000/v2/r/tags/list?last=b&n=2")


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer(Switches(pages_tags=True)) as found:
        yield found


@pytest.fixture
def aside(memory: MemoryServer) -> Iterator[Pusher]:
    with Pusher(memory.url) as found:
        yield found


_TARGET = "/v2/r/tags/list?last=b&n=2"


@pytest.mark.parametrize(
    "header",
    [
        f'<{_TARGET}>; rel="next"',
        f"<{_TARGET}>; rel=next",
        f"<{_TARGET}>; REL='next'",
        f'<{_TARGET}>; title="a; b, c"; rel="prefetch NEXT"',
        f'</v2/>; rel="first", <{_TARGET}>; rel="next"',
        f"<{_TARGET}>",
        f"{_TARGET}",
        f'{_TARGET}; rel="next"',
        f"{_TARGET};rel=next",
        f'<http://localhost:5000{_TARGET}>; title="more"',
    ],
)
def test_a_link_leads_to_the_next_page(header: str) -> None:
    assert next_page([header], _URL) == _NEXT


@pytest.mark.parametrize("header", ['</v2/>; rel="first"', '<x>; rel="prev", <y>; rel=last', "</docs>; rel=help"])
def test_a_link_to_something_else_is_not_a_page(header: str) -> None:
    assert next_page([header], _URL) is None


@pytest.mark.parametrize("header", ["<", "<a", "next page: two", ";", ">x<", "<a> <b>", '<a>; rel="next', "=,=,<"])
def test_a_link_that_is_not_understood_makes_the_list_incomplete(header: str) -> None:
    with pytest.raises(UnlistableError):
        next_page([header], _URL)


@given(st.text(alphabet="<>;,=\" relnxtabc/'?", max_size=40))
def test_any_link_is_followed_recognised_or_refused(header: str) -> None:
    """No link is ignored: only links that state another relation are not a next page."""
    try:
        found = next_page([header], _URL)
    except UnlistableError:
        return
    assert found is not None or not header or "rel" in header.lower()


def paged(change: Callable[[str], str]) -> Callable[[Request, Answer], Answer]:
    def after(_: Request, answer: Answer) -> Answer:
        if "Link" not in answer.headers:
            return answer
        return replace(answer, headers={**answer.headers, "Link": change(answer.headers["Link"])})

    return after


def two_a_page(proxy: Proxy) -> Callable[[Request], Answer | None]:
    """Pages have two names, regardless of the requested number."""

    def before(request: Request) -> Answer | None:
        if request.path.endswith("/tags/list") and request.query.get("n") not in (None, "2", "x"):
            last = f"&last={request.query['last']}" if "last" in request.query else ""
            return proxy.answer(replace(request, target=f"{request.path}?n=2{last}", query={**request.query, "n": "2"}))
        return None

    return before


@pytest.mark.parametrize(
    "change",
    [lambda link: link.partition(";")[0], lambda link: link.replace("<", "").replace(">", "")],
    ids=["without rel", "without brackets"],
)
async def test_a_tag_of_a_later_page_holds_its_digest(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, change: Callable[[str], str]
) -> None:
    image = aside.push_image("r", "b1", seed="one")
    raw = aside.raw("r", "b1")
    aside.push_image("r", "b2", seed="two")
    aside.push_manifest("r", "prod", raw, IMAGE)
    with Proxy(memory.port, after=paged(change)) as proxy:
        proxy.before = two_a_page(proxy)
        removing = Removing(proxy.url, tmp_path)
        plan = await removing.plan("b1")
        assert not plan.steps
        assert plan.kept[0].reason == "also 'prod'"
        assert results(await removing.remove("b2")) == [Result.REMOVED]
    assert aside.tags("r") == {"b1": image["digest"], "prod": image["digest"]}


async def test_a_link_that_is_not_understood_leaves_the_repository_out(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    for number in range(3):
        aside.push_image("r", f"b{number}", seed=str(number))
    with Proxy(memory.port, after=paged(lambda link: f"see: {link} and so on")) as proxy:
        proxy.before = two_a_page(proxy)
        async with connect(proxy.url) as registry:
            with pytest.raises(UnlistableError, match="cannot be parsed"):
                await registry.tags(Repository("r"))


async def test_pages_that_name_nothing_new_end() -> None:
    """Endless pages: each at another URL, with the same name."""

    def answer(request: Request) -> Answer:
        number = int(request.query.get("page", "0"))
        link = f'<{request.path}?page={number + 1}>; rel="next"'
        if "/referrers/" in request.path:
            index = "application/vnd.oci.image.index.v1+json"
            return Answer(200, b'{"manifests": []}', {"Content-Type": index, "Link": link})
        body = json.dumps({"name": "r", "tags": ["a"], "repositories": ["r"]}).encode()
        return Answer(200, body, {"Content-Type": "application/json", "Link": link})

    with Proxy(0, before=answer) as server:
        async with connect(server.url) as registry:
            with pytest.raises(UnlistableError, match="does not end"):
                await registry.tags(Repository("r"))
            with pytest.raises(UnlistableError, match="does not end"):
                [name async for name in registry.repositories()]
            with pytest.raises(UnlistableError, match="does not end"):
                await registry.referrers(Repository("r"), Digest(f"sha256:{'a' * 64}"))
        assert len(server.requests) < 100


async def test_a_list_with_a_missing_later_page_is_read_again(memory: MemoryServer, aside: Pusher) -> None:
    """zot answers 404 if the tag after which a page begins was deleted in the meantime."""
    for name in "abcd":
        aside.push_image("r", name, seed=name)
    gone: list[str] = []
    with Proxy(memory.port) as proxy:
        shorter = two_a_page(proxy)

        def before(request: Request) -> Answer | None:
            if request.query.get("last") == "b" and not gone:
                gone.append("b")
                body = json.dumps({"errors": [{"code": "NAME_UNKNOWN"}]}).encode()
                return Answer(404, body, {"Content-Type": "application/json"})
            return shorter(request)

        proxy.before = before
        async with connect(proxy.url) as registry:
            assert set(await registry.tags(Repository("r"))) == set("abcd")
    assert gone

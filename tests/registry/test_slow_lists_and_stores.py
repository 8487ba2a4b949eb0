"""Registries whose lists lag behind, whose store refuses requests, or which keep an image by its tag."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dregutil.apply import delete, last_look, lost_answer
from dregutil.plan.outcome import Result
from images import Pusher
from program import Program
from removing import Removing, results
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Stored


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost_answer, "_SETTLE", 0.0)
    monkeypatch.setattr(delete, "wait_before", lambda _, __: 0.0)


# A list that lags


def lagging(proxy: Proxy, lists: int) -> None:
    """After the first deletion, this many lists are the same as the previous one."""
    old: list[Answer] = []
    late: list[Answer] = []

    def answer(request: Request, found: Answer) -> Answer:
        if request.path.endswith("/tags/list") and not request.query.get("n", "").startswith("-"):
            if proxy.sent("DELETE")[1:] and len(late) < lists:
                late.append(found)
                return replace(old[-1])
            old.append(found)
        return found

    proxy.after = answer


async def test_a_list_that_lags_is_requested_again(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(last_look, "_LAGS", (0.0,) * 4)
    for tag in ("1.0", "1.1", "2.0"):
        pusher.push_image("r", tag, seed=tag)
    lagging(proxy, 4)
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    assert results(result) == [Result.REMOVED, Result.REMOVED]
    assert not result.still_listed
    assert pusher.tags("r").keys() == {"2.0"}
    assert proxy.sent("PUT") == []


def test_what_stays_listed_counts_as_removed_and_can_be_undone(tmp_path: Path) -> None:
    with MemoryServer() as server, Pusher(server.url) as pusher:
        images = {tag: pusher.push_image("r", tag, seed=tag)["digest"] for tag in ("1.0", "1.1", "2.0")}
        server.switches.keeps_tags = True
        program = Program(server.url, tmp_path)
        found = program.run("remove-tags", "-r", "r", "-t", "<2")
        assert found.returncode == 3, found.stderr
        assert "gone, still listed: r 1.0, 1.1: " in found.stderr
        assert "removed 2 tags (2 manifests)" in found.stderr
        run = program.runs[0].name
        assert f"undo {run}" in found.stderr
        assert program.run("undo", "-y").returncode == 0
        assert pusher.tags("r") == images


# A store that refuses requests


@pytest.mark.parametrize("times", [2, 7])
async def test_a_delete_refused_by_an_overloaded_store_is_retried(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, times: int
) -> None:
    image = pusher.push_image("r", "1.0", seed="one")
    looks: list[int] = []

    def refuse(request: Request) -> Answer | None:
        if request.method == "DELETE" and request.reference == image["digest"] and len(looks) < times:
            looks.append(sum(found.path.endswith("/tags/list") for found in proxy.requests))
            return Answer(503)
        return None

    proxy.before = refuse
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert results(result) == [Result.REMOVED]
    assert looks == sorted(set(looks)), "each begins from the full look"
    assert pusher.tags("r") == {}


async def test_a_store_that_does_not_recover_is_reported(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delete, "PATIENCE", 0.5)
    image = pusher.push_image("r", "1.0", seed="one")

    def refuse(request: Request) -> Answer | None:
        is_it = request.method == "DELETE" and request.reference == image["digest"]
        return Answer(503) if is_it else None

    proxy.before = refuse
    started = time.monotonic()
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert time.monotonic() - started > 0.5
    assert result is not None
    (outcome,) = result.outcomes
    assert outcome.result is Result.FAILED
    assert "status 503" in outcome.why
    assert pusher.is_whole("r", "1.0")


# A server that drops a digest and keeps its tags


@pytest.fixture
def by_tag() -> Iterator[MemoryServer]:
    """Deletes a digest, and still answers by its tags (as the registry in go-containerregistry does)."""

    class ByTag(MemoryServer):
        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, Stored] = {}

        def answer(self, request: Request) -> Answer:
            found = self.repositories.get("r")
            dropped: dict[str, str] = {}
            if found is not None and request.method == "DELETE" and request.reference in found.manifests:
                self.kept[request.reference] = found.manifests[request.reference]
                dropped = {tag: digest for tag, digest in (found.tags or {}).items() if digest == request.reference}
            named = (found.tags or {}).get(request.reference, "") if found is not None else ""
            if found is not None and request.method in ("GET", "HEAD") and named not in ("", *found.manifests):
                found.manifests[named] = self.kept[named]
                answer = super().answer(request)
                del found.manifests[named]
                return answer
            answer = super().answer(request)
            if found is not None and found.tags is not None:
                found.tags.update(dropped)
            return answer

    with ByTag() as found:
        yield found


@pytest.mark.parametrize("untags", [True, False])
async def test_an_index_that_still_answers_by_its_tag_keeps_its_children(
    by_tag: MemoryServer, tmp_path: Path, untags: bool
) -> None:
    by_tag.switches.untags = untags
    with Pusher(by_tag.url) as pusher:
        child = pusher.push_image("r", seed="child")
        index = pusher.push_index("r", "1.0", children=[child])
        pusher.push_image("r", "1.1", seed="image")
        pusher.push_image("r", "2.0", seed="stays")
        result = await Removing(by_tag.url, tmp_path).remove("1.0")
        if untags:  # then the tag is deleted by name
            assert results(result) == [Result.REMOVED] * 2
            assert pusher.tags("r").keys() == {"1.1", "2.0"}
        else:
            assert results(result) == [Result.FAILED, Result.LEFT]
            assert pusher.is_whole("r", "1.0")
            assert pusher.has("r", index["digest"])


async def test_an_image_that_still_answers_by_its_tag_is_not_a_success(by_tag: MemoryServer, tmp_path: Path) -> None:
    with Pusher(by_tag.url) as pusher:
        images = [pusher.push_image("r", f"1.{n}", seed=str(n)) for n in range(3)]
        result = await Removing(by_tag.url, tmp_path).remove("<2")
        assert results(result) == [Result.FAILED] * 3
        assert all(pusher.is_whole("r", image["digest"]) for image in images)

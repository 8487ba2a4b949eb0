"""Tags that are moved between a look and the next write: put back, or reported."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from dregutil.apply import sweep
from dregutil.apply.apply import apply_plan
from dregutil.apply.put_back import if_free_or_on, put_back
from dregutil.oci.names import Repository, Tag
from dregutil.plan.outcome import NoRecorder, Result, RunResult
from dregutil.registry import connect_writable
from images import IMAGE, INDEX, Pusher
from removing import Removing, results
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches


async def test_a_tag_deleted_with_a_child_that_stays_is_reported(tmp_path: Path) -> None:
    """No other push reveals it: the child is put back under its tag, which may have been moved away from it."""
    with MemoryServer(Switches(cascades=True)) as server, Pusher(server.url) as pusher:
        child = pusher.push_image("r", "1.0", seed="child")
        index = pusher.push_index("r", "2.0", children=[child])
        raw = pusher.raw("r", "2.0")

        def moved(request: Request) -> Answer | None:
            if request.method == "DELETE" and request.reference == index["digest"]:
                pusher.push_manifest("r", "1.0", raw, INDEX)
            return None

        with Proxy(server.port, before=moved) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("2.0")
        assert isinstance(result, RunResult)
        assert [(lost.tag, lost.candidates, lost.mended) for lost in result.unmended] == [
            ("1.0", (index["digest"],), child["digest"])
        ]
        assert pusher.tags("r") == {"1.0": child["digest"]}
        assert pusher.is_whole("r", "1.0")


async def test_a_tag_that_a_replica_does_not_know_yet_is_not_moved(tmp_path: Path) -> None:
    """A list that omits a tag, and one 404 for its name, do not prove that it was deleted with a digest."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        stays = pusher.push_image("r", "1.0", seed="stays")
        goes = pusher.push_image("r", "2.0", seed="goes")
        lagging: list[str] = []  # what the next answers, from that replica, are about

        def lag(request: Request, answer: Answer) -> Answer:
            if request.method == "DELETE" and request.reference == goes["digest"]:
                lagging[:] = ["list", "1.0", "1.0"]
            elif lagging and request.reference == lagging[0]:
                lagging.pop(0)
                if request.reference == "list":
                    return Answer(200, b'{"name": "r", "tags": []}', answer.headers)
                return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            return answer

        with Proxy(server.port, after=lag) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("2.0")
        assert isinstance(result, RunResult)
        assert not lagging
        assert pusher.tags("r") == {"1.0": stays["digest"]}
        assert not result.lost


async def test_a_lost_tag_that_only_a_lagging_replica_still_shows_is_reported(tmp_path: Path) -> None:
    """The list after the DELETE and the answer about the tag are old; the list that is asked for again lacks it."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        stays = pusher.push_image("r", "1.0", seed="stays")
        pusher.push_image("r", "3.0", seed="stays, too")
        goes = pusher.push_image("r", "2.0", seed="goes")
        raw, old = pusher.raw("r", "2.0"), pusher.raw("r", "1.0")
        lagging: list[str] = []

        def moved(request: Request) -> Answer | None:
            if request.method == "DELETE" and request.reference == goes["digest"]:
                pusher.push_manifest("r", "1.0", raw, IMAGE)
                lagging[:] = ["list", "1.0"]
            elif lagging and request.reference == lagging[0]:
                lagging.pop(0)
                if request.reference == "list":
                    return Answer(200, b'{"name": "r", "tags": ["1.0", "2.0", "3.0"]}')
                headers = {"Docker-Content-Digest": stays["digest"], "Content-Type": IMAGE}
                return Answer(200, old if request.method == "GET" else b"", headers)
            return None

        with Proxy(server.port, before=moved) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("2.0")
        assert isinstance(result, RunResult)
        assert not lagging
        assert result.vanished == {"r": ("1.0",)} or [lost.tag for lost in result.lost] == ["1.0"]


async def test_a_tag_is_not_put_back_because_of_an_outdated_list(tmp_path: Path) -> None:
    """A replica that lags longer than the pause: it shows the registry as it was before the push."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        stays = pusher.push_image("r", "1.0", seed="stays")
        goes = pusher.push_image("r", "2.0", seed="goes")
        behind: list[str] = []

        def lag(request: Request, answer: Answer) -> Answer:
            if request.method == "DELETE" and request.reference == goes["digest"]:
                behind[:] = ["list", "1.0", "1.0", "list", "1.0", "1.0"]
            elif behind and request.reference == behind[0]:
                if behind.pop(0) == "list":
                    return Answer(200, b'{"name": "r", "tags": ["2.0"]}', answer.headers)
                return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            return answer

        with Proxy(server.port, after=lag) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("2.0")
        assert isinstance(result, RunResult)
        assert pusher.tags("r") == {"1.0": stays["digest"]}
        assert [(lost.tag, lost.why) for lost in result.unmended] == [
            ("1.0", "unless the list is old, since it still has what was deleted")
        ]


@pytest.mark.parametrize("omitted", ["", "1.2"])
async def test_a_tag_pushed_again_after_the_sweep_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, omitted: str
) -> None:
    """It is on the same digest as before, but this does not mean that the sweep did nothing; even if the next list
    omits a tag, so that the repository is read completely."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)
    with MemoryServer() as server, Pusher(server.url) as pusher:
        images = {tag: pusher.push_image("r", tag, seed=tag) for tag in ("1.0", "1.1", "1.2")}
        raw = pusher.raw("r", "1.0")

        def again(request: Request, answer: Answer) -> Answer:
            if request.method == "DELETE" and answer.status == 202 and not pusher.has("r", "1.0"):
                pusher.push_manifest("r", "1.0", raw, IMAGE)
                omits.append(omitted)
            elif request.reference == "list" and any(omits):
                body = json.loads(answer.body)
                body["tags"].remove(omits.pop())
                return Answer(200, json.dumps(body).encode(), answer.headers)
            return answer

        omits: list[str] = []
        with Proxy(server.port, after=again) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("1.0", "1.1")
        assert not any(omits)
        assert pusher.tags("r") == {tag: images[tag]["digest"] for tag in ("1.0", "1.2")}
        assert results(result) == [Result.LEFT, Result.REMOVED]


async def test_a_new_tag_that_one_reading_denies_is_requested_again(tmp_path: Path) -> None:
    """The list names it, and a replica does not know it yet: it exists all the same."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        child = pusher.push_image("r", seed="child")
        index = pusher.push_index("r", "2.0", children=[child])
        pusher.push_image("r", "1.0", seed="stays")
        raw = pusher.raw("r", child["digest"])
        denied: list[str] = []

        def lag(request: Request, answer: Answer) -> Answer:
            if request.method == "DELETE" and request.reference == index["digest"]:
                pusher.push_manifest("r", "new", raw, IMAGE)
            elif request.reference == "new" and len(denied) < 1:
                denied.append(request.method)
                return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            return answer

        with Proxy(server.port, after=lag) as proxy:
            removing = Removing(proxy.url, tmp_path)
            plan = await removing.plan("2.0")
            async with connect_writable(proxy.url) as registry:
                await registry.resolve(Repository("r"), Tag("1.0"))  # HEAD works here: after a 404 there is no GET
                result = await apply_plan(registry, plan, recorder=NoRecorder())
        assert denied == ["HEAD"]
        assert pusher.tags("r")["new"] == child["digest"]
        assert pusher.is_whole("r", "new")
        assert results(result) == [Result.REMOVED, Result.LEFT]


async def test_a_copy_of_a_placeholder_that_one_reading_denies_is_not_deleted_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)
    with MemoryServer() as server, Pusher(server.url) as pusher:
        goes = pusher.push_image("r", "1.0", seed="goes")
        pusher.push_image("r", "2.0", seed="stays")
        denials: list[str] = []

        def lag(request: Request, answer: Answer) -> Answer:
            if request.reference == "copy" and request.method in ("HEAD", "GET") and denials:
                denials.pop()
                return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            return answer

        with Proxy(server.port, after=lag) as proxy:
            removing = Removing(proxy.url, tmp_path)
            plan = await removing.plan("1.0")
            kills = itertools.count()
            while pusher.tags("r").get("1.0", goes["digest"]) == goes["digest"]:
                assert await removing.apply(plan, kill_after=next(kills)) is None
            pusher.push_manifest("r", "copy", pusher.raw("r", "1.0"), IMAGE)
            denials[:] = ["once"]
            await removing.undo()
        assert pusher.tags("r")["copy"] == goes["digest"]


async def test_a_pushed_tag_that_a_replica_denies_is_not_moved_back_to_a_deleted_digest(tmp_path: Path) -> None:
    """The last look finds a removed tag listed but answered with 404: somebody has pushed it with another image."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        stays = pusher.push_image("r", "1.0", seed="stays")
        goes = pusher.push_image("r", "2.0", seed="goes")
        raw = pusher.raw("r", "1.0")
        answers: list[str] = []

        def lag(request: Request, answer: Answer) -> Answer:
            if not answers and request.method == "DELETE" and request.reference == goes["digest"]:
                pusher.push_manifest("r", "2.0", raw, IMAGE)
                answers.append("pushed")
            elif answers and request.reference == "2.0" and "told" not in answers:
                answers.append("denied")
                return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
            elif "denied" in answers and request.reference == "list":
                answers.append("told")
            return answer

        with Proxy(server.port, after=lag) as proxy:
            await Removing(proxy.url, tmp_path).remove("2.0")
        assert answers[:2] == ["pushed", "denied"]
        assert pusher.tags("r") == {"1.0": stays["digest"], "2.0": stays["digest"]}


async def test_a_manifest_deleted_by_a_sweep_is_put_back_for_a_new_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ECR deletes a manifest with its last tag; the index over it was pushed after the reading."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)
    with MemoryServer(Switches(untags=True, last_tag_takes=True)) as server, Pusher(server.url) as pusher:
        child = pusher.push_image("r", "1.0", seed="child")
        pusher.push_image("r", "2.0", seed="stays")
        came: list[str] = []

        def push(request: Request) -> Answer | None:
            if request.method == "DELETE" and request.reference == "1.0":
                came.append(pusher.push_index("r", "index", children=[child])["digest"])
            return None

        with Proxy(server.port, before=push) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("1.0")
        assert results(result) == [Result.LEFT]
        assert came
        assert pusher.is_whole("r", "index")
        assert pusher.tags("r")["1.0"] == child["digest"]


@pytest.mark.parametrize(("answers", "is_back"), [(1, True), (2, False)])
async def test_a_lost_tag_that_a_replica_still_shows_is_requested_again_or_reported(
    tmp_path: Path, answers: int, is_back: bool
) -> None:
    """It was deleted with the digest; a client of that replica sees the tag as never moved."""
    with MemoryServer() as server, Pusher(server.url) as pusher:
        stays = pusher.push_image("r", "1.0", seed="stays")
        goes = pusher.push_image("r", "2.0", seed="goes")
        raw = pusher.raw("r", "2.0")
        behind: list[str] = []

        def move(request: Request) -> Answer | None:
            if request.method == "DELETE" and request.reference == goes["digest"]:
                pusher.push_manifest("r", "1.0", raw, IMAGE)
            elif request.method == "PUT" and request.reference == goes["digest"]:
                behind[:] = ["answer"] * answers
            elif request.method in ("GET", "HEAD") and request.reference == "1.0" and behind:
                behind.pop()
                return Answer(200, b"", {"Docker-Content-Digest": stays["digest"], "Content-Type": IMAGE})
            return None

        with Proxy(server.port, before=move) as proxy:
            result = await Removing(proxy.url, tmp_path).remove("2.0")
        assert isinstance(result, RunResult)
        assert pusher.tags("r").get("1.0") == (goes["digest"] if is_back else None)
        assert [lost.tag for lost in result.unmended] == ([] if is_back else ["1.0"])
        assert all("a replica is behind" in lost.why for lost in result.unmended)


async def test_putting_back_overwrites_no_tag_pushed_since() -> None:
    with MemoryServer() as server, Pusher(server.url) as pusher:
        pushed = pusher.push_image("r", "1.0", seed="pushed since")
        went = pusher.push_image("r", "2.0", seed="went")
        repository = Repository("r")
        async with connect_writable(server.url) as registry:
            manifest = await registry.manifest(repository, Tag("2.0"))
            assert manifest is not None
            await registry.delete_manifest(repository, manifest.digest)
            left = await put_back(registry, repository, manifest, (Tag("1.0"), Tag("2.0")), below={})
            assert left == ("1.0",)
            assert pusher.tags("r") == {"1.0": pushed["digest"], "2.0": went["digest"]}
            over = manifest.digest.of(pusher.raw("r", "1.0"))
            guard = if_free_or_on(manifest.digest, over)
            await put_back(registry, repository, manifest, (Tag("1.0"),), below={}, guard=guard)
        assert pusher.tags("r") == {"1.0": went["digest"], "2.0": went["digest"]}

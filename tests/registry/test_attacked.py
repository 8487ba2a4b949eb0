"""Attacks on removals and undos: each once lost a tag, or restored the wrong thing.

A proxy in front of the real registry does what another client might do between two requests.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dregutil.apply import sweep
from dregutil.oci.names import Repository, Tag
from dregutil.plan.outcome import Result
from images import IMAGE, INDEX, Pusher
from program import Program
from removing import Removing, results
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request
from servers.memory import MemoryServer, Switches


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large repository: the tags are removed first."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)


def push_again(pusher: Pusher, tag: str, digest: str) -> None:
    pusher.push_manifest("r", tag, pusher.raw("r", digest), IMAGE)


async def killed_in_the_sweep(removing: Removing, pusher: Pusher, *tags: str) -> None:
    """Kill the removal of `tags` once they are all on its placeholder."""
    before = pusher.tags("r")
    plan = await removing.plan(*tags)
    for kill_after in range(100):
        assert await removing.apply(plan, kill_after=kill_after) is None
        now = pusher.tags("r")
        if len({now.get(tag) for tag in tags}) == 1 and now != before:
            return
        if now != before:
            await removing.undo()
    raise AssertionError("the tags never were on a placeholder all together")


@pytest.mark.usefixtures("swept")
async def test_the_undo_of_a_run_leaves_the_placeholder_of_another_run_alone(
    program: Program, pusher: Pusher, registry_server: DistributionServer
) -> None:
    """A tag was removed, pushed again, and swept by a second run, which was killed; the placeholder has other tags,
    too."""
    old = pusher.push_image("r", "1.0", seed="old")["digest"]
    first = Removing(registry_server.url, program.state)
    await first.remove("1.0")
    run = first.record().run
    for number in range(4):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    pusher.push_image("r", "stable", seed="stable")
    before = pusher.tags("r")
    await killed_in_the_sweep(first, pusher, "1.0", "1.1", "1.2", "1.3")
    second = first.record().run

    found = program.run("undo", run, "-y")
    assert found.returncode == 3, found.stderr
    wrong = {tag for tag, digest in pusher.tags("r").items() if digest == old}
    assert not wrong, found.stderr
    found = program.run("undo", second, "-y")
    assert found.returncode == 0, found.stderr
    assert pusher.tags("r") == before


def once(matches: Callable[[Request], bool], act: Callable[[], object]) -> Callable[[Request], None]:
    """Do something before the first request that matches."""
    left = [act]

    def look(request: Request) -> None:
        if left and matches(request):
            left.pop()()

    return look


def deletes(reference: str) -> Callable[[Request], bool]:
    return lambda request: request.method == "DELETE" and request.reference == reference


async def test_a_list_that_fails_after_a_batch_hides_no_lost_tag(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    child = pusher.push_image("r", seed="child")
    index = pusher.push_index("r", "1.0", children=[child])
    pusher.push_image("r", "stable", seed="stays")
    raw = pusher.raw("r", index["digest"])
    act = once(deletes(index["digest"]), lambda: pusher.push_manifest("r", "stable", raw, INDEX))
    failing = [Answer(403)]

    def before(request: Request) -> Answer | None:
        act(request)
        has_gone = index["digest"] in proxy.sent("DELETE")
        return failing.pop() if has_gone and failing and request.path.endswith("/tags/list") else None

    proxy.before = before
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert result is not None
    assert not failing
    assert [(lost.tag, lost.mended) for lost in result.lost] == [("stable", index["digest"])]
    assert pusher.tags("r")["stable"] == index["digest"]
    assert pusher.is_whole("r", "stable")


async def test_a_delete_that_is_sent_again_hides_no_lost_tag(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    """A tag is deleted with one image while the DELETE of another is refused for load: it may have been on either."""
    first = pusher.push_image("r", "1.0", seed="first")["digest"]
    second = pusher.push_image("r", "1.1", seed="second")["digest"]
    pusher.push_image("r", "stable", seed="stays")
    act = once(deletes(first), lambda: push_again(pusher, "stable", first))
    lost = [LOST]

    def before(request: Request) -> Answer | None:
        act(request)
        return lost.pop() if lost and deletes(second)(request) else None

    proxy.before = before
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    assert not lost
    ((tag, candidates),) = [(found.tag, set(found.candidates)) for found in result.lost]
    assert tag == "stable"
    assert first in candidates


def copied_once(pusher: Pusher, tag: str, to: str, then: Callable[[], object]) -> Callable[[Request, Answer], Answer]:
    """Once a sweep has moved `tag` to its placeholder, copy it; then do something else."""
    left = [then]

    def look(request: Request, answer: Answer) -> Answer:
        if request.method == "PUT" and request.reference == tag and left:
            pusher.push_manifest("r", to, request.body, IMAGE)
            left.pop()()
        return answer

    return look


@pytest.mark.usefixtures("swept")
async def test_a_copy_made_in_an_interrupted_sweep_is_whole_or_reported(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    for number in range(3):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    pusher.push_image("r", "stable", seed="stays")
    before = pusher.tags("r")
    stop = asyncio.Event()
    proxy.after = copied_once(pusher, "1.1", "prod", stop.set)
    removing = Removing(proxy.url, tmp_path)
    result = await removing.apply(await removing.plan("<2"), stop=stop)
    assert result is not None
    now = pusher.tags("r")
    assert {tag: now.get(tag) for tag in before} == before
    assert pusher.is_whole("r", "prod")
    assert now["prod"] in before.values() or [lost.tag for lost in result.unmended] == ["prod"]


@pytest.mark.usefixtures("swept")
async def test_a_copy_made_in_a_refused_sweep_is_whole_or_reported(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    """The last tag may not be moved (immutable tags): the rest are removed one by one."""
    for number in range(3):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    pusher.push_image("r", "stable", seed="stays")
    before = pusher.tags("r")
    copied = threading.Event()
    proxy.after = copied_once(pusher, "1.1", "prod", copied.set)

    def before_it(request: Request) -> Answer | None:
        if request.method != "PUT" or request.reference != "1.2":
            return None
        copied.wait(20)
        return Answer(403)

    proxy.before = before_it
    result = await Removing(proxy.url, tmp_path).remove("<2")
    assert result is not None
    now = pusher.tags("r")
    assert pusher.is_whole("r", "prod")
    assert now["prod"] in before.values() or [lost.tag for lost in result.unmended] == ["prod"]


@pytest.mark.usefixtures("swept")
async def test_a_copy_made_in_a_sweep_of_one_image_names_that_image(tmp_path: Path) -> None:
    """Only one image can be meant: the copy is moved from the placeholder to it, and the image stays for it."""
    with MemoryServer() as server, Pusher(server.url) as pusher, Proxy(server.port) as proxy:
        image = pusher.push_image("r", "1.0", "1.1", seed="one")
        pusher.push_image("r", "stable", seed="stays")
        proxy.after = copied_once(pusher, "1.1", "prod", lambda: None)
        result = await Removing(proxy.url, tmp_path).remove("<2")
        assert result is not None
        assert pusher.tags("r")["prod"] == image["digest"]
        assert pusher.is_whole("r", "prod")
        assert [(lost.tag, lost.mended) for lost in result.lost] == [("prod", image["digest"])]
        assert results(result) == [Result.LEFT]


async def test_a_tag_deleted_by_another_client_is_not_put_back_on_another_image(tmp_path: Path) -> None:
    """If tags can be deleted by name, a missing tag may have been deleted on purpose: it is only reported."""
    with MemoryServer(Switches(untags=True)) as server, Pusher(server.url) as pusher, Proxy(server.port) as proxy:
        old = pusher.push_image("r", "1.0", seed="old")["digest"]
        pusher.push_image("r", "stable", seed="stays")
        proxy.before = once(deletes(old), lambda: pusher.request("DELETE", "/v2/r/manifests/stable"))
        removing = Removing(proxy.url, tmp_path)
        result = await removing.remove("1.0")
        assert result is not None
        assert pusher.tags("r") == {}
        assert not pusher.has("r", old)
        assert [(lost.tag, lost.candidates, lost.mended) for lost in result.unmended] == [("stable", (old,), None)]
        assert "by its name" in result.unmended[0].why


async def test_a_tag_pushed_while_an_undo_puts_other_tags_back_stays(
    proxy: Proxy, pusher: Pusher, tmp_path: Path
) -> None:
    old = pusher.push_image("r", "1.0", "1.1", "1.2", seed="old")["digest"]
    new = pusher.push_image("r", "stable", seed="new")["digest"]
    removing = Removing(proxy.url, tmp_path)
    await removing.remove("<2")
    puts_first = once(lambda request: request.method == "PUT", lambda: push_again(pusher, "1.2", new))
    proxy.before = puts_first
    undone = await removing.undo()
    assert undone is not None
    assert pusher.tags("r") == {"1.0": old, "1.1": old, "1.2": new, "stable": new}
    assert undone.moved == ((Repository("r"), Tag("1.2")),)


async def test_a_lost_tag_is_reported_if_its_former_image_disappears(tmp_path: Path) -> None:
    """Quay shows no untagged manifest: if one is gone, this does not mean that somebody removed it with its tag."""
    with MemoryServer(Switches(untags=True)) as server, Pusher(server.url) as pusher, Proxy(server.port) as proxy:
        old = pusher.push_image("r", "1.0", seed="old")["digest"]
        stays = pusher.push_image("r", "stable", seed="stays")["digest"]

        def move() -> None:
            push_again(pusher, "stable", old)
            del server.repositories["r"].manifests[stays]

        proxy.before = once(deletes(old), move)
        result = await Removing(proxy.url, tmp_path).remove("1.0")
        assert result is not None
        assert [(lost.tag, lost.candidates) for lost in result.unmended] == [("stable", (old,))]

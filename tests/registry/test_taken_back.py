"""Interrupted runs that are resumed or undone after others have pushed, collected garbage, or undone before."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.apply import live_graph, repository, sweep
from dregutil.apply.undo.run import UndoResult
from dregutil.oci.placeholder import placeholder
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Result
from images import IMAGE, INDEX, Pusher
from removing import Removing, results
from servers import DistributionServer
from servers.http import Proxy, Request
from servers.memory import MemoryServer


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as found:
        yield found


@pytest.fixture
def aside(memory: MemoryServer) -> Iterator[Pusher]:
    with Pusher(memory.url) as found:
        yield found


@pytest.fixture
def removing(registry_server: DistributionServer, tmp_path: Path) -> Removing:
    return Removing(registry_server.url, tmp_path / "state")


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large repository: the tags are removed first."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: True)


def signed(pusher: Pusher, tag: str, seed: str) -> tuple[dict[str, Any], str]:
    """An image and the tag of its signature."""
    image = pusher.push_image("r", tag, seed=seed)
    signature = f"sha256-{image['digest'][7:]}.sig"
    pusher.push_image("r", signature, seed=f"signature of {seed}")
    return image, signature


async def cut_off_after_the_image(removing: Removing, pusher: Pusher, image: dict[str, Any]) -> None:
    """Kill a run when the image is gone and its signature is not."""
    for kill_after in range(1, 30):
        assert await removing.remove("1.0", kill_after=kill_after) is None
        if not pusher.has("r", image["digest"]):
            return
    raise AssertionError("the image never went")


async def test_an_image_pushed_again_before_the_run_is_resumed(removing: Removing, pusher: Pusher) -> None:
    image, signature = signed(pusher, "1.0", "one")
    raw = pusher.raw("r", "1.0")
    await cut_off_after_the_image(removing, pusher, image)
    pusher.push_manifest("r", "1.0", raw, IMAGE)
    await removing.resume()
    here = pusher.tags("r")
    assert ("1.0" in here) == (signature in here)


@pytest.mark.parametrize("tag", ["new", "1.0"])
async def test_a_settled_image_that_exists_again_keeps_its_signature(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, tag: str
) -> None:
    """Its outcome is in the record; then somebody pushes it again, and the run is resumed."""
    image, signature = signed(aside, "1.0", "one")
    raw = aside.raw("r", "1.0")
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def end_early(request: Request) -> None:
        if request.method == "DELETE" and request.reference == image["digest"]:
            loop.call_soon_threadsafe(stop.set)

    with Proxy(memory.port, before=end_early) as proxy:
        removing = Removing(proxy.url, tmp_path)
        result = await removing.apply(await removing.plan("1.0"), stop=stop)
    assert results(result) == [Result.REMOVED, Result.LEFT]
    aside.push_manifest("r", tag, raw, IMAGE)
    with Proxy(memory.port) as proxy:
        await Removing(proxy.url, tmp_path).resume()
    assert aside.tags("r")[signature] not in proxy.sent("DELETE")
    assert aside.tags("r").keys() == {tag, signature}
    assert aside.is_whole("r", signature)


async def test_a_tag_that_was_untagged_and_exists_again_is_reported(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its outcome is in the record; then somebody pushes it again, and the run is resumed."""
    monkeypatch.setattr(repository, "_STEPS_AT_ONCE", 1)
    memory.switches.untags = True
    image = aside.push_image("r", "1.0", "1.1", "stable", seed="one")
    raw = aside.raw("r", "1.0")
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def end_early(request: Request) -> None:
        if request.method == "DELETE" and request.reference == "1.0":
            loop.call_soon_threadsafe(stop.set)

    with Proxy(memory.port, before=end_early) as proxy:
        removing = Removing(proxy.url, tmp_path)
        plan = await removing.plan("<2", options=RemovalOptions(untag=True))
        assert results(await removing.apply(plan, stop=stop)) == [Result.REMOVED, Result.LEFT]
    aside.push_manifest("r", "1.0", raw, IMAGE)
    result = await Removing(memory.url, tmp_path).resume()
    assert results(result) == [Result.FAILED, Result.REMOVED]
    assert aside.tags("r") == dict.fromkeys(("1.0", "stable"), image["digest"])


async def test_a_step_whose_tag_was_pushed_over_counts_as_done(removing: Removing, pusher: Pusher) -> None:
    image, _ = signed(pusher, "1.0", "one")
    await cut_off_after_the_image(removing, pusher, image)
    new = pusher.push_image("r", "1.0", seed="new")
    await removing.resume()
    assert pusher.tags("r") == {"1.0": new["digest"]}
    assert not pusher.has("r", image["digest"])


# Undo


async def test_a_tag_that_moves_between_the_look_and_the_put(removing: Removing, pusher: Pusher) -> None:
    image = pusher.push_image("r", "1.0", "1.0.0", seed="one")
    assert results(await removing.remove("1.0", "1.0.0")) == [Result.REMOVED]
    new: list[str] = []
    await removing.undo(between=lambda: new.append(pusher.push_image("r", "1.0", seed="new")["digest"]))
    assert pusher.tags("r") == {"1.0": new[0], "1.0.0": image["digest"]}


async def test_what_an_untag_deleted_is_restored_without_a_resume(
    memory: MemoryServer, aside: Pusher, tmp_path: Path
) -> None:
    """A server whose DELETE of a tag deletes the manifest with its other tags; the run is killed right after it."""
    image = aside.push_image("r", "1.0", "stable", seed="one")
    before = aside.tags("r")
    removing = Removing(memory.url, tmp_path)
    memory.switches.untags = True
    plan = await removing.plan("1.0", options=RemovalOptions(untag=True))
    with Proxy(memory.port) as proxy:
        proxy.before = lambda request: _take_all(memory, request)
        through = Removing(proxy.url, tmp_path)
        for kill_after in range(20):
            assert await through.apply(plan, kill_after=kill_after) is None
            if not aside.has("r", image["digest"]):
                break
    assert aside.tags("r") == {}
    await removing.undo()
    assert aside.tags("r") == before
    assert aside.is_whole("r", "stable")


def _take_all(memory: MemoryServer, request: Request) -> None:
    if request.method == "DELETE" and request.reference == "1.0":
        memory.repositories["r"].manifests.clear()
        memory.repositories["r"].tags = {"1.0": "gone"}


async def test_undo_ignores_what_the_run_left_alone(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was about to be deleted, and recorded; then a new tag held it; then another client removed it."""
    monkeypatch.setattr(live_graph, "look_lives", lambda _: 0.0)
    monkeypatch.setattr(repository, "_STEPS_AT_ONCE", 1)
    images = {tag: pusher.push_image("r", tag, seed=tag) for tag in ("1.0", "1.1")}
    raw = pusher.raw("r", "1.1")

    def hold(request: Request) -> None:
        if request.method == "DELETE" and request.reference == images["1.0"]["digest"]:
            pusher.push_manifest("r", "keep", raw, IMAGE)

    with Proxy(registry_server.port, before=hold) as proxy:
        removing = Removing(proxy.url, tmp_path)
        assert results(await removing.remove("<2")) == [Result.REMOVED, Result.LEFT]
    assert len(removing.record().intents) == 2
    assert pusher.request("DELETE", f"/v2/r/manifests/{images['1.1']['digest']}")[0] == 202
    await Removing(registry_server.url, tmp_path).undo()
    assert pusher.tags("r") == {"1.0": images["1.0"]["digest"]}


async def test_the_tag_of_a_digest_that_a_new_tag_kept_is_put_back(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """The digest is left because of a new tag; its own tag was removed anyway, and undo puts it back."""
    image = pusher.push_image("r", "1.0", seed="one")
    raw = pusher.raw("r", "1.0")
    with Proxy(registry_server.port) as proxy:

        def push_after(request: Request, answer: Any) -> Any:
            if request.method == "DELETE" and request.reference == image["digest"]:
                pusher.push_manifest("r", "new", raw, IMAGE)
            return answer

        proxy.after = push_after
        await Removing(proxy.url, tmp_path).remove("1.0")
    assert pusher.tags("r") == {"new": image["digest"]}
    await Removing(registry_server.url, tmp_path).undo()
    assert pusher.tags("r") == {"new": image["digest"], "1.0": image["digest"]}


@pytest.mark.usefixtures("large")
async def test_garbage_collected_in_the_middle_of_a_sweep(tmp_path: Path) -> None:
    """Tags are on the placeholder, and their image is collected as untagged: the others are restored."""
    with DistributionServer(tmp_path / "registry") as server:
        removing = Removing(server.url, tmp_path / "state")
        with Pusher(server.url) as pusher:
            for number in range(6):
                pusher.push_image("r", f"1.{number}", seed=str(number))
            before = pusher.tags("r")
            plan = await removing.plan("<2")
            for kill_after in range(20):
                assert await removing.apply(plan, kill_after=kill_after) is None
                moved = {tag for tag, digest in pusher.tags("r").items() if digest != before[tag]}
                if moved:
                    break
        server.stop()
        server.garbage_collect("-m")
        server.start()
        undone = await removing.undo()
        assert undone is not None
        assert undone.error is None
        assert len(undone.of(UndoResult.LOST)) == len(moved) < len(before)
        with Pusher(server.url) as pusher:
            assert pusher.tags("r") == {tag: digest for tag, digest in before.items() if tag not in moved}
            assert json.loads(pusher.request("GET", "/v2/r/tags/list")[2])["tags"] is not None


async def test_a_tag_that_an_undo_left_on_a_placeholder_belongs_to_the_run(removing: Removing, pusher: Pusher) -> None:
    """An undo was killed while it removed a tag that was left dangling by a false success."""
    image = pusher.push_image("r", "1.0", seed="one")
    await removing.remove("1.0")
    config = b'{"placeholder":"of no record"}'
    pusher.push_blob("r", config)
    dummy = pusher.push_manifest("r", "1.0", placeholder(config, of_nothing=True), IMAGE)
    await removing.undo()
    assert pusher.tags("r") == {"1.0": image["digest"]}
    assert not pusher.has("r", dummy)


@pytest.mark.parametrize("knows", [True, False], ids=["OCI's parameter digest", "no parameter"])
async def test_a_sha512_child_is_restored_under_its_digest(
    memory: MemoryServer, aside: Pusher, tmp_path: Path, knows: bool
) -> None:
    """Without the parameter the server keeps what is put by a tag by its sha256 digest: that is no success."""
    memory.switches.digest_parameter = knows
    child = aside.push_image("r", seed="child")
    raw = aside.raw("r", child["digest"])
    digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    assert aside.request("PUT", f"/v2/r/manifests/{digest}", raw, {"Content-Type": IMAGE})[0] == 201
    assert aside.request("DELETE", f"/v2/r/manifests/{child['digest']}")[0] == 202
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**child, "digest": digest}]}
    index = json.dumps(body).encode()
    sha512 = f"sha512:{hashlib.sha512(index).hexdigest()}"
    assert aside.request("PUT", f"/v2/r/manifests/{sha512}", index, {"Content-Type": INDEX})[0] == 201
    memory.repositories["r"].tags = {"1.0": sha512}
    removing = Removing(memory.url, tmp_path)
    assert results(await removing.remove("1.0")) == [Result.REMOVED] * 2
    assert memory.repositories["r"].manifests == {}
    undone = await removing.undo()
    assert undone is not None
    assert [entry.manifest.digest for entry in undone.of(UndoResult.FAILED)] == ([] if knows else [sha512])
    assert {digest, sha512} <= memory.repositories["r"].manifests.keys()
    assert ((memory.repositories["r"].tags or {})["1.0"] == sha512) == knows


async def test_a_layer_stored_elsewhere_is_not_a_loss(memory: MemoryServer, aside: Pusher, tmp_path: Path) -> None:
    """The real registry accepts such images only if configured to."""
    removing = Removing(memory.url, tmp_path)
    docker = "application/vnd.docker.distribution.manifest.v2+json"
    config = b'{"os":"windows"}'
    body = {
        "schemaVersion": 2,
        "mediaType": docker,
        "config": {
            "mediaType": "application/vnd.docker.container.image.v1+json",
            "digest": aside.push_blob("r", config),
            "size": len(config),
        },
        "layers": [
            {
                "mediaType": "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
                "digest": f"sha256:{'1' * 64}",
                "size": 7,
                "urls": ["https://go.microsoft.com/layer"],
            }
        ],
    }
    digest = aside.push_manifest("r", "1.0", json.dumps(body).encode(), docker)
    assert results(await removing.remove("1.0")) == [Result.REMOVED]
    assert aside.tags("r") == {}
    undone = await removing.undo()
    assert undone is not None
    assert len(undone.of(UndoResult.RESTORED)) == 1
    assert aside.tags("r") == {"1.0": digest}


@pytest.mark.parametrize("sweeps", [False, True])
async def test_two_runs_that_do_not_know_of_each_other(
    registry_server: DistributionServer,
    pusher: Pusher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    sweeps: bool,
) -> None:
    """Two machines, each with its own state folder, so that no lock applies. Undone one after the other."""
    monkeypatch.setattr(sweep, "tags_first_pays", lambda _, __: sweeps)
    children = [pusher.push_image("r", seed=seed) for seed in ("amd", "arm")]
    pusher.push_index("r", "1.90", children=children)
    pusher.push_index("r", "stable", children=children[:1])
    for number in range(20):
        signed(pusher, f"1.{number}", str(number))
    before = pusher.tags("r")
    machines = [Removing(registry_server.url, tmp_path / name) for name in ("one", "two")]
    plans = [await machine.plan("<2") for machine in machines]
    await asyncio.gather(*(machine.apply(plan) for machine, plan in zip(machines, plans, strict=True)))
    assert pusher.is_whole("r", "stable")
    assert {tag: digest for tag, digest in pusher.tags("r").items() if digest != before.get(tag)} == {}
    for machine in machines:
        await machine.undo()
    assert pusher.tags("r") == before
    assert all(pusher.is_whole("r", tag) for tag in before)

"""What is between dregutil and the registry: lagging replicas, caches, proxies that mislabel. Nothing is lost because
of them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dregutil.apply.apply import apply_plan
from dregutil.inventory import survey
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.crawl import crawl
from dregutil.inventory.known import Known
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.outcome import NoRecorder, Result
from dregutil.registry import connect_writable
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from images import ACCEPT, IMAGE, INDEX, Pusher
from remembering import plan_removal
from removing import Removing, results
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

DOCKER = "application/vnd.docker.distribution.manifest.v2+json"
SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"
R = Repository("r")


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


async def planned(
    url: str, *tags: str, known: dict[str, str] | None = None, seen: KnownManifests | None = None
) -> Plan:
    """The plan for tags of `r`, made from a crawl; `known` are tags that an earlier crawl also saw."""
    async with connect_writable(url) as registry:
        found = (await crawl(registry)).inventory
        selection = select_tags(found, [R], TagSelector.build(tags))
        inventory = Inventory({R: {**{Tag(tag): Digest(on) for tag, on in (known or {}).items()}, **found.tags(R)}})
        return await plan_removal(registry, selection, inventory, seen=seen)


def is_of(request: Request, *references: str) -> bool:
    return "/manifests/" in request.path and request.method in ("GET", "HEAD") and request.reference in references


# Tags that are listed but missing


async def test_a_tag_that_a_replica_lacks_holds_its_image(proxy: Proxy, pusher: Pusher) -> None:
    """A replica lags behind: the tag is missing until all tags have been requested."""
    image = pusher.push_image("r", "1.0", "prod", seed="one")
    pusher.push_image("r", "1.1", seed="two")
    asked: list[str] = []

    def lag(request: Request) -> Answer | None:
        if is_of(request, "prod"):
            asked.append(request.target)
            return Answer(404) if len(asked) < 5 else None
        return None

    proxy.before = lag
    plan = await planned(proxy.url, "<2", known={"prod": image["digest"]})
    assert {step.tags for step in plan.steps} == {("1.1",)}
    assert len(set(asked)) == len(asked)  # at another URL each time


async def test_missing_tags_cost_one_pause(proxy: Proxy, pusher: Pusher, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        pusher.push_image("r", f"b{number}", seed=str(number))
    paused: list[float] = []

    async def pause(seconds: float) -> None:
        if seconds >= 0.5:
            paused.append(seconds)

    proxy.before = lambda request: Answer(404) if is_of(request, "b1", "b2", "b3") else None
    async with connect_writable(proxy.url) as registry:
        monkeypatch.setattr(asyncio, "sleep", pause)
        graph = await survey.survey_repository(registry, R, [])
        assert graph.dangling == {"b1", "b2", "b3"}
        assert paused == [1.0]
        proxy.before = lambda _: None
        assert not (await survey.survey_repository(registry, R, [])).dangling
        assert paused == [1.0]


async def test_a_missing_tag_holds_what_it_was_last_seen_on(proxy: Proxy, pusher: Pusher) -> None:
    image = pusher.push_image("r", "1.0", "prod", seed="one")
    child = pusher.push_image("r", "1.1", seed="child")
    index = pusher.push_index("r", "nightly", children=[child])
    proxy.before = lambda request: Answer(404) if is_of(request, "prod", "nightly") else None
    known = {"prod": image["digest"], "nightly": index["digest"]}
    plan = await planned(proxy.url, "<2", known=known)
    assert not plan.steps
    assert {kept.reason for kept in plan.kept} == {
        "held by 'prod', which was on it, is listed, and is not there (404)",
        f"part of the index {Digest(index['digest']).short}, which stays",
    }
    assert plan.dangling == {R: ("nightly", "prod")}


async def test_missing_tags_are_reported_in_the_plan_and_at_the_end(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    from program import Program

    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    with Proxy(registry_server.port) as proxy:
        proxy.before = lambda request: Answer(404) if is_of(request, "2.0") else None
        program = Program(proxy.url, tmp_path)
        shown = program.run("remove-tags", "-r", "r", "-t", "1.0", "--dry-run")
        assert "'2.0'" in shown.stdout
        done = program.run("remove-tags", "-r", "r", "-t", "1.0", "--yes-remove", "1")
        assert done.returncode == 0, done.stderr
        assert "'2.0'" in done.stderr


# Caches


async def test_an_answer_with_an_age_leaves_the_repository_out(proxy: Proxy, pusher: Pusher) -> None:
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "prod", seed="two")

    def aged(request: Request, answer: Answer) -> Answer:
        return replace(answer, headers={**answer.headers, "Age": "7"}) if is_of(request, "prod") else answer

    proxy.after = aged
    plan = await planned(proxy.url, "1.0")
    assert not plan.steps
    assert "cache" in plan.left_out[R]


async def test_an_age_that_does_not_matter_does_no_harm(proxy: Proxy, pusher: Pusher) -> None:
    """A single answer with an age, or one about a digest, whose content never changes."""
    image = pusher.push_image("r", "1.0", seed="one")
    pusher.push_index("r", "1.1", children=[image])
    once = ["1.1"]

    def aged(request: Request, answer: Answer) -> Answer:
        if is_of(request, image["digest"]) or (is_of(request, *once) and once.pop()):
            return replace(answer, headers={**answer.headers, "Age": "7"})
        return answer

    proxy.after = aged
    assert len((await planned(proxy.url, "<2")).steps) == 2


@pytest.mark.parametrize("knows", ["URLs alone", "URLs without queries"])
async def test_a_cache_that_ignores_accept(proxy: Proxy, pusher: Pusher, knows: str) -> None:
    """An old client that accepts only images has requested the index: the cache returns its child to everyone."""
    child = pusher.push_image("r", "1.0", seed="amd64")
    pusher.push_index("r", "nightly", children=[child])
    _, headers, raw = pusher.request("GET", f"/v2/r/manifests/{child['digest']}", headers={"Accept": ACCEPT})
    kept = {name.title(): value for name, value in headers.items() if name.startswith(("content-type", "docker"))}

    def cached(request: Request) -> Answer | None:
        if not is_of(request, "nightly"):
            return None
        if knows == "URLs alone":
            return Answer(200, raw, kept) if "?" not in request.target else None
        return Answer(200, raw, {**kept, "Age": "3"})

    proxy.before = cached
    plan = await planned(proxy.url, "1.0")
    assert not plan.steps


async def test_every_read_for_a_decision_bypasses_caches(proxy: Proxy, pusher: Pusher) -> None:
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    await planned(proxy.url, "1.0")
    deciding = [request for request in proxy.requests if "/manifests/" in request.path or "/tags/" in request.path]
    asked = [request for request in deciding if request.query.get("n") != "x"]
    assert asked
    assert all(request.headers.get("cache-control") == "no-cache" for request in asked)


async def test_a_registry_that_refuses_query_strings_is_asked_without_them(proxy: Proxy, pusher: Pusher) -> None:
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    proxy.before = lambda request: Answer(400) if "uncached" in request.query else None
    assert len((await planned(proxy.url, "1.0")).steps) == 1
    refused = [request for request in proxy.requests if "uncached" in request.query]
    assert len(refused) < 20


# The type that an answer states for a manifest


def labelled(media_type: str, *methods: str) -> Callable[[Request, Answer], Answer]:
    def after(request: Request, answer: Answer) -> Answer:
        if "/manifests/" not in request.path or request.method not in methods or answer.status != 200:
            return answer
        if answer.headers.get("Content-Type") != INDEX:
            return answer
        return replace(answer, headers={**answer.headers, "Content-Type": media_type})

    return after


@pytest.mark.parametrize("methods", [("HEAD",), ("HEAD", "GET")])
@pytest.mark.parametrize("media_type", [IMAGE, DOCKER, SCHEMA1, "application/vnd.oci.artifact.manifest.v1+json"])
@pytest.mark.parametrize("known", [False, True], ids=["never seen", "seen before"])
async def test_an_index_served_as_an_image_holds_its_children(
    proxy: Proxy, pusher: Pusher, tmp_path: Path, media_type: str, methods: tuple[str, ...], *, known: bool
) -> None:
    child = pusher.push_image("r", "1.0", seed="child")
    pusher.push_index("r", "nightly", children=[child])
    with ContentDatabase.open(tmp_path / "contents.db") as database:
        if known:
            await planned(proxy.url, "1.0", seen=KnownManifests(database))
        proxy.after = labelled(media_type, *methods)
        plan = await planned(proxy.url, "1.0", seen=KnownManifests(database))
        again = await planned(proxy.url, "1.0", seen=KnownManifests(database))
    assert not plan.steps
    assert not again.steps


async def test_a_type_that_contradicts_itself_leaves_the_repository_out(proxy: Proxy, pusher: Pusher) -> None:
    child = pusher.push_image("r", seed="child")
    pusher.push_index("r", "nightly", children=[child])
    pusher.push_image("r", "1.0", seed="other")
    proxy.after = labelled(IMAGE, "HEAD", "GET")
    plan = await planned(proxy.url, "1.0")
    assert not plan.steps
    assert "what it holds is not certain" in plan.left_out[R]


@pytest.mark.parametrize("media_type", ["text/plain", "application/json", "application/octet-stream"])
async def test_a_generic_type_contradicts_nothing(proxy: Proxy, pusher: Pusher, media_type: str) -> None:
    child = pusher.push_image("r", "1.0", seed="child")
    pusher.push_index("r", "nightly", children=[child])
    pusher.push_image("r", "1.1", seed="other")
    proxy.after = labelled(media_type, "HEAD", "GET")
    plan = await planned(proxy.url, "<2")
    assert [step.tags for step in plan.steps] == [("1.1",)]


async def test_undo_sends_the_type_in_the_body(proxy: Proxy, pusher: Pusher) -> None:
    child = pusher.push_image("r", seed="child")
    pusher.push_index("r", "1.0", children=[child])
    async with connect_writable(proxy.url) as registry:
        proxy.after = labelled(IMAGE, "GET")
        found = await registry.manifest(R, Tag("1.0"))
        assert found is not None
        assert (found.media_type, found.labelled) == (INDEX, IMAGE)
        await registry.put_manifest(R, Tag("again"), found.raw, found.media_type)
    assert pusher.is_whole("r", "again")


async def test_what_stays_is_read_only_once(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> None:
    pusher.push_image("r", "1.0", seed="one")
    stays = [pusher.push_image("r", f"2.{number}", seed=str(number)) for number in range(3)]
    pusher.push_index("r", "nightly", children=stays[:1])
    staying = {"2.0", "2.1", "2.2", *(image["digest"] for image in stays)}
    with ContentDatabase.open(tmp_path / "contents.db") as database:
        await planned(proxy.url, "1.0", seen=KnownManifests(database))
        assert sorted(set(proxy.sent("GET")) & staying) == ["2.0", "2.1", "2.2"]
        proxy.requests.clear()
        await planned(proxy.url, "1.0", seen=KnownManifests(database))
    assert not set(proxy.sent("GET")) & staying
    assert proxy.sent("HEAD").count("2.1") == 2  # the crawl, and the check


async def test_where_pulls_are_counted_what_stays_is_checked_with_head(proxy: Proxy, pusher: Pusher) -> None:
    """On Docker Hub a GET of a manifest counts as a pull, and pulls are limited."""
    child = pusher.push_image("r", "2.0", seed="stays")
    pusher.push_index("r", "nightly", children=[child])
    async with connect_writable(proxy.url) as registry:
        registry.limits_pulls = True
        graph = await survey.survey_repository(registry, R, [])
    assert "2.0" not in proxy.sent("GET")
    assert graph.parents[Digest(child["digest"])]


# Manifests that are layers too


async def test_a_manifest_that_is_a_layer_of_another_image_stays(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """2.8 unlinks the blob of a digest together with its manifest."""
    inner = pusher.push_image("r", "1.0", seed="inner")
    outer = pusher.push_image("r", "2.0", seed="outer", layers=[pusher.raw("r", "1.0")])
    removing = Removing(registry_server.url, tmp_path)
    plan = await removing.plan("1.0")
    assert not plan.steps
    assert plan.kept[0].reason == f"part of the manifest {Digest(outer['digest']).short}, which stays"
    assert results(await removing.remove("<3")) == [Result.REMOVED]  # the outer one: otherwise it could not be put back
    await removing.undo()
    assert pusher.tags("r") == {"1.0": inner["digest"], "2.0": outer["digest"]}
    assert pusher.is_whole("r", "2.0")


# Blobs that are needed to put anything back


@pytest.mark.parametrize("which", ["config", "layer"])
async def test_an_image_with_a_missing_blob_is_removed_only_with_the_option(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, which: str
) -> None:
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "1.1", seed="two")
    body = json.loads(pusher.raw("r", "1.0"))
    missing = (body["config"] if which == "config" else body["layers"][0])["digest"].partition(":")[2]
    blob = registry_server.storage / "docker/registry/v2/blobs/sha256" / missing[:2] / missing / "data"
    blob.unlink()
    removing = Removing(registry_server.url, tmp_path)
    plan = await removing.plan("<2")
    assert [step.tags for step in plan.steps] == [("1.1",)]
    assert "missing" in plan.kept[0].reason
    assert "--allow-irreversible" in plan.kept[0].reason
    allowed = await removing.remove("1.0", options=RemovalOptions(allow_irreversible=True))
    assert results(allowed) == [Result.REMOVED]


async def test_blobs_are_checked_once_and_foreign_layers_never() -> None:
    shared = b"shared layer"
    with MemoryServer() as server, Proxy(server.port) as proxy, Pusher(server.url) as pusher:
        for number in range(3):
            pusher.push_image("r", f"1.{number}", seed=str(number), layers=[shared])
        foreign: dict[str, Any] = json.loads(pusher.raw("r", "1.0"))
        layer = {"digest": f"sha256:{'f' * 64}", "size": 5, "urls": ["https://example.org/layer"]}
        foreign["layers"] = [{**layer, "mediaType": "application/vnd.oci.image.layer.nondistributable.v1.tar"}]
        pusher.push_manifest("r", "1.3", json.dumps(foreign).encode(), IMAGE)
        doomed = [Digest(digest) for digest in pusher.tags("r").values()]
        async with connect_writable(proxy.url) as registry:
            graph = await survey.survey_repository(registry, R, doomed)
    assert not graph.missing_blobs
    looked = [request.reference for request in proxy.requests if "/blobs/" in request.path]
    assert len(looked) == len(set(looked)) == 3 + 1  # configs, one of them of two images, and the layer
    assert all(request.method == "HEAD" for request in proxy.requests if "/blobs/" in request.path)


async def test_a_registry_without_head_for_blobs_is_asked_for_a_byte(proxy: Proxy, pusher: Pusher) -> None:
    pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    proxy.before = lambda request: Answer(404) if request.method == "HEAD" and "/blobs/" in request.path else None
    assert len((await planned(proxy.url, "1.0")).steps) == 1


async def test_a_redirect_of_a_blob_is_not_followed(proxy: Proxy, pusher: Pusher) -> None:
    """Its target may be signed for GET only."""
    image = pusher.push_image("r", "1.0", seed="one")
    elsewhere = Answer(307, b"", {"Location": "http://127.0.0.1:9/signed"})
    proxy.before = lambda request: elsewhere if request.method == "HEAD" and "/blobs/" in request.path else None
    async with connect_writable(proxy.url) as registry:
        graph = await survey.survey_repository(registry, R, [Digest(image["digest"])])
    assert not graph.unjudgeable
    assert not graph.missing_blobs


# Depth


async def test_a_thousand_nested_indexes_are_refused_in_one_line(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    inner = pusher.push_image("r", seed="innermost")
    for _ in range(1100):
        inner = pusher.push_index("r", children=[inner])
    pusher.push_manifest("r", "1.0", pusher.raw("r", inner["digest"]), INDEX)
    plan = await Removing(registry_server.url, tmp_path).plan("1.0")
    assert not plan.steps
    assert "indexes lie deeper" in plan.left_out[R]


async def test_a_cache_of_deleted_tags_costs_few_requests(proxy: Proxy, pusher: Pusher) -> None:
    image = pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    known = {f"gone{number}": f"sha256:{number:064x}" for number in range(2000)}
    known |= {f"here{number}": image["digest"] for number in range(150)}
    async with connect_writable(proxy.url) as registry:
        tags = {Tag(tag): Digest(on) for tag, on in known.items()}
        graph = await survey.survey_repository(registry, R, [Digest(image["digest"])], known_tags=tags)
    assert not graph.unjudgeable
    assert {f"here{number}" for number in range(150)} <= {request.reference for request in proxy.requests}
    assert len(proxy.requests) < 150 + 150


async def test_a_run_reads_the_manifest_of_a_new_tag(proxy: Proxy, pusher: Pusher) -> None:
    """The reading during a run is as careful as the one for the plan."""
    child = pusher.push_image("r", "1.0", seed="child")
    plan = await planned(proxy.url, "1.0")
    assert len(plan.steps) == 1
    pusher.push_index("r", "nightly", children=[child])
    proxy.after = labelled(IMAGE, "HEAD")
    async with connect_writable(proxy.url) as registry:
        await apply_plan(registry, plan, recorder=NoRecorder(), known=Known())
    assert pusher.is_whole("r", "nightly")

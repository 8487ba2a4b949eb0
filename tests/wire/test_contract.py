"""The behaviour of a registry, with the same requests to the real one and the one in memory, so that the second can
replace the first."""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from images import IMAGE, INDEX, Pusher
from servers import DistributionServer
from servers.memory import MemoryServer
from servers.profiles import DISTRIBUTION, ProfileServer

ABSENT = f"sha256:{'0' * 64}"


@pytest.fixture(scope="module", params=["memory", "profile", "real"])
def url(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    if request.param == "memory":
        with MemoryServer() as memory:
            yield memory.url
    elif request.param == "profile":
        with ProfileServer(DISTRIBUTION) as profile:
            yield profile.url
    else:
        with DistributionServer(Path(tmp_path_factory.mktemp("registry"))) as server:
            yield server.url


@pytest.fixture
def pusher(url: str) -> Iterator[Pusher]:
    with Pusher(url) as found:
        yield found


@pytest.fixture
def name() -> str:
    """A separate repository for each test."""
    return f"shop/{secrets.token_hex(4)}"


def codes(body: bytes) -> set[str]:
    return {error["code"] for error in json.loads(body)["errors"]}


def asked(pusher: Pusher, method: str, path: str, **headers: str) -> tuple[int, Any]:
    """The status, and the codes of an error or the JSON of an answer."""
    status, found, body = pusher.request(method, path, headers=headers)
    if method == "HEAD" or not body or "json" not in found.get("content-type", ""):
        return status, None
    return status, codes(body) if status >= 400 else json.loads(body)


def test_what_was_pushed_is_read(pusher: Pusher, name: str) -> None:
    image = pusher.push_image(name, "1.0", "1.1", seed="one")
    assert pusher.tags(name) == {"1.0": image["digest"], "1.1": image["digest"]}
    assert pusher.is_whole(name, "1.0")
    assert pusher.is_whole(name, image["digest"])
    for method in ("GET", "HEAD"):
        headers = {"Accept": IMAGE}
        status, found, body = pusher.request(method, f"/v2/{name}/manifests/1.0", headers=headers)
        assert (status, found["docker-content-digest"], found["content-type"]) == (200, image["digest"], IMAGE)
        assert int(found["content-length"]) == image["size"]
        assert len(body) == (image["size"] if method == "GET" else 0)
    headers["If-None-Match"] = f'"{image["digest"]}"'
    assert pusher.request("GET", f"/v2/{name}/manifests/1.0", headers=headers)[0] == 304


@pytest.mark.parametrize("reference", ["absent", ABSENT])
def test_what_does_not_exist(pusher: Pusher, name: str, reference: str) -> None:
    for place in (name, "nobody/has"):
        pusher.push_image(name, "1.0", seed="one")
        assert asked(pusher, "GET", f"/v2/{place}/manifests/{reference}", Accept=IMAGE)[0] == 404
        assert asked(pusher, "HEAD", f"/v2/{place}/manifests/{reference}", Accept=IMAGE)[0] == 404
    assert asked(pusher, "GET", f"/v2/{name}/tags/list") == (200, {"name": name, "tags": ["1.0"]})
    assert asked(pusher, "GET", "/v2/nobody/has/tags/list") == (404, {"NAME_UNKNOWN"})
    assert asked(pusher, "GET", f"/v2/{name}/blobs/{ABSENT}") == (404, {"BLOB_UNKNOWN"})
    assert asked(pusher, "GET", f"/v2/{name}/referrers/{ABSENT}")[0] == 404


def test_a_delete_removes_a_manifest_with_its_tags_and_nothing_else(pusher: Pusher, name: str) -> None:
    image = pusher.push_image(name, "1.0", "1.1", seed="one")
    other = pusher.push_image(name, "2.0", seed="two")
    pusher.push_image(f"{name}-copy", "1.0", seed="one")
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{image['digest']}") == (202, None)
    assert not pusher.has(name, image["digest"])
    assert pusher.tags(name) == {"2.0": other["digest"]}
    assert asked(pusher, "GET", f"/v2/{name}/tags/list") == (200, {"name": name, "tags": ["2.0"]})
    assert pusher.is_whole(f"{name}-copy", "1.0")
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{image['digest']}") == (404, {"MANIFEST_UNKNOWN"})
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{other['digest']}")[0] == 202
    assert asked(pusher, "GET", f"/v2/{name}/tags/list") == (200, {"name": name, "tags": None})


def test_what_was_deleted_can_be_put_back(pusher: Pusher, name: str) -> None:
    image = pusher.push_image(name, "1.0", seed="one")
    raw = pusher.raw(name, "1.0")
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{image['digest']}")[0] == 202
    assert pusher.push_manifest(name, None, raw, IMAGE) == image["digest"]
    assert pusher.tags(name) == {}
    assert pusher.is_whole(name, image["digest"])
    pusher.push_manifest(name, "1.0", raw, IMAGE)
    assert pusher.tags(name) == {"1.0": image["digest"]}


def test_a_tag_is_not_deleted_by_its_name(pusher: Pusher, name: str) -> None:
    image = pusher.push_image(name, "1.0", seed="one")
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/1.0") == (400, {"DIGEST_INVALID"})
    assert pusher.tags(name) == {"1.0": image["digest"]}


def test_an_index_needs_its_children_and_is_deleted_without_them(pusher: Pusher, name: str) -> None:
    child = pusher.push_image(name, seed="child")
    index = pusher.push_index(name, "1.0", children=[child])
    raw = pusher.raw(name, "1.0")
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{index['digest']}")[0] == 202
    assert pusher.is_whole(name, child["digest"])
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{child['digest']}")[0] == 202
    status, _, body = pusher.request("PUT", f"/v2/{name}/manifests/1.0", raw, {"Content-Type": INDEX})
    assert (status, codes(body)) == (400, {"MANIFEST_BLOB_UNKNOWN"})


def test_a_child_is_deleted_under_its_index(pusher: Pusher, name: str) -> None:
    child = pusher.push_image(name, seed="child")
    pusher.push_index(name, "1.0", children=[child])
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{child['digest']}")[0] == 202
    assert pusher.has(name, "1.0")
    assert not pusher.is_whole(name, "1.0")


def test_a_subject_may_be_absent(pusher: Pusher, name: str) -> None:
    subject = {"mediaType": IMAGE, "digest": ABSENT, "size": 7}
    assert pusher.is_whole(name, pusher.push_image(name, seed="referrer", subject=subject)["digest"])


def test_an_image_needs_its_blobs(pusher: Pusher, name: str) -> None:
    image = pusher.push_image(name, "1.0", seed="one")
    raw = pusher.raw(name, "1.0")
    status, _, body = pusher.request("PUT", f"/v2/{name}-new/manifests/1.0", raw, {"Content-Type": IMAGE})
    assert (status, codes(body)) == (400, {"MANIFEST_BLOB_UNKNOWN"})
    layer = json.loads(raw)["layers"][0]["digest"]
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{image['digest']}")[0] == 202
    assert asked(pusher, "DELETE", f"/v2/{name}/blobs/{layer}")[0] == 202
    assert pusher.request("PUT", f"/v2/{name}/manifests/1.0", raw, {"Content-Type": IMAGE})[0] == 400


def test_a_manifest_under_a_wrong_digest(pusher: Pusher, name: str) -> None:
    pusher.push_image(name, "1.0", seed="one")
    raw = pusher.raw(name, "1.0")
    status, _, body = pusher.request("PUT", f"/v2/{name}/manifests/{ABSENT}", raw, {"Content-Type": IMAGE})
    assert (status, codes(body)) == (400, {"DIGEST_INVALID"})


def test_a_layer_deleted_as_a_manifest_is_unlinked(pusher: Pusher, name: str) -> None:
    pusher.push_image(name, "1.0", seed="one")
    layer = json.loads(pusher.raw(name, "1.0"))["layers"][0]["digest"]
    assert asked(pusher, "DELETE", f"/v2/{name}/manifests/{layer}")[0] == 202
    assert not pusher.is_whole(name, "1.0")


def test_a_blob_is_read_in_part_and_mounted(pusher: Pusher, name: str) -> None:
    digest = pusher.push_blob(name, b"twelve bytes")
    status, _, body = pusher.request("GET", f"/v2/{name}/blobs/{digest}", headers={"Range": "bytes=0-0"})
    assert (status, body) == (206, b"t")
    place = f"/v2/{name}-new/blobs/uploads/?mount={digest}&from="
    assert asked(pusher, "POST", f"{place}nobody/has")[0] == 202
    assert asked(pusher, "POST", f"{place}{name}")[0] == 201
    assert asked(pusher, "HEAD", f"/v2/{name}-new/blobs/{digest}")[0] == 200
    assert asked(pusher, "HEAD", f"/v2/{name}-other/blobs/{digest}")[0] == 404


def test_the_catalog_is_paged(pusher: Pusher, name: str) -> None:
    for number in range(5):
        pusher.push_image(f"{name}/{number}", "1.0", seed="one")
    seen: list[str] = []
    path = "/v2/_catalog?n=2"
    while path:
        status, headers, body = pusher.request("GET", path)
        assert status == 200
        seen += json.loads(body)["repositories"]
        path = headers.get("link", "").partition("<")[2].partition(">")[0]
    assert [found for found in seen if found.startswith(name)] == [f"{name}/{number}" for number in range(5)]
    assert len(seen) == len(set(seen))
    assert asked(pusher, "GET", "/v2/_catalog?n=1001") == (400, {"PAGINATION_NUMBER_INVALID"})


def test_deletion_is_disabled(tmp_path: Path) -> None:
    memory = MemoryServer()
    memory.switches.deletes = False
    with memory, DistributionServer(tmp_path / "registry", delete=False) as real:
        for url in (memory.url, real.url):
            with Pusher(url) as pusher:
                image = pusher.push_image("r", "1.0", seed="one")
                for reference in (image["digest"], ABSENT):
                    assert asked(pusher, "DELETE", f"/v2/r/manifests/{reference}") == (405, {"UNSUPPORTED"})
                assert pusher.is_whole("r", "1.0")


def test_after_garbage_collection_an_image_cannot_be_put_back(tmp_path: Path) -> None:
    with MemoryServer() as memory, DistributionServer(tmp_path / "registry") as real:
        for server in (memory, real):
            with Pusher(server.url) as pusher:
                image = pusher.push_image("r", "1.0", seed="one")
                stays = pusher.push_image("r", "2.0", seed="two")
                raw = pusher.raw("r", "1.0")
                assert asked(pusher, "DELETE", f"/v2/r/manifests/{image['digest']}")[0] == 202
            if isinstance(server, MemoryServer):
                server.collect_garbage()
            else:
                server.stop()
                server.garbage_collect()
                server.start()
            with Pusher(server.url) as pusher:
                assert pusher.request("PUT", "/v2/r/manifests/1.0", raw, {"Content-Type": IMAGE})[0] == 400
                assert pusher.is_whole("r", "2.0")
                assert pusher.tags("r") == {"2.0": stays["digest"]}


# Behaviour of other servers


@pytest.fixture
def memory() -> Iterator[tuple[MemoryServer, Pusher]]:
    with MemoryServer() as server, Pusher(server.url) as pusher:
        yield server, pusher


def test_servers_that_delete_by_tag(memory: tuple[MemoryServer, Pusher]) -> None:
    server, pusher = memory
    server.switches.untags = True
    image = pusher.push_image("r", "1.0", "1.1", seed="one")
    assert asked(pusher, "DELETE", "/v2/r/manifests/1.0") == (202, None)
    assert pusher.tags("r") == {"1.1": image["digest"]}
    server.switches.last_tag_takes = True
    assert asked(pusher, "DELETE", "/v2/r/manifests/1.1") == (202, None)
    assert not pusher.has("r", image["digest"])


def test_a_server_that_cascades(memory: tuple[MemoryServer, Pusher]) -> None:
    server, pusher = memory
    server.switches.cascades = server.switches.has_referrers = True
    own, shared = (pusher.push_image("r", seed=seed) for seed in ("own", "shared"))
    tagged = pusher.push_image("r", "1.1", seed="tagged")
    index = pusher.push_index("r", "1.0", children=[own, tagged, shared])
    pusher.push_index("r", "2.0", children=[shared])
    referrer = pusher.push_image("r", seed="referrer", subject=index)
    listed = asked(pusher, "GET", f"/v2/r/referrers/{index['digest']}")[1]["manifests"]
    assert [found["digest"] for found in listed] == [referrer["digest"]]
    assert asked(pusher, "DELETE", f"/v2/r/manifests/{index['digest']}")[0] == 202
    assert [pusher.has("r", found["digest"]) for found in (own, tagged, shared, referrer)] == [False, True, True, False]


def test_a_server_that_refuses_fails_and_omits(memory: tuple[MemoryServer, Pusher]) -> None:
    server, pusher = memory
    refused, failing = (pusher.push_image("r", tag, seed=tag)["digest"] for tag in ("1.0", "1.1"))
    server.switches.refused = {refused: 412}
    server.switches.failing = {failing: 500}
    server.switches.hidden = {"1.0"}
    assert asked(pusher, "DELETE", f"/v2/r/manifests/{refused}")[0] == 412
    assert asked(pusher, "DELETE", f"/v2/r/manifests/{failing}")[0] == 500
    assert [pusher.has("r", found) for found in (refused, failing)] == [True, False]
    assert asked(pusher, "GET", "/v2/r/tags/list")[1]["tags"] is None
    server.switches.keeps_tags, server.switches.refused = True, {}
    assert asked(pusher, "DELETE", f"/v2/r/manifests/{refused}")[0] == 202
    server.switches.hidden, server.switches.pages_tags = set(), True
    assert asked(pusher, "GET", "/v2/r/tags/list?n=1")[1]["tags"] == ["1.0"]
    assert not pusher.has("r", "1.0")

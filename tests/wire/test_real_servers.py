"""What each real server does where servers differ, and that the fakes which stand for it do the same.

`docs/registries.md` rests on this: "real" in a row means these tests, and those that are marked `every_server`.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from images import ACCEPT, IMAGE, INDEX, Pusher
from servers import find_program
from servers.memory import MemoryServer, Switches
from servers.real import KINDS

REGISTRIES = Path(__file__).parents[2] / "docs" / "registries.md"
BUILT = Path(__file__).parents[1] / "servers" / "built.txt"


@dataclass(frozen=True)
class Known:
    """What a server is known to do. `fake`: the switches of the server in memory that stands for it.

    `by_tag`: the status of a DELETE by a tag's name. `tags_go`: a digest takes its tags along. `layer_as_manifest`: the
    status of DELETE /manifests/ of a layer's digest. `child_goes`: a child goes with its index. `needs_children`: an
    index whose child is missing is refused. `emptied`: the list of tags after the last one went, None is null;
    `nowhere`: its status where there is no such repository. `size_x`: the status of `tags/list?n=x`. `pages`: lists of
    tags have pages. `has_referrers`: the referrers API. `keeps_sha512`: what is put by a sha512 digest is there by it.
    `mounts`: a blob of another repository can be mounted. `retypes`: a tag moves from an image to an index.
    `outlives_tag`: what an index lists is there by its digest when it was put by a tag only, and the tag moved.
    """

    fake: Switches
    by_tag: int = 202
    tags_go: bool = True
    layer_as_manifest: int = 404
    child_goes: bool = False
    needs_children: bool = True
    emptied: object = ()
    nowhere: int = 404
    size_x: int = 400
    pages: bool = True
    has_referrers: bool = False
    keeps_sha512: bool = True
    mounts: bool = True
    retypes: bool = True
    outlives_tag: bool = True


_OTHERS = Switches(untags=True, pages_tags=True, unlinks_blobs=False)
KNOWN = {
    "distribution-2.8": Known(
        Switches(),
        by_tag=400,
        layer_as_manifest=202,
        emptied=None,
        size_x=200,
        pages=False,
        keeps_sha512=False,
    ),
    "distribution-3": Known(_OTHERS, keeps_sha512=False),
    "olareg": Known(
        replace(_OTHERS, has_referrers=True, cascades=True, needs_children=False),
        child_goes=True,
        needs_children=False,
        nowhere=200,
        size_x=200,
        has_referrers=True,
    ),
    "crane": Known(replace(_OTHERS, answers_by_tag=True), tags_go=False, emptied=None, mounts=False),
    "zot": Known(
        replace(_OTHERS, has_referrers=True, needs_children=False),
        needs_children=False,
        has_referrers=True,
        keeps_sha512=False,
        mounts=False,
        retypes=False,
        outlives_tag=False,
    ),
}


@pytest.fixture(scope="module", params=KNOWN)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def known(kind: str) -> Known:
    return KNOWN[kind]


@pytest.fixture(scope="module")
def real(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with KINDS[kind].start(tmp_path_factory.mktemp("registry")) as server:
        yield server.url


@pytest.fixture
def pusher(real: str) -> Iterator[Pusher]:
    with Pusher(real) as found:
        yield found


@pytest.fixture(params=["real", "fake"])
def either(request: pytest.FixtureRequest, known: Known) -> Iterator[Pusher]:
    """The real server, and the fake that stands for it."""
    if request.param == "real":
        with Pusher(request.getfixturevalue("real")) as found:
            yield found
        return
    with MemoryServer(known.fake) as server, Pusher(server.url) as found:
        yield found


@pytest.fixture
def name() -> str:
    """A repository for each test."""
    return f"shop/{secrets.token_hex(4)}"


def status_of(pusher: Pusher, method: str, path: str) -> int:
    return pusher.request(method, path, headers={"Accept": ACCEPT})[0]


def listed(pusher: Pusher, name: str) -> object:
    return json.loads(pusher.request("GET", f"/v2/{name}/tags/list")[2])["tags"]


def test_a_tag_by_its_name(either: Pusher, known: Known, name: str) -> None:
    image = either.push_image(name, "1.0", "1.1", seed="one")
    assert status_of(either, "DELETE", f"/v2/{name}/manifests/1.0") == known.by_tag
    assert set(either.tags(name)) == ({"1.1"} if known.by_tag == 202 else {"1.0", "1.1"})
    assert either.is_whole(name, image["digest"])


def test_a_digest_and_its_tags(either: Pusher, known: Known, name: str) -> None:
    image, other = either.push_image(name, "1.0", seed="one"), either.push_image(name, "2.0", seed="two")
    assert status_of(either, "DELETE", f"/v2/{name}/manifests/{image['digest']}") == 202
    assert not either.has(name, image["digest"])
    assert either.has(name, "1.0") == (not known.tags_go)
    assert either.tags(name)["2.0"] == other["digest"]
    assert status_of(either, "DELETE", f"/v2/{name}/manifests/{image['digest']}") == 404


def test_what_was_deleted_comes_back_by_the_same_bytes(either: Pusher, known: Known, name: str) -> None:
    child = either.push_image(name, seed="child")
    index = either.push_index(name, "1.0", children=[child])
    raws = [(either.raw(name, index["digest"]), INDEX), (either.raw(name, child["digest"]), IMAGE)]
    assert status_of(either, "DELETE", f"/v2/{name}/manifests/{index['digest']}") == 202
    status = status_of(either, "DELETE", f"/v2/{name}/manifests/{child['digest']}")
    assert status == (404 if known.child_goes else 202)
    for raw, media_type in reversed(raws):
        either.push_manifest(name, None, raw, media_type)
    either.push_manifest(name, "1.0", *raws[0])
    assert either.tags(name) == {"1.0": index["digest"]}
    assert either.is_whole(name, index["digest"])


def test_a_child_under_its_index_and_an_index_without_its_child(either: Pusher, known: Known, name: str) -> None:
    child = either.push_image(name, seed="child")
    index = either.push_index(name, "1.0", children=[child])
    raw = either.raw(name, index["digest"])
    assert status_of(either, "DELETE", f"/v2/{name}/manifests/{child['digest']}") == 202
    assert either.has(name, "1.0")
    assert not either.is_whole(name, "1.0")
    status = either.request("PUT", f"/v2/{name}/manifests/2.0", raw, {"Content-Type": INDEX})[0]
    assert status in ((400, 404) if known.needs_children else (201,))


def test_a_layer_as_a_manifest(either: Pusher, known: Known, name: str) -> None:
    either.push_image(name, "1.0", seed=name)
    layer = json.loads(either.raw(name, "1.0"))["layers"][0]["digest"]
    assert status_of(either, "DELETE", f"/v2/{name}/manifests/{layer}") == known.layer_as_manifest
    assert either.is_whole(name, "1.0") == (known.layer_as_manifest == 404)


def test_the_list_of_tags(pusher: Pusher, known: Known, name: str) -> None:
    image = pusher.push_image(name, "1.0", "1.1", seed="one")
    assert status_of(pusher, "GET", f"/v2/{name}/tags/list?n=x") == known.size_x
    page = json.loads(pusher.request("GET", f"/v2/{name}/tags/list?n=1")[2])["tags"]
    assert len(page) == (1 if known.pages else 2)
    assert status_of(pusher, "GET", "/v2/no/body/tags/list") == known.nowhere
    for reference in ("1.0", "1.1") if known.by_tag == 202 else (image["digest"],):
        assert status_of(pusher, "DELETE", f"/v2/{name}/manifests/{reference}") == 202
    found = listed(pusher, name)
    assert (tuple(found) if isinstance(found, list) else found) == known.emptied


def test_referrers(pusher: Pusher, known: Known, name: str) -> None:
    subject = pusher.push_image(name, "1.0", seed="one")
    referrer = pusher.push_image(name, seed="referrer", subject=subject)
    status, headers, body = pusher.request("GET", f"/v2/{name}/referrers/{subject['digest']}")
    if not known.has_referrers:
        assert status == 404
        return
    assert (status, headers["content-type"]) == (200, INDEX)
    assert [found["digest"] for found in json.loads(body)["manifests"]] == [referrer["digest"]]


def test_another_algorithm(pusher: Pusher, known: Known, name: str) -> None:
    pusher.push_image(name, "1.0", seed="one")
    raw = pusher.raw(name, "1.0") + b"\n"
    digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    status = pusher.request("PUT", f"/v2/{name}/manifests/{digest}", raw, {"Content-Type": IMAGE})[0]
    is_kept = (
        status == 201 and pusher.request("GET", f"/v2/{name}/manifests/{digest}", headers={"Accept": IMAGE})[2] == raw
    )
    assert is_kept == known.keeps_sha512


def test_a_mount(pusher: Pusher, known: Known, name: str) -> None:
    digest = pusher.push_blob(name, name.encode())
    status = status_of(pusher, "POST", f"/v2/{name}-new/blobs/uploads/?mount={digest}&from={name}")
    assert status == (201 if known.mounts else 202)


def test_a_tag_that_moves_from_an_image_to_an_index(pusher: Pusher, known: Known, name: str) -> None:
    image = pusher.push_image(name, "1.0", seed="one")
    index = pusher.push_index(name, children=[image])
    raw = pusher.raw(name, index["digest"])
    status = pusher.request("PUT", f"/v2/{name}/manifests/1.0", raw, {"Content-Type": INDEX})[0]
    assert (status == 201) == known.retypes
    assert pusher.tags(name) == {"1.0": (index if known.retypes else image)["digest"]}


@pytest.mark.parametrize("first_by_digest", [False, True])
def test_what_an_index_lists_and_its_tag_moves(
    pusher: Pusher, known: Known, name: str, *, first_by_digest: bool
) -> None:
    """An undo puts what an index lists by its digest first."""
    new = pusher.push_image(name, seed="new")
    raw = pusher.raw(name, new["digest"]).replace(b'"schemaVersion": 2', b'"schemaVersion": 2, "annotations": {}')
    child = {**new, "digest": Pusher.digest_of(raw), "size": len(raw)}
    for reference in (child["digest"], "1.0")[not first_by_digest :]:
        pusher.push_manifest(name, reference, raw, child["mediaType"])
    pusher.push_index(name, "2.0", children=[child])
    assert pusher.is_whole(name, "2.0")
    pusher.push_image(name, "1.0", seed="new")
    stays = first_by_digest or known.outlives_tag
    assert status_of(pusher, "GET", f"/v2/{name}/manifests/{child['digest']}") == (200 if stays else 404)
    assert pusher.is_whole(name, "2.0") == stays


def test_the_documented_versions_are_those_that_run() -> None:
    built = {line.split()[0]: line.split()[2] for line in BUILT.read_text().splitlines() if len(line.split()) > 3}
    rows = [line for line in REGISTRIES.read_text().splitlines() if line.startswith("| ")]
    for program, start in (
        ("registry-3", "| distribution 3 | "),
        ("registry-3.1.1", "| distribution 3 on S3 | "),
        ("olareg", "| olareg | "),
        ("crane", "| go-containerregistry's registry | "),
        ("zot", "| zot | "),
    ):
        assert any(row.startswith(f"{start}{built[program].removeprefix('v')} |") for row in rows), program
    said = subprocess.run(
        [find_program("docker-registry", "registry"), "--version"], check=True, capture_output=True, text=True
    ).stdout
    (version,) = re.findall(r"(2\.8\.\d+)", said)[:1]
    assert any(row.startswith("| distribution 2.8") and f"| {version} |" in row for row in rows)

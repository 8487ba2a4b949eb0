"""Referrers and digests of other algorithms come back as they were, or the undo says that they did not."""

from __future__ import annotations

import hashlib
import json

import pytest

from images import IMAGE, Pusher
from program import Program
from servers import DistributionServer

pytestmark = pytest.mark.every_server


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path_factory: pytest.TempPathFactory) -> Program:
    return Program(registry_server.url, tmp_path_factory.mktemp("here"))


@pytest.mark.only_on("olareg", "zot", why="the others have no referrers API")
def test_every_referrer_of_one_subject_is_listed_again(pusher: Pusher, program: Program) -> None:
    subject = pusher.push_image("shop/web", "1.0", seed="one")
    pusher.push_image("shop/web", "2.0", seed="two")
    referrers = {pusher.push_image("shop/web", seed=str(n), subject=subject)["digest"] for n in range(40)}
    path = f"/v2/shop/web/referrers/{subject['digest']}"
    assert program.run("remove-tags", "-r", "shop/web", "-t", "1.0").returncode == 0
    assert not pusher.has("shop/web", subject["digest"])
    done = program.run("undo", "-y")
    assert done.returncode == 0, done.stderr
    listed = json.loads(pusher.request("GET", path)[2])["manifests"]
    assert {found["digest"] for found in listed} == referrers
    assert all(pusher.is_whole("shop/web", digest) for digest in referrers)


@pytest.mark.only_on("olareg", why="the others keep no sha512 digest that a tag names")
def test_a_tag_on_a_sha512_digest_comes_back_on_it(pusher: Pusher, program: Program) -> None:
    pusher.push_image("shop/web", "2.0", seed="one")
    raw = pusher.raw("shop/web", "2.0") + b"\n"
    digest = f"sha512:{hashlib.sha512(raw).hexdigest()}"
    place = f"/v2/shop/web/manifests/1.0?digest={digest}"
    assert pusher.request("PUT", place, raw, {"Content-Type": IMAGE})[0] == 201
    assert pusher.tags("shop/web")["1.0"] == digest
    assert program.run("remove-tags", "-r", "shop/web", "-t", "1.0").returncode == 0
    assert set(pusher.tags("shop/web")) == {"2.0"}
    done = program.run("undo", "-y")
    assert done.returncode == 0, done.stderr
    assert pusher.tags("shop/web")["1.0"] == digest
    assert pusher.raw("shop/web", digest) == raw

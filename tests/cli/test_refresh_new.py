"""`refresh --new` reads the lists, and resolves only what the cache does not have."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers.http import Answer, Proxy
from servers.memory import MemoryServer


@pytest.fixture
def server() -> Iterator[MemoryServer]:
    with MemoryServer() as server:
        yield server


@pytest.fixture
def proxy(server: MemoryServer) -> Iterator[Proxy]:
    with Proxy(server.port) as proxy:
        yield proxy


@pytest.fixture
def pusher(server: MemoryServer) -> Iterator[Pusher]:
    with Pusher(server.url) as pusher:
        for name in ("a", "b/c"):
            for tag in ("1.0", "1.1"):
                pusher.push_image(name, tag, seed=f"{name} {tag}")
        yield pusher


@pytest.fixture
def program(proxy: Proxy, pusher: Pusher, tmp_path: Path) -> Program:
    program = Program(proxy.url, tmp_path)
    assert program.run("-c", "cache.json", "refresh").returncode == 0
    return program


def _cache(program: Program) -> Path:
    return program.folder / "cache.json"


def _tags(program: Program) -> dict[str, dict[str, str]]:
    found: dict[str, dict[str, str]] = json.loads(_cache(program).read_text())
    return found


def test_only_new_tags_are_resolved(program: Program, proxy: Proxy, pusher: Pusher) -> None:
    before = _tags(program)
    new = pusher.push_image("a", "1.2", seed="new")["digest"]
    pusher.push_image("a", "1.0", seed="moved")
    pusher.request("DELETE", f"/v2/b/c/manifests/{before['b/c']['1.1']}")
    alone = pusher.push_image("d", "1", seed="alone")["digest"]
    os.utime(_cache(program), (1_700_000_000, 1_700_000_000))
    proxy.requests.clear()
    done = program.run("-c", "cache.json", "refresh", "--new")
    assert done.returncode == 0
    assert "3 repositories, 5 tags, 5 digests" in done.stdout
    assert "tags: 2 new, 1 gone\n" in done.stdout
    assert "tags that were moved keep their old digest" in done.stderr
    asked = {one.path for one in proxy.requests if "/manifests/" in one.path}
    gone = "/v2/b/c/manifests/1.1"  # a list may omit what is there
    assert asked == {"/v2/a/manifests/1.2", "/v2/d/manifests/1", gone}
    assert _tags(program) == {"a": {**before["a"], "1.2": new}, "b/c": {"1.0": before["b/c"]["1.0"]}, "d": {"1": alone}}
    assert _cache(program).stat().st_mtime == 1_700_000_000, "its age is that of the oldest tags"


def test_nothing_new_is_no_request_for_a_tag(program: Program, proxy: Proxy) -> None:
    proxy.requests.clear()
    done = program.run("-c", "cache.json", "refresh", "--new", "--format", "json")
    assert not [one for one in proxy.requests if "/manifests/" in one.path]
    (found,) = json.loads(done.stdout)
    assert (found["tags"], found["new"], found["gone"], found["moved"]) == (4, 0, 0, None)
    assert "no tag is new or gone" in program.run("-c", "cache.json", "refresh", "--new").stdout


def test_one_repository_leaves_the_others_as_they_are(program: Program, proxy: Proxy, pusher: Pusher) -> None:
    pusher.push_image("a", "1.2", seed="new")
    pusher.push_image("b/c", "1.2", seed="new")
    proxy.requests.clear()
    assert "1 new, 0 gone" in program.run("-c", "cache.json", "refresh", "--new", "b/c").stdout
    assert not [one for one in proxy.requests if one.path.startswith("/v2/a/")]
    assert {name: sorted(tags) for name, tags in _tags(program).items()} == {
        "a": ["1.0", "1.1"],
        "b/c": ["1.0", "1.1", "1.2"],
    }


def test_a_repository_that_fails_stays_as_it_was(program: Program, proxy: Proxy, pusher: Pusher) -> None:
    before = _tags(program)
    pusher.push_image("b/c", "1.2", seed="new")
    proxy.before = lambda request: Answer(403, b"{}") if request.path == "/v2/a/tags/list" else None
    done = program.run("-c", "cache.json", "refresh", "--new")
    assert done.returncode == 3
    assert _tags(program)["a"] == before["a"]
    assert "1.2" in _tags(program)["b/c"]


def test_the_records_of_when_tags_came_are_left_alone(program: Program, pusher: Pusher) -> None:
    def records() -> list[bytes]:
        return [path.read_bytes() for path in sorted((program.state / "sightings").iterdir())]

    before = records()
    pusher.push_image("a", "1.2", seed="new")
    assert program.run("-c", "cache.json", "refresh", "--new").returncode == 0
    assert records() == before


def test_without_a_cache_everything_is_read(program: Program, proxy: Proxy) -> None:
    _cache(program).unlink()
    proxy.requests.clear()
    done = program.run("-c", "cache.json", "refresh", "--new")
    assert "keep their old digest" not in done.stderr
    assert len([one for one in proxy.requests if "/manifests/" in one.path]) >= 4
    assert _tags(program)

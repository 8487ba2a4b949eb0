"""The search of `dregutil serve` over a real registry: an image index, a signature, a digest that tags share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from images import Pusher, created
from listening import until
from program import Program
from servers import DistributionServer
from serving import Serving

CACHE = ("-c", "cache.json")
POLICY = """
version: 1
policies: [{name: releases, repositories: [shop/web], keep: {last: 1}, min_age: 1d}]
"""


def listed(program: Program, *arguments: str) -> list[dict[str, Any]]:
    done = program.run(*arguments, *CACHE, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def images(serving: Serving, query: str = "", **headers: str) -> dict[str, Any]:
    answered = serving.get(f"images?{query}", **headers)
    assert answered.status == 200, answered
    found: dict[str, Any] = answered.json
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [row["image"] for row in found["rows"]]


@pytest.fixture
def filled(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Program:
    labels = {"config": {"Labels": {"team": "web", "<script>": "\u202e"}}}
    old, new = {**created(90), **labels}, {**created(2), **labels}
    signed = pusher.push_image("shop/web", "1.0", seed="old", config=old)
    pusher.push_image("shop/web", "1.1", "latest", seed="new", config=new)
    pusher.push_image("shop/copy", "1.1", seed="new", config=new)
    children = [pusher.push_image("shop/multi", seed=seed, config=created(30)) for seed in ("arm", "amd")]
    pusher.push_index("shop/multi", "2.0", children=children)
    signature = f"{signed['digest'].replace(':', '-')}.sig"
    pusher.push_image("shop/web", signature, seed="signature", subject=signed)
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


def test_the_search_shows_what_ls_and_du_show(filled: Program) -> None:
    with Serving(filled, CACHE) as serving:
        until(lambda: serving.get("images").status == 200)
        found = images(serving, "limit=500")
        tags = {f"{one['repository']}:{one['tag']}": one for one in listed(filled, "ls")}
        weighed = (one for one in listed(filled, "du", "--by", "tag") if "tag" in one)
        sizes = {f"{one['repository']}:{one['tag']}": one for one in weighed}
        assert sorted(tags) == sorted(names(found))
        assert (found["total"], found["unread"]) == (len(tags), 0)
        for row in found["rows"]:
            one = tags[row["image"]]
            assert (row["digest"], row["size"]) == (one["digest"], one["size"])
            assert row["platforms"] == one["platforms"]
            assert row["frees"] == sizes[row["image"]]["unique"]
            assert (row["verdict"], row["because"], row["held"]) == (None, None, False)
        assert found["command"].startswith("dregutil ls --sort name")
        assert serving.get("session").json["images"] == found["total"]

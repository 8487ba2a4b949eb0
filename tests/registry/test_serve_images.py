"""The search of `dregutil serve` over a real registry: an image index, a signature, a digest that tags share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

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


def test_each_kind_of_search(filled: Program, pusher: Pusher) -> None:
    with Serving(filled, CACHE) as serving:
        until(lambda: serving.get("images").status == 200)
        web = ["shop/web:1.0", "shop/web:1.1", "shop/web:latest"]
        assert names(images(serving, "q=web:%20LATEST")) == ["shop/web:latest"]
        assert names(images(serving, "q=label:team=web&sort=repository&desc=1")) == [*reversed(["shop/copy:1.1", *web])]
        assert names(images(serving, "q=label:%3Cscript%3E&limit=1&offset=1")) == ["shop/web:1.0"]
        assert names(images(serving, "q=older:60d")) == ["shop/web:1.0"]
        digest = pusher.digest_of(pusher.raw("shop/copy", "1.1"))
        assert names(images(serving, f"q={digest[:20]}")) == ["shop/copy:1.1", "shop/web:1.1", "shop/web:latest"]
        assert names(images(serving, "q=base:shop/copy:1.1")) == ["shop/copy:1.1", "shop/web:1.1", "shop/web:latest"]
        layer = json.loads(pusher.raw("shop/web", "1.0"))["layers"][0]["digest"]
        found = images(serving, f"q=layer:{layer}")
        assert (names(found), found["command"]) == (["shop/web:1.0"], f"dregutil find {layer}{named(filled)}")
        held = {"image": "shop/web:latest", "days": 3, "because": "a release"}
        assert serving.job(serving.post("holds", held))["state"] == "done"
        until(lambda: names(images(serving, "q=is:held")) == ["shop/web:latest"])
        for wrong in (
            "q=older:soon",
            "q=digest:xyz",
            "q=%22",
            "q=base:no/such:1",
            "sort=colour",
            "limit=501",
            "offset=-1",
        ):
            answered = serving.get(f"images?{wrong}")
            assert answered.status == 400, wrong
            assert answered.json["advice"], wrong


def test_what_happened_to_an_image_is_told_in_order(filled: Program, pusher: Pusher) -> None:
    digest = pusher.digest_of(pusher.raw("shop/web", "1.0"))
    layer = json.loads(pusher.raw("shop/web", "1.0"))["layers"][0]["digest"]
    with Serving(filled, CACHE) as serving:
        until(lambda: serving.get("images").status == 200)
        before = serving.get("timeline?of=shop/web:1.0").json
        assert (before["kind"], before["digest"], before["undo"]) == ("tag", digest, None)
        assert [one["tag"] for one in before["holders"]] == ["1.0"]
        assert serving.get(f"timeline?of={layer}").json["kind"] == "layer"
        assert serving.get("timeline?of=no/such:1.0").status == 404
        assert serving.get("timeline?of=-x").status == 400
        listed(filled, "hold", "shop/web:1.1", "--because", "a \u202e <script>")
        held = serving.get("timeline?of=shop/web:1.1").json
        assert [one["what"] for one in held["events"]][-1] == "held"
        assert "\u202e" not in json.dumps(held, ensure_ascii=False)
        assert filled.run("remove-tags", "-r", "shop/web", "-t", "1.0", "-y", *CACHE).returncode == 0
        (run,) = filled.history()
        assert serving.job(serving.post("refresh"))["state"] == "done"
        until(lambda: "shop/web:1.0" not in names(images(serving)))
        removed = serving.get("timeline?of=shop/web:1.0").json
        assert [one["what"] for one in removed["events"]][-2:] == ["removed", "gone"]
        assert (removed["undo"]["run"], removed["undo"]["image"]) == (run["run"], "shop/web:1.0")
        of_digest = serving.get(f"timeline?of={digest}").json
        assert (of_digest["kind"], [one["what"] for one in of_digest["events"]]) == ("digest", ["removed"])
        assert filled.run("undo", run["run"], "shop/web:1.0", "-y", *CACHE).returncode == 0
        assert serving.job(serving.post("refresh"))["state"] == "done"
        until(lambda: "shop/web:1.0" in names(images(serving)))
        back = serving.get("timeline?of=shop/web:1.0").json
        assert [one["what"] for one in back["events"] if one["run"]] == ["removed", "held", "undone"]
        assert back["undo"] is None


def test_why_an_image_stays_is_asked_in_a_process_of_its_own(filled: Program) -> None:
    with Serving(filled, (*CACHE, "-f", "policy.yml")) as serving:
        serving.report()
        expected = listed(filled, "why", "shop/web:1.0", "-f", "policy.yml")
        rows = serving.get("why?image=shop/web:1.0").json["rows"]
        for one in (*rows, *expected):
            one["text"] = one["text"].partition("known to the records for")[0]  # the seconds pass
        assert rows == expected
        assert serving.get("why?image=no/such:1.0").status == 404
        held = {"image": "shop/web:latest", "days": 3, "because": "a release"}
        assert serving.job(serving.post("holds", held))["state"] == "done"
        until(lambda: names(images(serving, "q=is:held")) == ["shop/web:latest"])
        for wrong in ("--help", "-f", "shop/web", "a b"):
            assert serving.get(f"why?image={quote(wrong)}").status == 400
    with Serving(filled, CACHE) as serving:
        assert serving.get("why?image=shop/web:1.0").status == 404


def named(program: Program) -> str:
    return program.named


def test_tonights_plan_gives_verdicts(filled: Program) -> None:
    with Serving(filled, (*CACHE, "-f", "policy.yml")) as serving:
        until(lambda: serving.get("images").status == 200 and images(serving, "q=is:remove")["total"])
        rows = {row["image"]: row for row in images(serving)["rows"]}
        removed = rows["shop/web:1.0"]
        assert (removed["verdict"], removed["because"]) == ("REMOVE", "releases: beyond last: 1")
        assert (rows["shop/web:1.1"]["verdict"], rows["shop/web:1.1"]["because"]) == ("KEEP", None)
        assert rows["shop/copy:1.1"]["verdict"] is None, "no policy is for it"
        assert "shop/web:latest" in names(images(serving, "q=is:keep"))

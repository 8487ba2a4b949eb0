"""`inspect` and `find`: the contents of an image, and the tags that use a digest."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.report.units import size_text
from images import Pusher
from program import Program
from servers import DistributionServer
from servers.memory import MemoryServer, Switches

BASE = [b"base one", b"base two"]
CONFIG = {"created": "2025-03-01T10:00:00Z", "config": {"Labels": {"team": "web"}}}


@pytest.fixture
def shop(pusher: Pusher) -> dict[str, Any]:
    amd = pusher.push_image("shop/web", seed="amd", layers=BASE, config=CONFIG)
    arm = pusher.push_image("shop/web", seed="arm", layers=BASE, config={"architecture": "arm64"})
    multi = pusher.push_index("shop/web", "1.0", "latest", children=[amd, arm])
    pusher.push_image("shop/web", f"sha256-{multi['digest'][7:]}.sig", seed="signature")
    pusher.push_image("base", "1", seed="base", layers=BASE)
    return {"amd": amd["digest"], "arm": arm["digest"], "multi": multi["digest"]}


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def objects(program: Program, *arguments: str) -> list[dict[str, Any]]:
    done = program.run(*arguments, "--format", "json")
    assert done.returncode == 0, done.stderr
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


def test_an_index_shows_its_platforms_and_what_refers_to_it(shop: dict[str, Any], program: Program) -> None:
    (found,) = objects(program, "inspect", "shop/web:1.0")
    assert found["digest"] == shop["multi"]
    assert found["platforms"] == ["linux/amd64", "linux/arm64"]
    assert [child["digest"] for child in found["children"]] == [shop["amd"], shop["arm"]]
    assert found["created"] == "2025-03-01T10:00:00+00:00"
    assert [referrer["tag"] for referrer in found["referrers"]] == [f"sha256-{shop['multi'][7:]}.sig"]
    text = program.run("inspect", "shop/web:1.0").stdout
    assert "linux/arm64" in text
    assert "created  2025-03-01 10:00:00 UTC" in text


def test_an_image_shows_layers_labels_and_config(shop: dict[str, Any], program: Program) -> None:
    (found,) = objects(program, "inspect", f"shop/web@{shop['amd']}")
    assert [layer["size"] for layer in found["layers"]] == [len(layer) for layer in BASE]
    assert found["labels"] == {"team": "web"}
    assert found["size"] > sum(len(layer) for layer in BASE)
    text = program.run("inspect", f"shop/web@{shop['amd']}").stdout
    assert [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")] == [
        "layers:",
        "labels:",
    ]


def test_latest_is_the_default_tag(shop: dict[str, Any], program: Program) -> None:
    assert objects(program, "inspect", "shop/web")[0]["digest"] == shop["multi"]


def test_tags_on_the_digest_are_those_in_the_cache_that_still_point_to_it(
    shop: dict[str, Any], program: Program, pusher: Pusher
) -> None:
    program.run("-c", "cache.json", "list-repo-names")
    assert objects(program, "-c", "cache.json", "inspect", "shop/web:1.0")[0]["tags"] == ["1.0", "latest"]
    pusher.push_image("shop/web", "latest", seed="moved")
    assert objects(program, "-c", "cache.json", "inspect", "shop/web:1.0")[0]["tags"] == ["1.0"]


def test_an_image_that_does_not_exist(shop: dict[str, Any], program: Program) -> None:
    done = program.run("inspect", "shop/web:9")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no shop/web:9 (tags: latest, 1.0)" in done.stderr


@pytest.mark.parametrize("command", ["inspect", "find"])
def test_a_missing_image_is_reported_with_what_exists(command: str, shop: dict[str, Any], program: Program) -> None:
    told = {
        "base": "there is no base:latest (tags: 1)",
        "shop/wbe:1.0": "there is no repository shop/wbe with tags (did you mean shop/web",
        "other.example.com/shop/web:1.0": "other.example.com is another registry than -reg names",
    }
    for image, text in told.items():
        done = program.run(command, image)
        assert (done.returncode, done.stdout) == (1, "")
        assert text in done.stderr


def test_a_shared_layer_counts_once_in_a_plan_too(shop: dict[str, Any], pusher: Pusher, program: Program) -> None:
    layers = [b"0" * 100_000]
    children = [pusher.push_image("r", seed=seed, layers=layers) for seed in ("amd", "arm")]
    pusher.push_index("r", "1", children=children)
    (found,) = objects(program, "inspect", "r:1")
    assert 100_000 < found["size"] < 200_000
    shown = program.run("remove-tags", "-r", "r", "-t", "1", "--dry-run").stdout
    (row,) = [line for line in shown.splitlines() if line.startswith("REMOVE")]
    assert f"  {size_text(found['size'])}  " in row


def test_an_implausible_date_is_shown_as_unknown(program: Program, pusher: Pusher) -> None:
    pusher.push_image("r", "1", seed="one", config={"created": "1970-01-01T00:00:00Z"})
    assert "1970-01-01 00:00:00 UTC (taken as unknown)" in program.run("inspect", "r:1").stdout


@pytest.mark.parametrize("known", [False, True])
def test_a_missing_child_is_marked_and_the_rest_is_shown(
    shop: dict[str, Any], program: Program, pusher: Pusher, known: bool
) -> None:
    """Even if the content of the child is known from before: the registry is asked whether it exists now."""
    cached = ("-c", "cache.json")
    if known:
        assert program.run(*cached, "inspect", "shop/web:1.0").returncode == 0
    assert pusher.request("DELETE", f"/v2/shop/web/manifests/{shop['arm']}")[0] == 202
    done = program.run(*cached, "inspect", "shop/web:1.0")
    assert done.returncode == 3
    assert f"missing in the registry: {shop['arm'][:19]}" in done.stderr
    rows = [line.split() for line in done.stdout.splitlines() if "sha256:" in line]
    assert [shop["arm"], "missing"] == rows[2][1:]
    assert rows[1][:2] == ["linux/amd64", shop["amd"]]
    (found,) = json.loads(program.run(*cached, "inspect", "shop/web:1.0", "--format", "json").stdout)
    assert [child["digest"] for child in found["children"]] == [shop["amd"]]
    assert found["missing"] == [{"digest": shop["arm"], "platform": None}]


def test_a_nested_index_whose_children_are_all_missing(program: Program, pusher: Pusher) -> None:
    image = pusher.push_image("r", seed="deep")
    pusher.push_index("r", "1.0", children=[pusher.push_index("r", children=[image])])
    assert pusher.request("DELETE", f"/v2/r/manifests/{image['digest']}")[0] == 202
    done = program.run("inspect", "r:1.0")
    assert (done.returncode, f"{image['digest']}  missing" in done.stdout) == (3, True), done.stderr


@pytest.fixture
def modern() -> Iterator[MemoryServer]:
    with MemoryServer(Switches(has_referrers=True)) as server:
        yield server


def test_referrers_that_the_server_lists(modern: MemoryServer, tmp_path: Path) -> None:
    with Pusher(modern.url) as pusher:
        image = pusher.push_image("r", "1.0", seed="one")
        referrer = pusher.push_image("r", seed="sbom", subject=image)
    (found,) = objects(Program(modern.url, tmp_path), "inspect", "r:1.0")
    assert [one["digest"] for one in found["referrers"]] == [referrer["digest"]]


def uses(program: Program, what: str) -> list[tuple[str, str, str]]:
    return [(found["repository"], found["tag"], found["how"]) for found in objects(program, "find", what)]


def layer_of(pusher: Pusher, raw: bytes) -> str:
    return str(pusher.digest_of(raw))


def test_a_layer_is_found_in_images_and_indexes(shop: dict[str, Any], program: Program, pusher: Pusher) -> None:
    wanted = [
        ("base", "1", "layer"),
        ("shop/web", "1.0", "layer of a child"),
        ("shop/web", "latest", "layer of a child"),
    ]
    layer = layer_of(pusher, BASE[0])
    assert uses(program, layer) == wanted
    assert uses(program, layer[:15]) == wanted
    assert uses(program, layer[7:15]) == wanted
    assert program.run("find", layer).stdout.splitlines()[0].split()[-1] == "layer"


def test_a_child_and_a_config_are_found(shop: dict[str, Any], program: Program, pusher: Pusher) -> None:
    assert uses(program, shop["arm"]) == [("shop/web", "1.0", "child"), ("shop/web", "latest", "child")]
    config = json.loads(pusher.raw("base", "1"))["config"]["digest"]
    assert uses(program, config) == [("base", "1", "config")]


def test_a_tagged_digest_is_found_with_its_signature(shop: dict[str, Any], program: Program) -> None:
    assert uses(program, shop["multi"]) == [
        ("shop/web", "1.0", "tag"),
        ("shop/web", "latest", "tag"),
        ("shop/web", f"sha256-{shop['multi'][7:]}.sig", "refers to it"),
    ]


def test_a_digest_that_nothing_uses_is_not_found(shop: dict[str, Any], program: Program, tmp_path: Path) -> None:
    with MemoryServer() as other, Pusher(other.url) as pusher:
        pusher.push_image("elsewhere", "1", seed="other", layers=[b"of another registry"])
        cache = ("-c", "other.json")
        assert Program(other.url, tmp_path).run(*cache, "du").returncode == 0
    done = program.run("-c", "cache.json", "find", layer_of(pusher, b"of another registry"))
    assert (done.returncode, done.stdout) == (1, "")
    assert "no tag uses sha256:" in done.stderr


def test_an_ambiguous_prefix_of_a_digest_is_a_usage_error(tmp_path: Path) -> None:
    digests = [f"sha256:{'ab' * 31}{end}" for end in ("00", "01")]
    (tmp_path / "cache.json").write_text(json.dumps({"r": dict(zip("12", digests, strict=True))}))
    program = Program("http://127.0.0.1:9", tmp_path)
    done = program.run("-c", "cache.json", "find", "abab")
    assert done.returncode == 2
    assert "abab is the beginning of 2 digests" in done.stderr
    assert program.run("-c", "cache.json", "find", digests[1]).stdout == f"r  2  {digests[1]}\n"

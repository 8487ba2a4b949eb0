"""`undo --list` shows what can still come back: by the records, or as the registry answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Proxy, Request


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def ok(program: Program, *arguments: str) -> subprocess.CompletedProcess[str]:
    done = program.run(*arguments)
    assert done.returncode == 0, done.stderr
    return done


def listed(program: Program, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ok(program, "undo", "--list", "--format", "json", *arguments).stdout)
    return found


def images(program: Program, *arguments: str) -> list[str]:
    return [one["image"] for one in listed(program, *arguments)]


def shop(pusher: Pusher) -> None:
    child = pusher.push_image("web", seed="child")
    index = pusher.push_index("web", "1.0", "1.0.0", children=[child])
    pusher.push_image("web", f"sha256-{index['digest'][7:]}.sig", seed="signature")
    pusher.push_image("web", "1.1", seed="1.1")
    pusher.push_image("api", "1.0", seed="api")
    for name in ("web", "api"):
        pusher.push_image(name, "2.0", seed=f"{name} stays")


def test_a_row_for_each_removed_tag_of_the_newest_run_first(pusher: Pusher, program: Program) -> None:
    """Children and signatures have none: they come back with their images."""
    shop(pusher)
    before = pusher.tags("web")
    ok(program, "remove-tags", "-r", "web", "-t", "<1.1")
    ok(program, "remove-tags", "-r", "web", "api", "-t", "<2")
    first, second = (path.name for path in program.runs)
    found = listed(program)
    assert [(one["image"], one["run"]) for one in found] == [
        ("api:1.0", second),
        ("web:1.1", second),
        ("web:1.0", first),
        ("web:1.0.0", first),
    ]
    assert found[2]["digest"] == before["1.0"]
    assert all(one["size"] > 0 and one["can_come_back"] is None for one in found)
    assert images(program, "api") == ["api:1.0"]
    assert images(program, "w*") == ["web:1.1", "web:1.0", "web:1.0.0"]
    assert images(program, "web:1.0.0", "api") == ["api:1.0", "web:1.0.0"]
    assert images(program, f"web@{before['1.0']}") == ["web:1.0", "web:1.0.0"]
    assert images(program, first) == ["web:1.0", "web:1.0.0"]


def test_what_was_put_back_is_not_listed(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    ok(program, "remove-tags", "-r", "web", "api", "-t", "<2")
    ok(program, "undo", "-y", "web:1.0")
    assert images(program) == ["api:1.0", "web:1.0.0", "web:1.1"]
    ok(program, "undo", "-y")
    assert images(program) == []
    assert "no recorded removal" in ok(program, "undo", "--list").stderr
    ok(program, "hold", "--end", "web", "api")
    ok(program, "remove-tags", "-r", "web", "-t", "1.1")
    assert [(one["image"], one["run"]) for one in listed(program)] == [("web:1.1", program.runs[-1].name)]


def test_by_the_records_it_asks_the_registry_nothing(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    shop(pusher)
    asked: list[str] = []

    def note(request: Request) -> None:
        asked.append(f"{request.method} {request.path}")

    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        ok(program, "remove-tags", "-r", "web", "api", "-t", "<2")
        proxy.before = note
        done = ok(program, "undo", "--list")
        assert asked == []
        assert "until the registry collects its garbage" in done.stderr
        ok(program, "undo", "--list", "--check")
        manifests = [one for one in asked if "/manifests/" in one]
        blobs = [one for one in asked if "/blobs/" in one]
        lists = [one for one in asked if one.endswith("/tags/list")]
        assert (len(lists), len(manifests), len(blobs)) == (2, 5, 8)
        assert all(one.startswith(("GET", "HEAD")) for one in asked)


def test_with_check_it_says_what_the_registry_still_has(tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "registry") as server, Pusher(server.url) as pusher:
        program = Program(server.url, tmp_path)
        shop(pusher)
        raw = pusher.raw("api", "1.0")
        ok(program, "remove-tags", "-r", "web", "api", "-t", "<2")
        found = {one["image"]: (one["can_come_back"], one["why"]) for one in listed(program, "--check")}
        assert found == dict.fromkeys(("api:1.0", "web:1.0", "web:1.0.0", "web:1.1"), (True, ""))
        pusher.push_manifest("api", "1.0", raw, json.loads(raw)["mediaType"])
        pusher.push_image("web", "1.1", seed="another 1.1")
        assert "api:1.0" in images(program), "only the registry knows what others pushed"
        checked = {one["image"]: one for one in listed(program, "--check")}
        assert set(checked) == {"web:1.0", "web:1.0.0", "web:1.1"}
        assert checked["web:1.1"]["can_come_back"] is False
        assert checked["web:1.1"]["why"] == "the tag points to another digest now"
        server.garbage_collect()
        gone = {one["image"]: one for one in listed(program, "--check")}
        assert gone["web:1.0"]["can_come_back"] is False
        assert "cannot come back" in gone["web:1.0"]["why"]
        shown = ok(program, "undo", "--list", "--check")
        assert "0 images of 3 can be put back now" in shown.stderr
        assert "no: its child" in shown.stdout


def test_an_undo_that_comes_too_late_says_so_in_one_line(tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "registry") as server, Pusher(server.url) as pusher:
        program = Program(server.url, tmp_path)
        for place in range(6):
            pusher.push_image("web", f"1.{place}", seed=str(place))
        pusher.push_image("web", "2.0", seed="stays")
        ok(program, "remove-tags", "-r", "web", "-t", "<2")
        server.garbage_collect()
        done = program.run("undo", "-y")
        assert done.returncode == 3
        (told,) = (line for line in done.stderr.splitlines() if "cannot come back" in line)
        assert told.startswith("cannot come back: 6 manifests (6 tags); --details lists them, the first is web sha256:")
        assert told.endswith("is gone: the registry has collected its garbage")
        details = program.run("undo", "-y", "--details")
        assert details.returncode == 3
        assert details.stderr.count("cannot come back: web sha256:") == 6


def test_check_belongs_to_list(pusher: Pusher, program: Program) -> None:
    assert program.run("undo", "--check", "-y").returncode == 2
    assert program.run("undo", "--list", "--dry-run").returncode == 2

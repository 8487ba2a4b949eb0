"""Single images come back from a run: they and what belongs to them, nothing else. The rest comes back later."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def shop(pusher: Pusher) -> dict[str, str]:
    """Two indexes that share a child, each with a signature, an image with two tags, and one that stays."""
    shared = pusher.push_image("shop/web", seed="shared")
    for place in ("0", "1"):
        own = pusher.push_image("shop/web", seed=f"own {place}")
        index = pusher.push_index("shop/web", f"1.{place}", children=[shared, own])
        pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed=f"signature {place}")
        pusher.push_image("shop/web", f"sha256-{own['digest'][7:]}.sig", seed=f"signature of a child {place}")
    pusher.push_image("shop/web", "1.5", "1.5.0", seed="two tags")
    pusher.push_image("shop/web", "2.0", seed="stays")
    return pusher.tags("shop/web")


def remove(program: Program, *selectors: str) -> None:
    done = program.run("remove-tags", "-r", "shop/web", "-t", *(selectors or ("<2",)))
    assert done.returncode == 0, done.stderr


def belonging(pusher: Pusher, before: dict[str, str], raw: bytes, tag: str) -> set[str]:
    """The tag of an index, and those of its signature and its children's."""
    children = [child["digest"] for child in json.loads(raw)["manifests"]]
    return {tag} | {f"sha256-{digest[7:]}.sig" for digest in (before[tag], *children)} & before.keys()


def test_an_index_comes_back_with_its_children_and_signatures(pusher: Pusher, program: Program) -> None:
    before = shop(pusher)
    raw = pusher.raw("shop/web", "1.0")
    remove(program)
    run = program.runs[0].name
    done = program.run("undo", "-y", "shop/web:1.0")
    assert done.returncode == 0, done.stderr
    assert f"{run}, shop/web:1.0: " in done.stderr
    assert "put back 3 tags (5 manifests)" in done.stderr
    now = pusher.tags("shop/web")
    assert set(now) == {"2.0", *belonging(pusher, before, raw, "1.0")}
    assert now.items() <= before.items()
    assert all(pusher.is_whole("shop/web", tag) for tag in now)
    rest = program.run("undo", "-y", run)
    assert rest.returncode == 0, rest.stderr
    assert pusher.tags("shop/web") == before
    assert all(pusher.is_whole("shop/web", tag) for tag in before)


def test_a_tag_comes_back_alone_and_a_digest_with_all_its_tags(pusher: Pusher, program: Program) -> None:
    before = shop(pusher)
    remove(program)
    assert program.run("undo", "-y", "shop/web:1.5").returncode == 0
    assert set(pusher.tags("shop/web")) == {"1.5", "2.0"}
    assert program.run("undo", "-y", f"shop/web@{before['1.5']}").returncode == 0
    assert set(pusher.tags("shop/web")) == {"1.5", "1.5.0", "2.0"}


def test_history_says_what_is_partly_undone(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    remove(program, "1.5", "1.5.0", "1.0")
    run = program.runs[0].name
    assert program.run("undo", "-y", run, "shop/web:1.5").returncode == 0
    assert "  partly undone  " in program.run("history").stdout
    assert [(one["undone"], one["partly_undone"]) for one in program.history()] == [(False, True), (False, False)]
    assert program.run("undo", "-y", "shop/web:1.5.0").returncode == 0
    assert "  partly undone  " in program.run("history").stdout
    done = program.run("undo", "-y")  # the run is still the newest one that is not undone
    assert done.returncode == 0, done.stderr
    assert f"{run}: " in done.stderr
    assert "put back 3 tags" in done.stderr
    assert next((one["undone"], one["partly_undone"]) for one in program.history()) == (True, False)
    assert "no recorded removal" in program.run("undo", "-y").stderr


def test_images_that_make_up_a_run_undo_it(pusher: Pusher, program: Program) -> None:
    before = shop(pusher)
    remove(program, "1.5", "1.5.0", "1.0")
    for images in (["shop/web:1.5"], ["shop/web:1.5.0", "shop/web:1.0"]):
        done = program.run("undo", "-y", *images)
        assert done.returncode == 0, done.stderr
    assert pusher.tags("shop/web") == before
    assert program.history()[0]["undone"]
    assert "no recorded removal" in program.run("undo", "-y").stderr


def test_each_image_comes_from_the_newest_run_that_removed_it(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    remove(program, "1.0")
    remove(program, "1.1")
    pusher.push_image("shop/web", "1.0", seed="a later 1.0")
    later = pusher.tags("shop/web")["1.0"]
    remove(program, "1.0")
    first, second, third = (path.name for path in program.runs)
    done = program.run("undo", "-y", "shop/web:1.0", "shop/web:1.1", "--format", "json")
    assert done.returncode == 0, done.stderr
    assert done.stderr.index(f"{third}, shop/web:1.0") < done.stderr.index(f"{second}, shop/web:1.1")
    assert first not in done.stderr
    assert {tag for entry in json.loads(done.stdout) for tag in entry["tags"]} >= {"1.0", "1.1"}
    assert pusher.tags("shop/web")["1.0"] == later


def test_an_image_that_no_run_removed(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    remove(program, "1.0")
    run = program.runs[0].name
    for arguments in (["shop/web:1.00"], [run, "shop/web:1.00"]):
        done = program.run("undo", "-y", *arguments)
        assert done.returncode == 1
        assert "shop/web:1.00 was not removed" in done.stderr
        assert "did you mean shop/web:1.0" in done.stderr
    assert program.run("undo", "-y", "shop/web").returncode == 2
    assert program.run("undo", "-y", "shop/web:1.0").returncode == 0
    assert "or it was put back" in program.run("undo", "-y", "shop/web:1.0").stderr
    again = program.run("undo", "-y", run, "shop/web:1.0")
    assert (again.returncode, again.stdout) == (0, "")
    assert "nothing to put back" in again.stderr


def test_a_dry_run_shows_only_these_images(pusher: Pusher, program: Program) -> None:
    shop(pusher)
    remove(program)
    done = program.run("undo", "-y", "shop/web:1.5", "--dry-run", "--format", "json")
    assert [(entry["tags"], entry["result"]) for entry in json.loads(done.stdout)] == [(["1.5"], "would be restored")]
    assert set(pusher.tags("shop/web")) == {"2.0"}


def test_an_undo_of_images_that_was_killed_is_continued(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        before = shop(pusher)
        raw = pusher.raw("shop/web", "1.0")
        remove(program)
        run = program.runs[0].name
        put: list[str] = []
        running: list[subprocess.Popen[str]] = []

        def note(request: Request, answer: Answer) -> Answer:
            if request.method == "PUT":
                put.append(request.reference)
            return answer

        def kill(_: Request) -> None:
            if len(put) >= 2:  # two may be answered at once
                running[0].kill()

        proxy.before, proxy.after = kill, note
        running.append(program.start("undo", "-y", "shop/web:1.0"))
        running[0].communicate(timeout=60)
        proxy.before = lambda _: None
        assert not program.history()[0]["undone"]
        told = program.run("remove-tags", "-r", "shop/web", "-t", "none").stderr
        assert f"undo {run} shop/web:1.0" in told
        assert program.run("undo", "-y", run, "shop/web:1.0").returncode == 0
        now = pusher.tags("shop/web")
        assert set(now) == {"2.0", *belonging(pusher, before, raw, "1.0")}
        assert all(pusher.is_whole("shop/web", tag) for tag in now)
        assert "was interrupted" not in program.run("remove-tags", "-r", "shop/web", "-t", "none").stderr


def test_a_part_of_a_run_that_left_tags_on_a_placeholder_is_refused(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """Clearing the placeholder away would concern the tags that are not named, too."""
    pusher.push_image("r", "1.0", "1.1", "2.0", seed="one")
    before = pusher.tags("r")
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        running: list[subprocess.Popen[str]] = []
        put: list[str] = []
        killed = threading.Event()

        def kill(request: Request) -> Answer | None:
            """One tag is put on its placeholder; the DELETE that would follow is never answered."""
            if request.method == "PUT" and request.reference in before:
                put.append(request.reference)
                if len(put) > 1:
                    killed.wait(30)
                    return LOST
            if request.method == "DELETE" and put:
                running[0].kill()
                killed.set()
                return LOST
            return None

        proxy.before = kill
        running.append(program.start("remove-tags", "-r", "r", "-t", "<2", "--untag"))
        running[0].communicate(timeout=60)
        proxy.before = lambda _: None
        run, left = program.runs[0].name, pusher.tags("r")
        (moved,) = (tag for tag in left if left[tag] != before[tag])
        done = program.run("undo", "-y", run, f"r:{moved}")
        assert done.returncode == 5, done.stderr
        assert "on a placeholder" in done.stderr
        assert pusher.tags("r") == left
        assert program.run("undo", "-y", run).returncode == 0
        assert pusher.tags("r") == before

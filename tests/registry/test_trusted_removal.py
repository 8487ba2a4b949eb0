"""Saved plans, brakes, full disks, kills and two runs at once, with the real program against the real registry."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from pathlib import Path

import pytest

from images import Pusher
from program import Program, on_terminal
from servers import DistributionServer
from servers.http import Answer, Proxy, Request

REMOVE_MOST = ("remove-tags", "-r", "shop/a", "shop/b", "-t", "<2", "--yes-remove", "180")
KILLS = 50 if "DREGUTIL_LONG" in os.environ else 3


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def fill(pusher: Pusher, number: int, repository: str = "shop/web") -> dict[str, str]:
    for tag in range(number):
        pusher.push_image(repository, f"1.{tag}", seed=f"image {tag}")
    return pusher.tags(repository)


# Saved plans


def test_a_stale_plan_leaves_what_no_longer_holds_and_what_needs_it(pusher: Pusher, program: Program) -> None:
    index = pusher.push_index("shop/web", "1.0", children=[pusher.push_image("shop/web", seed="child")])
    pusher.push_image("shop/web", f"sha256-{index['digest'][7:]}.sig", seed="signature")
    images = {tag: pusher.push_image("shop/web", tag, seed=tag) for tag in ("1.1", "1.2", "1.3", "1.4")}
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<2", "--plan-out", "plan").returncode == 0
    pusher.push_manifest("shop/web", "keep", pusher.raw("shop/web", index["digest"]), index["mediaType"])
    moved = pusher.push_image("shop/web", "1.1", seed="moved")
    pusher.push_index("shop/web", "new", children=[images["1.2"]])
    pusher.request("DELETE", f"/v2/shop/web/manifests/{images['1.3']['digest']}")
    found = program.run("apply", "plan", "-y")
    assert found.returncode == 0, found.stderr
    assert "also 'keep'" in found.stderr
    assert "'1.1' has moved" in found.stderr
    assert "part of the index" in found.stderr
    assert "what it belongs to was not removed" in found.stderr
    assert "1 was gone already" in found.stderr
    after = pusher.tags("shop/web")
    assert set(after) == {"1.0", "keep", "1.1", "1.2", "new", f"sha256-{index['digest'][7:]}.sig"}
    assert after["1.1"] == moved["digest"]
    assert all(pusher.is_whole("shop/web", tag) for tag in after)
    assert program.run("apply", "plan", "--strict", "-y").returncode == 3


def test_a_plan_is_refused(pusher: Pusher, program: Program, tmp_path: Path) -> None:
    before = fill(pusher, 2)
    shown = program.run("remove-tags", "-r", "shop/web", "-t", "<2", "--plan-out", "plan")
    sum_ = next(word for word in shown.stderr.replace(";", "").split() if word.startswith("sha256:"))
    whole = (tmp_path / "plan").read_bytes()
    (tmp_path / "cut").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "altered").write_bytes(whole.replace(b"1.0", b"1.1"))
    (tmp_path / "newer").write_bytes(whole.replace(b'"version":1', b'"version":2'))
    for name in ("cut", "altered", "newer"):
        found = program.run("apply", name, "-y")
        assert (found.returncode, found.stderr.count("\n")) == (5, 2), found.stderr
    assert program.run("apply", "plan", "--expect", "sha256:" + "0" * 64, "-y").returncode == 5
    other = Program("http://localhost:1", tmp_path).run("apply", "plan", "-y")
    assert (other.returncode, "-reg names localhost:1" in other.stderr) == (5, True)
    assert program.run("apply", "absent", "-y").returncode == 2
    assert program.run("apply", "-y").returncode == 2
    assert pusher.tags("shop/web") == before
    assert program.runs == []
    assert program.run("apply", "plan", "--expect", sum_, "-y").returncode == 0
    assert pusher.tags("shop/web") == {}


# Brakes


def test_a_file_that_is_not_a_plan_is_refused_with_advice(program: Program, tmp_path: Path) -> None:
    found = program.run("apply", str(tmp_path), "-y")
    assert found.returncode == 2
    assert found.stderr.splitlines() == [
        f"dregutil: the plan {tmp_path} cannot be read: Is a directory",
        "  name a file that --plan-out wrote, or with --resume a run of `dregutil history`",
    ]


def test_a_plan_that_removes_most_of_a_repository_is_braked(pusher: Pusher, program: Program) -> None:
    fill(pusher, 60)
    found = program.run("remove-tags", "-r", "shop/web", "-t", "<1.55")
    assert found.returncode == 5
    assert "--yes-remove 55" in found.stderr
    for option in (("--dry-run",), ("--plan-out", "plan")):
        shown = program.run("remove-tags", "-r", "shop/web", "-t", "<1.55", *option)
        assert (shown.returncode, "\nneeds --yes-remove 55: it takes most of shop/web\n" in shown.stdout) == (0, True)
    assert "needs" not in program.run("remove-tags", "-r", "shop/web", "-t", "<1.9", "--dry-run").stdout
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<1.55", "-y").returncode == 5
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<1.55", "--yes-remove", "54").returncode == 5
    assert len(pusher.tags("shop/web")) == 60
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<1.55", "--yes-remove", "55").returncode == 0
    assert len(pusher.tags("shop/web")) == 5


def test_everyday_removals_and_those_by_name_are_not_braked(pusher: Pusher, program: Program) -> None:
    fill(pusher, 60)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<1.9").returncode == 0
    fill(pusher, 60)
    assert program.run("remove-repos", "-r", "shop/web").returncode == 0
    assert pusher.tags("shop/web") == {}


def test_on_a_terminal_the_number_is_typed_back(pusher: Pusher, program: Program) -> None:
    fill(pusher, 60)
    code, shown = on_terminal(program, "y", "remove-tags", "-r", "shop/web", "-t", "<1.55")
    assert (code, "Type the number of tags to remove, 55" in shown) == (0, True)
    assert "nothing was removed" in shown
    assert len(pusher.tags("shop/web")) == 60
    code, shown = on_terminal(program, "55", "remove-tags", "-r", "shop/web", "-t", "<1.55")
    assert (code, len(pusher.tags("shop/web"))) == (0, 5), shown


def test_on_a_terminal_the_plan_is_shown_once_with_a_question(pusher: Pusher, program: Program) -> None:
    fill(pusher, 3)
    pusher.push_image("shop/web", "0.9", "stable", seed="shared")
    name = program.url.partition("//")[2]
    question = f"Remove 3 tags (3 manifests) of shop/web from {name}? [y/N]"
    code, shown = on_terminal(program, "n", "remove-tags", "-r", "shop/web", "-t", "<2")
    assert (code, len(pusher.tags("shop/web"))) == (0, 5)
    assert [shown.count(text) for text in ("KEEP", "REMOVE", question)] == [1, 3, 1], shown
    assert f"PLAN, nothing is removed yet · {name}\n" in shown
    code, shown = on_terminal(program, "y", "remove-tags", "-r", "shop/web", "-t", "<2")
    assert (code, set(pusher.tags("shop/web"))) == (0, {"0.9", "stable"}), shown
    code, shown = on_terminal(program, "y", "undo")
    assert f"Put back 3 tags (3 manifests) in {name}? [y/N]" in shown
    assert (code, len(pusher.tags("shop/web"))) == (0, 5), shown


# Knowledge of earlier runs


def test_a_nested_index_left_by_its_parent_holds_its_children(pusher: Pusher, program: Program) -> None:
    """No tag points to it any more; the record shows that the removed index contained it."""
    child = pusher.push_image("r", "child", seed="child")
    inner = pusher.push_index("r", children=[child])
    pusher.push_index("r", "1.0", children=[inner])
    assert program.run("remove-tags", "-r", "r", "-t", "1.0", "--keep-children").returncode == 0
    found = program.run("remove-tags", "-r", "r", "-t", "child")
    assert "part of the index" in found.stderr, found.stderr
    assert program.run("undo", "-y").returncode == 0
    assert pusher.is_whole("r", "1.0")


def test_an_untagged_index_in_a_record_holds_its_children(pusher: Pusher, program: Program) -> None:
    child = pusher.push_image("shop/web", "child", seed="child")
    index = pusher.push_index("shop/web", "1.0", children=[child])
    assert program.run("remove-tags", "-r", "shop/web", "-t", "1.0").returncode == 0
    assert program.run("undo", "-y").returncode == 0
    pusher.push_image("shop/web", "1.0", seed="pushed over it")
    assert pusher.is_whole("shop/web", index["digest"])
    found = program.run("remove-tags", "-r", "shop/web", "-t", "child")
    assert (found.returncode, "part of the index" in found.stderr) == (0, True), found.stderr
    assert pusher.is_whole("shop/web", index["digest"])


# The state folder


def test_a_state_folder_in_memory_is_reported_before_anything_is_removed(pusher: Pusher, program: Program) -> None:
    fill(pusher, 1)
    state = Path(tempfile.mkdtemp(dir="/dev/shm"))
    try:
        found = program.run("remove-tags", "-r", "shop/web", "-t", "<2", state=state)
    finally:
        shutil.rmtree(state)
    lines = found.stderr.splitlines()
    (warned,) = (place for place, line in enumerate(lines) if "is in memory" in line)
    assert "--state-dir" in lines[warned + 1]
    assert warned < next(place for place, line in enumerate(lines) if line.startswith("removed"))


def test_without_room_for_the_intent_nothing_is_deleted(pusher: Pusher, program: Program) -> None:
    before = fill(pusher, 12)
    for size in (0, 200, 1500, 3000, 4200):
        found = program.run("remove-tags", "-r", "shop/web", "-t", "<2", longest_file=size)
        assert found.returncode != 0
        assert "cannot be written" in found.stderr
        assert "Traceback" not in found.stderr
        here = pusher.tags("shop/web")
        assert here == before


def test_a_state_folder_that_cannot_be_written(pusher: Pusher, program: Program, tmp_path: Path) -> None:
    before = fill(pusher, 2)
    (tmp_path / "file").write_text("in the way")
    found = program.run("remove-tags", "-r", "shop/web", "-t", "<2", state=tmp_path / "file" / "state")
    assert (found.returncode, found.stderr.count("--state-dir")) == (1, 1), found.stderr
    assert pusher.tags("shop/web") == before


def test_a_run_that_sends_nothing_leaves_no_record(pusher: Pusher, tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "disabled", delete=False) as server:
        other = Pusher(server.url)
        fill(other, 2)
        program = Program(server.url, tmp_path)
        assert program.run("remove-tags", "-r", "shop/web", "-t", "<2").returncode == 4
        assert program.runs == []
        assert len(other.tags("shop/web")) == 2
        other.close()


def test_two_applies_at_once_never_interleave(pusher: Pusher, program: Program) -> None:
    fill(pusher, 40)
    assert program.run("remove-tags", "-r", "shop/web", "-t", "<2", "--plan-out", "plan").returncode == 0
    runs = [program.start("apply", "plan", "-y") for _ in range(3)]
    outputs = [run.communicate(timeout=60) for run in runs]
    assert 0 in [run.returncode for run in runs]
    for run, (_, errors) in zip(runs, outputs, strict=True):
        assert run.returncode == 0 or (run.returncode == 5 and "another run is at work" in errors)
    assert pusher.tags("shop/web") == {}
    assert sum(found["removed"] for found in program.history()) >= 40


# Interrupted


@pytest.mark.property
@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_a_random_moment_then_resumed_and_undone(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, seed: int
) -> None:
    """After resume and undo, the tags and digests of the registry are exactly as before."""
    before = _two_hundred_steps(pusher)
    digests = {(name, digest) for name, tags in before.items() for digest in tags.values()}
    chance = random.Random(seed)
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        killed_at = _kill_at_a_write(program, proxy, chance, *REMOVE_MOST)
        for name in before:
            here = pusher.tags(name)
            # The server may still be processing a request cut off by the kill: a doomed tag disappears during the
            # check.
            assert all(pusher.is_whole(name, tag) or not pusher.has(name, tag) for tag in here)
            assert "keep" in here
        (run,) = program.runs
        assert (run / "journal.jsonl").read_bytes().count(b'"type":"step"') == 200
        if chance.random() < 0.7 and program.history()[0]["unfinished"]:
            resumed = program.run("apply", "--resume", run.name, "-y")
            assert resumed.returncode == 0, (killed_at, resumed.stderr)
            assert all(set(pusher.tags(name)) == {"keep"} for name in before)
        undone = program.run("undo", run.name, "-y")
        assert undone.returncode == 0, (killed_at, undone.stderr)
    assert {name: pusher.tags(name) for name in before} == before
    assert all(pusher.has(name, digest) for name, digest in digests)
    assert all(pusher.is_whole(name, tag) for name, tags in before.items() for tag in tags)


def _kill_at_a_write(program: Program, proxy: Proxy, chance: random.Random, *arguments: str) -> int:
    """`kill -9` the program at one of its 200 DELETEs, just before or after it is processed, or a little later."""
    place, is_before, later = chance.randint(1, 200), chance.random() < 0.5, chance.choice([0, chance.uniform(0, 0.01)])
    started: list[subprocess.Popen[str]] = []
    left = [place + 2]  # two check whether deletion is allowed
    counting = threading.Lock()

    def kill_after_the_last(request: Request) -> None:
        with counting:
            left[0] -= request.method == "DELETE"
            if left[0] == 0 and request.method == "DELETE":
                time.sleep(later)
                started[0].kill()

    def after(request: Request, answer: Answer) -> Answer:
        kill_after_the_last(request)
        return answer

    if is_before:
        proxy.before = kill_after_the_last
    else:
        proxy.after = after
    started.append(program.start(*arguments))
    started[0].communicate(timeout=60)
    assert started[0].returncode == -signal.SIGKILL
    proxy.before, proxy.after = lambda _: None, lambda _, answer: answer
    return place


def test_a_step_without_an_answer_is_checked_again(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """A check answered with 500 is not an outcome: the run stays unfinished, and a resume checks again."""
    before = fill(pusher, 3)
    is_ill = True

    def fail(request: Request) -> Answer | None:
        is_look = request.method in ("GET", "HEAD") and "/manifests/sha256:" in request.path
        return Answer(500) if is_ill and is_look else None

    with Proxy(registry_server.port, before=fail) as proxy:
        program = Program(proxy.url, tmp_path)
        removed = program.run("remove-tags", "-r", "shop/web", "-t", "<1.2")
        assert removed.returncode == 3, removed.stderr
        assert "whether it went is not known" in removed.stderr, removed.stderr
        (run,) = program.runs
        assert f"unfinished: `dregutil apply --resume {run.name}" in removed.stderr, removed.stderr
        assert program.history()[0]["unfinished"]
        ill = program.run("apply", "--resume", run.name, "-y")
        assert ill.returncode != 0
        assert program.history()[0]["unfinished"]
        is_ill = False
        resumed = program.run("apply", "--resume", run.name, "-y")
        assert resumed.returncode == 0, resumed.stderr
        assert not program.history()[0]["unfinished"]
        assert pusher.tags("shop/web") == {"1.2": before["1.2"]}
        assert program.run("undo", run.name, "-y").returncode == 0
    assert pusher.tags("shop/web") == before


def test_ctrl_c_ends_after_the_requests_in_flight(pusher: Pusher, program: Program) -> None:
    before = _two_hundred_steps(pusher)
    run = program.start(*REMOVE_MOST)
    _wait_for_a_record(program)
    run.send_signal(signal.SIGINT)
    _, errors = run.communicate(timeout=60)
    assert run.returncode == 130, errors
    name = program.runs[0].name
    assert f"apply --resume {name}" in errors
    assert "Traceback" not in errors
    told = program.run("remove-tags", "-r", "shop/a", "-t", "2.0")
    assert f"the run {name} was interrupted" in told.stderr
    assert program.run("apply", "--resume", name, "-y").returncode == 0
    assert all(set(pusher.tags(repository)) == {"keep"} for repository in before)
    assert program.run("apply", "--resume", name, "-y").returncode == 0


def test_a_registry_that_dies_midway(tmp_path: Path) -> None:
    with DistributionServer(tmp_path / "registry") as server:
        pusher = Pusher(server.url)
        before = _two_hundred_steps(pusher)
        program = Program(server.url, tmp_path)
        run = program.start(*REMOVE_MOST)
        _wait_for_a_record(program)
        server.stop()
        _, errors = run.communicate(timeout=90)
        assert run.returncode in (3, 6), errors
        assert "Traceback" not in errors
        pusher.close()
        server.start()
        resumed = program.run("apply", "--resume", program.runs[0].name, "-y")
        assert resumed.returncode == 0, resumed.stderr
        assert all(set(pusher.tags(name)) == {"keep"} for name in before)
        assert program.run("undo", program.runs[0].name, "-y").returncode == 0
        assert {name: pusher.tags(name) for name in before} == before
        pusher.close()


def _two_hundred_steps(pusher: Pusher) -> dict[str, dict[str, str]]:
    """Two repositories: images, indexes with their own children, signatures, a tag that stays."""
    for name in ("shop/a", "shop/b"):
        for number in range(60):
            pusher.push_image(name, f"1.{number}", seed=f"{name} {number}")
        for number in range(10):
            children = [pusher.push_image(name, seed=f"{name} child {number} {part}") for part in (0, 1)]
            index = pusher.push_index(name, f"1.{60 + number}", f"1.{70 + number}", children=children)
            pusher.push_image(name, f"sha256-{index['digest'][7:]}.sig", seed=f"{name} signature {number}")
        pusher.push_image(name, "keep", seed="keep")
    return {name: pusher.tags(name) for name in ("shop/a", "shop/b")}


def _wait_for_a_record(program: Program) -> None:
    """Until the first intent is on disk."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        records = [folder / "journal.jsonl" for folder in program.runs]
        if any(record.exists() and b'"type":"intent"' in record.read_bytes() for record in records):
            return
        time.sleep(0.002)
    raise AssertionError("the run did not begin")

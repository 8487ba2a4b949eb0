"""The disk of the state folder is full: nothing is removed without a record, and everything continues once there is
room."""

from __future__ import annotations

import resource
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from small_disk import SmallDisk

NO_ROOM = ("No space left on device", "File too large")  # of a tmpfs, and of its replacement
ADVICE = "  free some space; nothing more was changed"


@pytest.fixture
def disk() -> Iterator[SmallDisk]:
    with SmallDisk() as found:
        yield found


def fill(pusher: Pusher, number: int) -> dict[str, str]:
    for tag in range(number):
        pusher.push_image("shop/web", f"1.{tag}", seed=f"image {tag}")
    pusher.push_image("shop/web", "keep", seed="keep")
    return pusher.tags("shop/web")


def check_told(errors: str) -> None:
    """One line for what failed and why, and one for what to do."""
    lines = errors.splitlines()
    (place,) = (place for place, line in enumerate(lines) if any(why in line for why in NO_ROOM))
    assert lines[place].startswith("dregutil: ")
    assert "cannot be written" in lines[place] or "cannot be recorded" in lines[place]
    assert lines[place + 1] == ADVICE, "in another folder the records of this one would be missing"
    assert "Traceback" not in errors


@pytest.mark.parametrize("pages", [0, 1, 4, 8])
def test_without_room_for_the_intents_nothing_is_removed(
    registry_server: DistributionServer, pusher: Pusher, disk: SmallDisk, tmp_path: Path, pages: int
) -> None:
    before = fill(pusher, 48)
    disk.fill(left=pages)
    program = Program(registry_server.url, tmp_path)
    command = ("remove-tags", "-r", "shop/web", "-t", "<2")
    found = program.run(*command, state=disk.state, longest_file=disk.longest_file(pages))
    assert found.returncode == 1, found.stderr
    check_told(found.stderr)
    assert pusher.tags("shop/web") == before
    disk.make_room()
    assert list((disk.state / "runs").glob("*")) == [], "a run that sent nothing leaves no record"
    assert program.run(*command, state=disk.state).returncode == 0
    assert program.run("undo", "-y", state=disk.state).returncode == 0
    assert pusher.tags("shop/web") == before


@pytest.mark.parametrize("resumes", [True, False])
def test_a_disk_that_fills_up_midway(
    registry_server: DistributionServer, pusher: Pusher, disk: SmallDisk, tmp_path: Path, resumes: bool
) -> None:
    """The run ends, and says how much was removed and what to do; it is resumed or undone once there is room."""
    before = fill(pusher, 150)
    started: list[subprocess.Popen[str]] = []
    recorded: list[int] = []

    def fill_up(request: Request) -> Answer | None:
        if request.method == "DELETE" and request.reference in before.values():
            recorded.append(_intents(disk))
            disk.fill(process=started[0])  # each time, for what was released in the meantime
        return None

    with Proxy(registry_server.port, before=fill_up) as proxy:
        program = Program(proxy.url, tmp_path)
        command = ("remove-tags", "-r", "shop/web", "-t", "<2", "--yes-remove", "150")
        started.append(program.start(*command, state=disk.state))
        _, errors = started[0].communicate(timeout=60)
        assert started[0].returncode == 3, errors
        check_told(errors)
        removed = before.keys() - pusher.tags("shop/web").keys()
        assert 0 < len(removed) <= recorded[0] < 150
        (run,) = (path.name for path in (disk.state / "runs").iterdir())
        assert f"unfinished: `dregutil apply --resume {run} -reg {proxy.url} --state-dir {disk.state}`" in errors
        assert f"removed {len(removed)} tags" in errors

        disk.fill()  # the space that the run itself released is used again
        undone = program.run("undo", "-y", state=disk.state, longest_file=disk.longest_file(0))
        assert undone.returncode == 1, undone.stderr
        check_told(undone.stderr)
        assert before.keys() - pusher.tags("shop/web").keys() == removed
        proxy.before = lambda _: None
        disk.make_room()
        if resumes:
            resumed = program.run("apply", "--resume", run, "-y", state=disk.state)
            assert resumed.returncode == 0, resumed.stderr
            assert set(pusher.tags("shop/web")) == {"keep"}
        undone = program.run("undo", "-y", state=disk.state)
        assert undone.returncode == 0, undone.stderr
    assert pusher.tags("shop/web") == before


def _intents(disk: SmallDisk) -> int:
    (record,) = disk.state.glob("runs/*/journal.jsonl")
    return record.read_bytes().count(b'"type":"intent"')


def test_an_undo_without_room_for_its_last_line_counts_as_done(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """The manifests are put, then the disk is full. A second undo takes the previous run, and not this one again."""
    before = fill(pusher, 2)
    full: list[Path] = []

    def fill_up(request: Request, answer: Answer) -> Answer:
        if request.method == "PUT" and full:
            record = full[0] / "journal.jsonl"
            resource.prlimit(started[0].pid, resource.RLIMIT_FSIZE, (record.stat().st_size,) * 2)
        return answer

    started: list[subprocess.Popen[str]] = []
    with Proxy(registry_server.port, after=fill_up) as proxy:
        program = Program(proxy.url, tmp_path)
        for tag in ("1.0", "1.1"):
            assert program.run("remove-tags", "-r", "shop/web", "-t", tag, "--yes-remove", "1").returncode == 0

        def begun(request: Request) -> Answer | None:
            if request.method == "PUT" and not full:
                full.append(program.runs[-1])
            return None

        proxy.before = begun
        started.append(program.start("undo", "-y"))
        _, errors = started[0].communicate(timeout=60)
        assert started[0].returncode == 0, errors
        assert b'"type":"end"' not in (full[0] / "journal.jsonl").read_bytes()
        proxy.before = lambda _: None
        full.clear()
        again = program.run("undo", "-y")
        assert again.returncode == 0, again.stderr
        assert [(run["undone"], run["unfinished"]) for run in program.history()] == [(True, False)] * 2 + [
            (False, False)
        ] * 2
    assert pusher.tags("shop/web") == before

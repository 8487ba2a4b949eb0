"""A collection that is cut off: what `collect`, `history` and `undo` say after it, and what can still come back."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import signal
import subprocess
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collecting import Stage, made, wait_for
from dregutil.files import is_locked

_CTRL_C = b"\x03"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with made("distribution-2.8", tmp_path) as found:
        yield found


def only_of_removed(stage: Stage) -> str:
    """A layer of shop/web:1.0, which nothing else uses."""
    layout = stage.program.runs[0] / "layout"
    stage.program.run("history", stage.removal)  # writes the layout
    for path in (layout / "blobs" / "sha256").iterdir():
        manifest = json.loads(path.read_text())
        digest = str(manifest["layers"][0]["digest"])
        with stage.running() as pusher:
            kept = pusher.raw("shop/api", "1.0").decode()
        if digest not in kept:
            return digest
    raise AssertionError


def killed(running: subprocess.Popen[str]) -> None:
    running.kill()
    running.communicate(timeout=30)


def log(stage: Stage) -> Path:
    (found,) = (stage.program.state / "collections").glob("*.log")
    return found


def wait_for_end(path: Path) -> None:
    until = time.monotonic() + 30
    while is_locked(path):
        assert time.monotonic() < until
        time.sleep(0.05)


def test_nothing_runs_beside_the_collector_of_a_killed_program(stage: Stage) -> None:
    """dregutil gets SIGKILL, and its collector goes on."""
    started, go = stage.folder / "started", stage.folder / "go"
    command = stage.script(f'touch {started}; while [ ! -e {go} ]; do sleep 0.1; done; "$@"')
    running = stage.start(command=command)
    wait_for(started)
    killed(running)
    with stage.running():
        for words in (("undo", "-y"), ("remove-tags", "-r", "shop/web", "-t", "1.1", "-y")):
            done = stage.program.run(*words)
            assert done.returncode == 5, done.stderr
            assert "still runs" in done.stderr
            assert f"its output is in {log(stage)}" in done.stderr
    again = stage.collect("-y", "--keep-undo", "0d")
    assert (again.returncode, "still runs" in again.stderr) == (5, True)
    (run,) = stage.program.history()
    assert run["collected"] is None
    assert run["maybe_collected"] is not None
    go.touch()
    wait_for_end(log(stage))
    found = stage.object("-y", "--keep-undo", "0d")
    assert (found["freed"]["blobs"], found["as_predicted"], found["runs"]) == (0, True, [])
    first, second = stage.records
    assert (first["runs"], first["exit_code"], first["freed"]) == ([stage.removal], None, None)
    assert first["ended"] is not None
    assert (second["runs"], second["exit_code"]) == ([], 0)
    (run,) = stage.program.history()
    assert run["collected"] is not None
    assert run["maybe_collected"] is None


def test_a_collection_that_took_nothing_is_undone_wholly(stage: Stage) -> None:
    """dregutil and its collector are killed before anything is freed."""
    started = stage.folder / "started"
    running = stage.start(command=stage.script(f"echo $$ > {started}.new; mv {started}.new {started}; exec sleep 60"))
    wait_for(started)
    killed(running)
    os.kill(int(started.read_text()), signal.SIGKILL)
    wait_for_end(log(stage))
    shown = stage.program.run("history")
    assert ", maybe collected" in shown.stdout
    assert "did not end; the next `dregutil collect` finds out what it took" in shown.stderr
    with stage.running():
        listed = stage.program.run("undo", "--list")
        assert f"and not all may be left: {stage.removal}" in listed.stderr
        undone = stage.program.run("undo", "-y")
    assert undone.returncode == 0, undone.stderr
    assert "did not end: what is still there can come back" in undone.stderr
    for image in ("shop/web:1.0", "shop/web:1.2"):
        stage.pull(image)
    assert stage.object("-y")["as_predicted"]
    assert stage.records[0]["runs"] == []
    assert [run["collected"] or run["maybe_collected"] for run in stage.program.history()] == [None, None]


def test_half_a_collection(stage: Stage) -> None:
    """A layer of 1.0 is gone: 1.2 comes back, 1.0 is named with what it lacks, and the rest is collected next."""
    layer = only_of_removed(stage)
    started = stage.folder / "started"
    body = f"rm -r {stage.place(layer)}; echo $$ > {started}.new; mv {started}.new {started}; exec sleep 60"
    running = stage.start(command=stage.script(body))
    wait_for(started)
    killed(running)
    os.kill(int(started.read_text()), signal.SIGKILL)
    wait_for_end(log(stage))
    with stage.running():
        undone = stage.program.run("undo", "-y")
    assert undone.returncode == 3
    assert "put back 1 tag" in undone.stderr
    assert layer.removeprefix("sha256:")[:12] in undone.stderr
    stage.pull("shop/web:1.2")
    found = stage.object("-y", "--keep-undo", "0d")
    assert found["as_predicted"]
    assert found["runs"] == []  # it could not come back before this collection either
    assert stage.records[0]["ended"] is not None
    run = next(run for run in stage.program.history() if run["run"] == stage.removal)
    assert run["collected"] is not None
    assert (run["undone"], run["partly_undone"]) == (False, True)


def test_a_collector_that_is_killed(stage: Stage) -> None:
    layer = only_of_removed(stage)
    done = stage.collect("-y", "--keep-undo", "0d", command=stage.script(f"rm -r {stage.place(layer)}; kill -9 $$"))
    assert done.returncode == 1
    assert "the collector failed (signal 9)" in done.stderr
    assert "3 blobs" in done.stderr
    assert "predicted to go, and there" in done.stderr
    (record,) = stage.records
    assert (record["runs"], record["exit_code"], record["freed"]["blobs"]) == ([stage.removal], -9, 1)
    assert stage.object("-y", "--keep-undo", "0d")["as_predicted"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_the_collector_first(stage: Stage, number: signal.Signals) -> None:
    started = stage.folder / "started"
    running = stage.start(command=stage.script(f"touch {started}; exec sleep 60"))
    wait_for(started)
    os.kill(running.pid, number)
    _, said = running.communicate(timeout=30)
    assert running.returncode == 130, said
    assert "interrupted: the collector was sent SIGINT" in said
    assert "signal 2" not in said  # it failed because it was interrupted
    assert not is_locked(log(stage))
    (record,) = stage.records
    assert (record["runs"], record["exit_code"]) == ([], -2)


def test_ctrl_c_in_a_terminal(stage: Stage) -> None:
    """The terminal sends SIGINT to the collector, too: it gets a second one, and is waited for."""
    started, ended = stage.folder / "started", stage.folder / "ended"
    body = f"trap 'sleep 1; touch {ended}; exit 1' INT; touch {started}; while :; do sleep 0.1; done"
    words = ("collect", "-y", "--keep-undo", "0d", "--storage", str(stage.server.storage), "--", *stage.script(body))
    leader, follower = pty.openpty()
    with subprocess.Popen(
        stage.program.command(words),
        cwd=stage.folder,
        env={**stage.program.environment(), "TERM": "xterm"},
        stdin=follower,
        stdout=follower,
        stderr=follower,
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    ) as process:
        os.close(follower)
        wait_for(started)
        os.write(leader, _CTRL_C)
        shown = b""
        while part := _read(leader):
            shown += part
        process.wait(30)
    os.close(leader)
    assert process.returncode == 130, shown
    assert ended.exists()
    assert b"what it freed is compared when it has ended" in b" ".join(shown.split())  # lines are wrapped


def _read(leader: int) -> bytes:
    try:
        return os.read(leader, 4096)
    except OSError:  # the other side is closed
        return b""


def test_a_collector_that_does_not_end(stage: Stage) -> None:
    """The third signal ends dregutil; the collector goes on, and everything else waits for it."""
    started = stage.folder / "started"
    body = f"trap '' INT; echo $$ > {started}.new; mv {started}.new {started}; while :; do sleep 0.1; done"
    running = stage.start(command=stage.script(body))
    wait_for(started)
    for _ in range(2):
        os.kill(running.pid, signal.SIGINT)
        time.sleep(0.5)
    assert running.poll() is None
    os.kill(running.pid, signal.SIGINT)
    _, said = running.communicate(timeout=30)
    assert running.returncode in (130, -signal.SIGINT)
    assert "still waiting for the collector" in said
    try:
        again = stage.collect("-y", "--keep-undo", "0d")
        assert (again.returncode, "still runs" in again.stderr) == (5, True)
    finally:
        os.kill(int(started.read_text()), signal.SIGKILL)
    wait_for_end(log(stage))
    assert stage.object("-y", "--keep-undo", "0d")["as_predicted"]


def test_a_command_that_leaves_a_process_behind(stage: Stage) -> None:
    """What it frees later is not known: the collection has not ended, and the next one is refused until it has."""
    go = stage.folder / "go"
    command = stage.script(f'(while [ ! -e {go} ]; do sleep 0.1; done; "$@") & exit 0')
    found = stage.object("-y", "--keep-undo", "0d", command=command, code=1)
    assert not found["as_predicted"]
    assert found["runs"] == [stage.removal]
    assert stage.records[0]["ended"] is None
    again = stage.collect("-y", "--keep-undo", "0d")
    assert (again.returncode, "still runs" in again.stderr) == (5, True)
    go.touch()
    wait_for_end(log(stage))
    assert stage.object("-y", "--keep-undo", "0d")["freed"]["blobs"] == 0
    assert stage.records[0]["runs"] == [stage.removal]


def test_the_last_line_of_a_collector_cannot_write_to_the_terminal(stage: Stage) -> None:
    done = stage.collect("-y", "--keep-undo", "0d", command=stage.script(r"printf '\033[2Jbad\007\377\n'; exit 1"))
    assert done.returncode == 1
    assert "\x1b" not in done.stderr
    assert "bad" in done.stderr

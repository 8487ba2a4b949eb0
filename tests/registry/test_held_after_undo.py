"""What an `undo` restored is kept for 14 days, even if the undo was interrupted or its record was to be pruned."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request

POLICY = """version: 1
defaults: {max_remove: 100%}
policies: [{name: p, repositories: ["**"], keep: {last: 2}}]
"""
TAGS = {f"t{place}" for place in range(5)}


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


def _cleaned(program: Program, pusher: Pusher) -> None:
    (program.folder / "policy.yml").write_text(POLICY)
    for place in range(5):
        pusher.push_image("app", f"t{place}", seed=str(place), config=created(100 - place))
    _cleanup(program)
    assert set(pusher.tags("app")) == {"t3", "t4"}


def _cleanup(program: Program) -> str:
    done = program.run("cleanup", "-f", "policy.yml", "-y")
    assert done.returncode == 0, done.stderr
    return done.stderr


def test_an_undo_killed_before_it_recorded_what_it_restored(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        _cleaned(program, pusher)
        put: list[str] = []
        running: list[subprocess.Popen[str]] = []

        def note(request: Request, answer: Answer) -> Answer:
            if request.method == "PUT":
                put.append(request.reference)
            return answer

        def kill(request: Request) -> None:
            if len(put) >= 3:  # several may be answered at once
                running[0].kill()

        proxy.before, proxy.after = kill, note
        running.append(program.start("undo", "-y"))
        running[0].communicate(timeout=60)
        proxy.before = lambda _: None
        assert set(pusher.tags("app")) == TAGS
        assert "nothing to put back" in program.run("undo", "-y").stderr
        _assert_held(program, pusher)


def test_history_prune_keeps_an_undo_whose_images_are_held(program: Program, pusher: Pusher) -> None:
    _cleaned(program, pusher)
    assert program.run("undo", "-y").returncode == 0
    told = program.run("history", "--prune", "0s").stderr
    assert "1 run forgotten" in told
    assert "1 undo stays: what it put back is held for 14 days" in told
    _assert_held(program, pusher)


def _assert_held(program: Program, pusher: Pusher) -> None:
    for _ in range(2):
        assert "nothing to remove" in _cleanup(program)
    assert set(pusher.tags("app")) == TAGS
    until = datetime.now(UTC) + timedelta(days=14)
    assert f"held until {until:%Y-%m-%d}" in program.run("why", "app:t0", "-f", "policy.yml").stdout


def test_records_that_never_began_are_not_reported_as_lost(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """Because of a repository that can never be read, they do not begin."""
    with Proxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        (tmp_path / "policy.yml").write_text(POLICY)
        pusher.push_image("broken", "t0", seed="broken")
        proxy.before = lambda request: Answer(500) if "/broken/" in request.target else None
        for night in range(3):
            pusher.push_image("app", f"t{night}", seed=str(night), config=created(100 - night))
            done = program.run("cleanup", "-f", "policy.yml", "-y")
            assert done.returncode == 3, done.stderr
            assert "gone, or older" not in done.stderr
            assert "the records of when tags came begin once" in done.stderr
        assert set(pusher.tags("app")) == {"t1", "t2"}

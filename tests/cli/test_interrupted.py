"""Signals during a sweep: moved tags are put back, and the output says what another signal would do."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest
from test_large_repository import TAGS, fill

from dregutil.report.progress import Meter
from program import Program
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

REMOVE = ("remove-tags", "-r", "r", "-t", "<1.1050", "--yes-remove", "1050")


@pytest.mark.parametrize("which", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_a_sweep_puts_every_tag_back(tmp_path: Path, which: signal.Signals) -> None:
    with MemoryServer() as server:
        before = fill(server, TAGS)
        started: list[subprocess.Popen[str]] = []
        moved = [0]

        def interrupt(request: Request) -> Answer | None:
            if request.method == "PUT" and "/manifests/1." in request.path:
                moved[0] += 1
                if moved[0] == 100:
                    started[0].send_signal(which)
            return None

        with Proxy(server.port, before=interrupt) as proxy:
            program = Program(proxy.url, tmp_path)
            started.append(program.start(*REMOVE))
            _, errors = started[0].communicate(timeout=120)
            assert started[0].returncode == 130, errors
            assert "interrupted: requests in flight are finished, and moved tags are put back" in errors
            assert moved[0] >= 200, "so many were moved, and put back"
            assert server.repositories["r"].tags == before
            assert set(server.repositories["r"].manifests) == set(before.values()), "the placeholder is gone"


def test_a_second_signal_says_what_a_third_does(tmp_path: Path) -> None:
    with MemoryServer() as server:
        before = fill(server, TAGS)
        started: list[subprocess.Popen[str]] = []
        moved, sent = [0], [0]

        def interrupt(request: Request) -> Answer | None:
            if request.method == "PUT" and "/manifests/1." in request.path:
                moved[0] += 1
                if moved[0] in (100, 160, 190):
                    sent[0] += 1
                    started[0].send_signal(signal.SIGTERM)
                    if sent[0] == 3:
                        started[0].wait(30)
            return None

        with Proxy(server.port, before=interrupt) as proxy:
            program = Program(proxy.url, tmp_path)
            started.append(program.start(*REMOVE))
            _, errors = started[0].communicate(timeout=120)
            assert started[0].returncode == -signal.SIGTERM, errors
            _, second = (line for line in errors.splitlines() if line.startswith(("interrupted", "still")))
            assert "another signal ends it at once, and tags may stay on a placeholder" in second
            proxy.before = lambda _: None
            (run,) = program.runs
            undone = program.run("undo", run.name, "-y")
            assert undone.returncode == 0, undone.stderr
            assert server.repositories["r"].tags == before


def test_putting_back_is_shown() -> None:
    meter = Meter(show=False, clock=lambda: 0.0)
    meter.begin("steps", 10)
    for _ in range(4):
        meter.sweep()
    meter.put_back()
    assert meter.text(1.0) == "0 of 10 steps, 4 tags swept, 1 put back"

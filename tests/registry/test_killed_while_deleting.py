"""A process is killed whose DELETE the registry is still at work on, and undone at once: it goes only afterwards."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.holding import HoldingProxy


def _wait(until: Callable[[], object]) -> None:
    end = time.monotonic() + 30
    while not until():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.01)


def test_what_goes_after_an_undo_comes_back_with_another_one(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    before = {tag: pusher.push_image("r", tag, seed=tag)["digest"] for tag in ("1.0", "2.0")}
    with HoldingProxy(registry_server.port) as proxy:
        program = Program(proxy.url, tmp_path)
        proxy.hold()
        removal = program.start("remove-tags", "-r", "r", "-t", "1.0", "-y")
        _wait(lambda: proxy.held)
        removal.send_signal(signal.SIGKILL)
        removal.communicate()
        (run,) = program.runs
        undone = program.run("undo", run.name, "-y")
        assert undone.returncode == 0, undone.stderr
        proxy.let_go()
        _wait(lambda: not pusher.has("r", before["1.0"]))
        again = program.run("undo", run.name, "-y")
        assert again.returncode == 0, again.stderr
    assert pusher.tags("r") == before
    assert pusher.is_whole("r", "1.0")

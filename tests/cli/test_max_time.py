"""`cleanup --max-time` ends halfway, on the real registry: the rest is left, and removed next time."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request

POLICY = """version: 1
defaults: {max_remove: 100%}
policies:
  - {name: builds, repositories: ["**"], keep: {last: 1}}
"""
APP = "team/app"
DOOMED = 40  # more than are in flight at once
SLOW_START = 5.0  # seconds until the program counts its own time
LIMIT = 5.0  # seconds: enough to plan on a busy machine


class _InStore(Program):
    def command(self, arguments: tuple[str, ...], state: Path | None = None) -> list[str]:
        return [*super().command((), state), "--store", f"sqlite://{self.folder}/store.sqlite", *arguments]


@pytest.mark.parametrize("records", ["folder", "store"])
def test_the_rest_is_left_with_the_reason_and_removed_next_time(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, records: str
) -> None:
    for number in range(DOOMED + 1):
        pusher.push_image(APP, f"b{number}", seed=f"b{number}", config=created(90 - number))
    digests = pusher.tags(APP)
    (tmp_path / "policy.yml").write_text(POLICY)
    begun = time.monotonic()
    deletions: list[str] = []

    def wait_it_out(request: Request) -> Answer | None:
        """From the third deletion on, the registry answers only after the time is over."""
        if request.method == "DELETE" and request.reference in digests.values():
            deletions.append(request.reference)
            if len(deletions) > 2:
                threading.Event().wait(max(begun + LIMIT + SLOW_START - time.monotonic(), 0))
        return None

    port = int(registry_server.url.rpartition(":")[2])
    with Proxy(port, before=wait_it_out) as proxy:
        program = _InStore(proxy.url, tmp_path) if records == "store" else Program(proxy.url, tmp_path)
        begun = time.monotonic()
        done = program.run("cleanup", "-f", "policy.yml", "-y", "--max-time", f"{LIMIT:.0f}s")
        assert done.returncode == 0, done.stderr
        left = pusher.tags(APP)
        removed = DOOMED + 1 - len(left)
        assert 2 <= removed < DOOMED
        assert f"b{DOOMED}" in left
        assert all(pusher.is_whole(APP, tag) for tag in left)
        assert f"--max-time is over: {len(left) - 1} of {DOOMED} steps are left for the next run" in done.stderr
        assert f"removed {removed} tags ({removed} manifests), left {len(left) - 1}" in done.stderr
        assert len(done.stdout.splitlines()) == removed
        (run,) = program.history()
        assert run["unfinished"] is False
        assert "interrupted" not in program.run("history").stderr
        shown = json.loads(program.run("history", run["run"], "--format", "json").stdout)
        assert [entry["result"] for entry in shown].count("not tried") == len(left) - 1
        again = program.run("cleanup", "-f", "policy.yml", "-y")
        assert again.returncode == 0, again.stderr
        assert set(pusher.tags(APP)) == {f"b{DOOMED}"}
        assert "--max-time is over" not in again.stderr
        for run in program.history():
            assert program.run("undo", run["run"], "-y").returncode == 0
        assert pusher.tags(APP) == digests

"""A removal names the garbage collector of the registry at hand, or none."""

from __future__ import annotations

from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.real import KINDS

COMMAND = "registry garbage-collect CONFIG"
DISTRIBUTION = ("distribution-2.8", "distribution-3")
POLICY = """\
version: 1
policies:
  - name: all
    repositories: ["**"]
    keep: {last: 1}
    max_remove: 100%
"""


def fill(url: str) -> None:
    with Pusher(url) as pusher:
        for days, tag in enumerate(("2.0", "1.3", "1.2", "1.1", "1.0"), start=1):
            pusher.push_image("shop/web", tag, seed=tag, config=created(days))


@pytest.mark.parametrize("kind", KINDS)
def test_only_distribution_is_told_to_run_its_collector(kind: str, tmp_path: Path) -> None:
    """Also from a saved plan, and when a run is resumed or undone."""
    with KINDS[kind].start(tmp_path / "server") as server:
        fill(server.url)
        program = Program(server.url, tmp_path)
        (tmp_path / "policy.yml").write_text(POLICY)
        done = program.run("remove-tags", "-r", "shop/web", "-t", "1.0")
        planned = program.run("remove-tags", "-r", "shop/web", "-t", "1.1", "--plan-out", "plan")
        assert planned.returncode == 0, planned.stderr
        applied = program.run("apply", "plan", "-y")
        undone = program.run("undo", "-y")
        cleaned = program.run("cleanup", "-f", "policy.yml", "-y", "--yes-remove", "3")
    for one in (done, applied, undone, cleaned):
        assert one.returncode == 0, one.stderr
    for one in (done, applied, cleaned):
        assert "come back when the registry collects its garbage" in one.stderr
        assert (COMMAND in one.stderr) is (kind in DISTRIBUTION)
    for one in (planned, undone):
        assert "garbage-collect" not in one.stdout + one.stderr


def test_a_service_that_answers_as_distribution_does_has_its_own_collector(
    registry_server: DistributionServer, tmp_path: Path
) -> None:
    fill(registry_server.url)

    def answer(request: Request) -> Answer | None:
        headers = {"Docker-Distribution-Api-Version": "registry/2.0", "Gitlab-Container-Registry-Version": "4.5"}
        return Answer(200, b'{"name": "shop/web", "tags": []}', headers) if request.query.get("n") == "x" else None

    with Proxy(registry_server.port, before=answer) as proxy:
        program = Program(proxy.url, tmp_path)
        done = program.run("remove-tags", "-r", "shop/web", "-t", "1.0")
        assert done.returncode == 0, done.stderr
        assert "come back when the registry collects its garbage" in done.stderr
        assert "garbage-collect" not in done.stderr
        # With the storage, or with -m, the user says that it is distribution's.
        named = ("--storage", str(registry_server.storage))
        assert COMMAND in program.run("remove-tags", "-r", "shop/web", "-t", "1.1", *named).stderr
        with_m = program.run("remove-tags", "-r", "shop/web", "-t", "1.2", "--gc", "untagged")
        assert "registry garbage-collect -m CONFIG" in with_m.stderr

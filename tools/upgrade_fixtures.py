"""Create `tests/upgrade/VERSION`: what a released version leaves on disk, for the tests of later versions.

    mkdir /tmp/older && git archive v2.0.0 src | tar -x -C /tmp/older
    PYTHONPATH=tests python tools/upgrade_fixtures.py /tmp/older/src tests/upgrade/2.0.0

Runs the version whose package is in the first folder against a real registry. Needed once, at its release.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from images import Pusher
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from upgraded import LAST_POLICY, POLICY, Left, push_all

PROGRAM = [sys.executable, "-m", "dregutil"]


def make(package: Path, target: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(package)}
    with tempfile.TemporaryDirectory() as made:
        with (
            DistributionServer(Path(made) / "server") as server,
            Proxy(server.port) as proxy,
            Pusher(server.url) as pusher,
        ):
            left = Left(Path(made) / "left", server.url)
            left.folder.mkdir()
            (left.folder / "policy.yml").write_text(POLICY)
            (left.folder / LAST_POLICY).write_text(POLICY.replace("last: 3", "last: 100"))
            push_all(pusher)
            _leave(left, proxy, environment)
            _describe(left, pusher)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(
            left.folder, target, ignore=shutil.ignore_patterns("*-wal", "*-shm", "layout", "locks", "*.lock")
        )


def _leave(left: Left, proxy: Proxy, environment: dict[str, str]) -> None:
    """Create every kind of file, and every state of a run."""

    def run(*arguments: str) -> str:
        found = left.run(PROGRAM, proxy.url, *arguments, environment=environment)
        assert found.returncode == 0, found.stderr
        return max((path.name for path in (left.folder / "state" / "runs").glob("*")), default="")

    def killed(when: str, *arguments: str) -> str:
        """Kill a command at its first DELETE in repository `when` that is not a preflight, or after the first."""
        started: list[subprocess.Popen[bytes]] = []
        seen: list[str] = []

        def kill(request: Request) -> Answer | None:
            if request.method == "DELETE":
                seen.append(request.reference)
                if len(seen) > (2 if when == "app" else 1) and ":" in request.reference:
                    started[0].kill()
                    started[0].wait(30)
                    return Answer(500)
            return None

        proxy.before = kill
        command = left.command(PROGRAM, *arguments)
        started.append(
            subprocess.Popen(
                command, cwd=left.folder, env=left.environment(proxy.url, environment), stdin=subprocess.DEVNULL
            )
        )
        assert started[0].wait(60) < 0
        proxy.before = lambda _: None
        return max(path.name for path in (left.folder / "state" / "runs").glob("*"))

    run("refresh")
    run("du")
    run("cleanup", "-f", "policy.yml", "--dry-run")
    run("cleanup", "-f", LAST_POLICY, "-y")  # nothing is removed, and what it selected is recorded
    run("remove-tags", "-r", "app", "-t", "1.0", "--plan-out", "plan")
    runs = {"finished": run("remove-tags", "-r", "app", "-t", "1.1", "1.2")}
    runs["undone"] = run("remove-tags", "-r", "app", "-t", "1.3")
    runs["undo"] = run("undo")
    runs["unfinished"] = killed("app", "remove-tags", "-r", "app", "-t", "2.0", "2.0.0", "1.4")
    runs["on a placeholder"] = killed("tool", "remove-tags", "-r", "tool", "-t", "1.0", "--untag")
    (left.folder / "runs.json").write_text(json.dumps(runs, indent=1))


def _describe(left: Left, pusher: Pusher) -> None:
    """The content of the registry, which the tests rebuild."""
    tags = {name: pusher.tags(name) for name in ("app", "tool")}
    placeholder = pusher.raw("tool", "1.0")
    config = json.loads(placeholder)["config"]["digest"]
    found = {
        "tags": tags,
        "manifests": {name: _manifests(pusher, name) for name in tags},
        "placeholder": placeholder.decode(),
        "config": pusher.request("GET", f"/v2/tool/blobs/{config}")[2].decode(),
    }
    (left.folder / "registry.json").write_text(json.dumps(found, indent=1))


def _manifests(pusher: Pusher, name: str) -> list[str]:
    """The pushed manifests that still exist."""
    with (
        tempfile.TemporaryDirectory() as folder,
        DistributionServer(Path(folder)) as server,
        Pusher(server.url) as other,
    ):
        push_all(other)
        tagged = set(other.tags(name).values())
        bodies = (json.loads(other.raw(name, digest)) for digest in tagged)
        below = {child["digest"] for body in bodies for child in body.get("manifests", ())}
    return sorted(digest for digest in tagged | below if pusher.has(name, digest))


if __name__ == "__main__":
    make(Path(sys.argv[1]), Path(sys.argv[2]))

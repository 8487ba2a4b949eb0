"""examples/compose as it is, each service as a process of this machine: what is new, pulled or running stays."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from composed import Composed
from documents import ROOT
from dregutil.oci.names import Digest, RegistryAddress, Repository
from dregutil.pulls.coverage import source_since
from dregutil.pulls.store import PullStore
from images import ACCEPT, Pusher, created
from listening import until
from servers import DistributionServer
from servers.engine import Engine
from servers.real import KINDS
from time_passed import record_since, runs_are_older

WEB = Repository("shop/web")
VERSIONS = [f"1.{number}" for number in range(9)]
NO_PULL = {"User-Agent": "trivy/0.60.0"}  # what this test reads is no pull
REMOVED = {"1.0", "1.3", "1.4", "1.5"}


class Server:
    """A machine with a copy of the example, and Docker."""

    def __init__(self, composed: Composed, engine: Engine) -> None:
        self.composed = composed
        self.engine = engine

    def run(self, line: str, code: int = 0, *, folder: Path | None = None) -> str:
        """What a line prints in the folder of the example, or another one."""
        done = subprocess.run(
            ["sh", "-e", "-c", line],
            cwd=folder or self.composed.project,
            env={**os.environ, "PATH": self.composed.path, "DOCKER_HOST": f"unix://{self.engine.socket}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def state(self) -> Path:
        return self.composed.project / "state"

    @property
    def store(self) -> PullStore:
        return PullStore(self.state, RegistryAddress.parse(self.composed.url).identity)

    def blob(self, digest: str) -> Path:
        name = digest.partition(":")[2]
        return self.composed.project / "images/docker/registry/v2/blobs/sha256" / name[:2] / name / "data"

    def record_since(self, *, days: int) -> None:
        listener = f"http://127.0.0.1:{self.composed.ports['listen']}/events"
        record_since(self.store, listener, (self.composed.project / "token").read_text(), days=days)


@pytest.fixture(params=["distribution-2.8", "distribution-3"])
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    kind = KINDS[request.param]
    kind.require()
    assert issubclass(kind.server, DistributionServer)
    project = tmp_path / "srv"
    shutil.copytree(ROOT / "examples" / "compose", project)
    composed = Composed.make(project, tmp_path / "composed", kind.server)
    with Engine(tmp_path, f"sha256:{'1' * 64}") as engine:
        engine.images = ["localhost:5000/shop/web:1.2", "registry:2"]
        try:
            yield Server(composed, engine)
        finally:
            composed.stop()


@pytest.fixture
def running(server: Server) -> Iterator[tuple[Server, Pusher]]:
    """Set up as the documents say, with images of a year ago."""
    server.run("./setup && docker compose up -d --wait")
    with Pusher(server.composed.url, headers=NO_PULL) as pusher:
        for number, version in enumerate(VERSIONS):
            pusher.push_image("shop/web", version, seed=version, config=created(400 - number))
        child = pusher.push_image("shop/web", seed="child", config=created(500))
        pusher.push_index("shop/web", "multi", children=[child])
        for name in ("shop/api", "tools/ci"):
            for number in range(3):
                pusher.push_image(name, f"{number}", seed=f"{name} {number}", config=created(300 - number))
        yield server, pusher


def pull(server: Server, reference: str) -> None:
    with Pusher(server.composed.url, headers={"User-Agent": "containerd/2.1.0", "Accept": ACCEPT}) as client:
        _, headers, body = client.request("GET", f"/v2/shop/web/manifests/{reference}")
    assert headers["docker-content-digest"] == Pusher.digest_of(body)
    until(lambda: Digest.of(body) in server.store.pulls(WEB).digests)


def test_what_is_new_or_pulled_or_runs_stays(running: tuple[Server, Pusher]) -> None:
    server, pusher = running
    before = pusher.tags("shop/web")
    child = json.loads(pusher.raw("shop/web", "multi"))["manifests"][0]["digest"]
    pull(server, "1.1")
    pull(server, child)
    assert "containerd/2.1.0" in server.run("docker compose run --rm dregutil pulls shop/web:1.1")
    shown = server.run("docker compose run --rm cleanup --dry-run --details")
    assert "pulled_within: 90d (recorded for 0 of 90 days)" in shown
    assert "nothing to remove" in server.run("docker compose run --rm -T cleanup")

    server.record_since(days=100)
    shown = server.run("docker compose run --rm cleanup --dry-run --details")
    assert "in use: docker, 0s old: 1 of its 3 images are here" in shown
    server.run("docker compose run --rm -T cleanup")
    kept = {*before} - REMOVED
    assert set(pusher.tags("shop/web")) == kept
    assert all(len(pusher.tags(name)) == 3 for name in ("shop/api", "tools/ci"))

    refused = server.run("./collect", code=5)
    assert "could not be undone" in refused
    with Pusher(server.composed.url, headers=NO_PULL) as again:  # the registry was started again, twice
        again.push_image("tools/ci", "3", seed="it takes pushes")
    runs_are_older(server.state, timedelta(hours=21))
    gone = [digest for tag, digest in before.items() if tag in REMOVED]
    assert all(server.blob(digest).exists() for digest in gone)
    server.run("./collect")
    assert not [digest for digest in gone if server.blob(digest).exists()]
    with Pusher(server.composed.url, headers=NO_PULL) as again:
        assert {tag: again.tags("shop/web")[tag] for tag in kept} == {tag: before[tag] for tag in kept}
        assert all(again.is_whole("shop/web", tag) for tag in kept)
        again.push_image("shop/web", "2.0", seed="after")
    assert f"{WEB}:1.1" in server.run("docker compose run --rm dregutil pulls shop/web:1.1")
    server.run("docker compose run --rm cleanup --dry-run")
    (source,) = server.store.sources()
    now = datetime.now(UTC)
    since = source_since(source, now, timedelta(minutes=5))
    assert since is not None
    assert since < now - timedelta(days=99), "the restarts left no gap that matters"


def test_setup_makes_private_files_and_can_be_run_again(server: Server) -> None:
    server.run("./setup")
    project = server.composed.project
    first = {name: (project / name).read_text() for name in ("token", "config.yml", ".env")}
    assert f"Bearer {first['token']}" in first["config.yml"]
    assert len(first["token"]) == 64
    assert not [name for name in (*first, "images", "state") if (project / name).stat().st_mode & 0o077]
    server.run("./setup")
    assert {name: (project / name).read_text() for name in first} == first


def test_without_setup_or_docker_nothing_starts(server: Server) -> None:
    assert "run ./setup first" in server.run("docker compose up -d --wait", code=1)
    server.run("DOCKER_HOST=unix:///not/here ./setup", code=1)
    assert not (server.composed.project / ".env").exists()

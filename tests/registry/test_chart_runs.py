"""The chart's pods as processes: they mount what Kubernetes lays out, and their commands run on a real registry."""

from __future__ import annotations

import base64
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from charted import LEAST, LISTENER, Document, joined, render
from images import Pusher, created
from listening import ENDPOINT, until
from podded import container_of
from servers import DistributionServer, find_program, free_port

LOGIN = ("robot", "a-password")
POLICY = "version: 1\npolicies:\n  - {name: all, repositories: ['**'], keep: {last: 3}, max_remove: 90%}\n"


class Cluster:
    """A registry with a login that sends notifications, and what the chart makes for it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        made = subprocess.run([find_program("htpasswd"), "-nbB", *LOGIN], capture_output=True, text=True, check=True)
        (folder / "htpasswd").write_text(made.stdout)
        auth = f"auth: {{htpasswd: {{realm: r, path: {folder / 'htpasswd'}}}}}\n"
        self.registry = DistributionServer(folder / "registry", auth=auth + ENDPOINT.format(port=self.port))
        basic = base64.b64encode(":".join(LOGIN).encode()).decode()
        self.basic = {"Authorization": f"Basic {basic}"}
        docker = json.dumps({"auths": {self.registry.host: {"auth": basic}}})
        self.secrets = {"docker": {".dockerconfigjson": docker}, "token": {"token": "secret"}}

    def container(self, part: str, **values: Document) -> tuple[list[str], dict[str, str]]:
        """The command line and the environment of a pod's first container, with the files that it mounts."""
        own: Document = {
            "registries": {"prod": {"address": self.registry.url, "concurrency": 4}},
            "policy": POLICY,
            "credentials": {"existingSecret": "docker"},
        }
        (answer,) = render([joined(LEAST, LISTENER, own, values)])
        return container_of(
            part, answer["files"], self.folder, self.secrets, {"0.0.0.0:5099": f"127.0.0.1:{self.port}"}
        )


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    found = Cluster(tmp_path)
    with found.registry, Pusher(found.registry.url, headers=found.basic) as pusher:
        for number in range(6):
            pusher.push_image("shop/web", f"1.{number}", seed=str(number), config=created(60 - number))
        yield found


def _run(container: tuple[list[str], dict[str, str]], folder: Path) -> subprocess.CompletedProcess[str]:
    words, environment = container
    return subprocess.run(words, env=environment, cwd=folder, capture_output=True, text=True, check=False)


def _tags(cluster: Cluster) -> set[str]:
    with Pusher(cluster.registry.url, headers=cluster.basic) as pusher:
        return {*pusher.tags("shop/web")}


def test_a_cleanup_shows_then_removes_and_can_be_undone(cluster: Cluster) -> None:
    done = _run(cluster.container("cleanup"), cluster.folder)
    assert done.returncode == 0, done.stderr
    assert "3 tags to go" in done.stdout
    assert len(_tags(cluster)) == 6
    words, environment = cluster.container("cleanup", cleanup={"mode": "remove"})
    done = _run((words, environment), cluster.folder)
    assert done.returncode == 0, done.stderr
    assert _tags(cluster) == {"1.3", "1.4", "1.5"}
    done = _run(([words[0], "undo", "-y"], environment), cluster.folder)
    assert done.returncode == 0, done.stderr
    assert len(_tags(cluster)) == 6


def test_the_listener_records_pulls_where_the_cleanup_finds_them(cluster: Cluster) -> None:
    words, environment = cluster.container("listener")
    with subprocess.Popen(words, env=environment, cwd=cluster.folder, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "listening on" in process.stderr.readline()
        with Pusher(cluster.registry.url, headers={**cluster.basic, "User-Agent": "containerd/2.1.0"}) as client:
            client.raw("shop/web", "1.0")
        words, environment = cluster.container("cleanup")
        shown = [words[0], "pulls", "--format", "json"]
        until(lambda: "1.0" in _run((shown, environment), cluster.folder).stdout)
        process.terminate()
        process.communicate(timeout=30)
    assert process.returncode == 0

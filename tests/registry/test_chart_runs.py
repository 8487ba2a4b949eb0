"""The chart's pods as processes: they mount what Kubernetes lays out, and their commands run on a real registry."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from charted import LEAST, LISTENER, Document, joined, pods, render
from images import Pusher, created
from listening import ENDPOINT, until
from program import PROGRAM
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
        texts = [text for name, text in answer["files"].items() if name.endswith(".yaml")]
        documents = [one for text in texts for one in _all(text)]
        maps = {one["metadata"]["name"]: one["data"] for one in documents if one["kind"] == "ConfigMap"}
        spec = next(s for m, s in pods(documents) if m["labels"]["app.kubernetes.io/component"] == part)
        container = spec["containers"][0]
        volumes = {one["name"]: self._volume(part, one, maps) for one in spec["volumes"]}
        places = {one["mountPath"]: volumes[one["name"]] / one.get("subPath", "") for one in container["volumeMounts"]}

        def here(text: str) -> str:
            for target, place in sorted(places.items(), key=lambda one: -len(one[0])):
                option, mark, value = text.rpartition("=")
                if value == target or value.startswith(f"{target}/"):
                    return f"{option}{mark}{place}{value[len(target) :]}"
            return text.replace("0.0.0.0:5099", f"127.0.0.1:{self.port}")

        environment = {one["name"]: here(one["value"]) for one in container["env"]}
        return [str(PROGRAM), *map(here, container["args"])], {"PATH": os.environ["PATH"], **environment}

    def _volume(self, part: str, volume: Document, maps: Document) -> Path:
        """As the kubelet has it: a folder with links to links, so that all files change at once."""
        shared = "persistentVolumeClaim" in volume
        place = self.folder / "volumes" / ("" if shared else part) / str(volume["name"])
        data = place / "..2026_11_27"
        if "configMap" in volume:
            files = maps[volume["configMap"]["name"]]
        elif "secret" in volume:
            known = self.secrets[volume["secret"]["secretName"]]
            files = {one["path"]: known[one["key"]] for one in volume["secret"]["items"]}
        else:
            place.mkdir(parents=True, exist_ok=True)
            return place
        data.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (data / name).write_text(text)
            if not (place / name).is_symlink():
                (place / name).symlink_to(f"..data/{name}")
        if not (place / "..data").is_symlink():
            (place / "..data").symlink_to(data.name)
        return place


def _all(text: str) -> Iterator[Document]:
    yield from (one for one in yaml.safe_load_all(text) if one)


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

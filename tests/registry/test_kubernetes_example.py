"""examples/kubernetes: the commands of its containers, run as processes, on a registry that sends its notifications."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from documents import ROOT
from dregutil.oci.names import Digest, RegistryAddress, Repository
from dregutil.pulls.store import PullStore
from images import ACCEPT, Pusher, created
from listening import ENDPOINT, until
from program import PROGRAM
from servers import DistributionServer, free_port
from servers.kubernetes import KubernetesServer, kubeconfig, pod
from time_passed import record_since

EXAMPLE = ROOT / "examples" / "kubernetes"
NO_PULL = {"User-Agent": "trivy/0.60.0"}


class Cluster:
    """What the manifests need: their volumes as folders, a registry, and an API server."""

    def __init__(self, folder: Path, api: KubernetesServer) -> None:
        self.folder = folder
        self.port = free_port()
        self.registry = DistributionServer(folder / "registry", auth=ENDPOINT.format(port=self.port))
        self.kubeconfig = kubeconfig(folder / "kubeconfig", {"here": api.url})
        for name in ("state", "token", "policy"):
            (folder / name).mkdir()
        (folder / "token" / "token").write_text("secret")
        (folder / "policy" / "policy.yml").write_text((EXAMPLE / "policy.yml").read_text())

    def pods(self) -> dict[str, dict[str, Any]]:
        """The pods by kind of what makes them."""
        found = {}
        for path in EXAMPLE.glob("*.yaml"):
            for one in yaml.safe_load_all(path.read_text()):
                if one["kind"] == "CronJob":
                    found["CronJob"] = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]
                elif one["kind"] == "Deployment" and one["metadata"]["name"] == "registry-listen":
                    found["Deployment"] = one["spec"]["template"]["spec"]
        return found

    def process(self, kind: str) -> tuple[list[str], Mapping[str, str]]:
        """The command line and the environment of a container, with the paths and addresses that it has here."""
        spec = self.pods()[kind]
        (container,) = spec["containers"]
        places = {one["mountPath"]: self.folder / one["name"] for one in container["volumeMounts"]}

        def here(text: str) -> str:
            for target, place in places.items():
                text = str(place) + text[len(target) :] if text.startswith(target) else text
            return text.replace("0.0.0.0:5099", f"127.0.0.1:{self.port}")

        given = {one["name"]: here(one["value"]) for one in container["env"] if "value" in one}
        assert given["REGISTRY"] == "registry.example.com"
        words = [str(PROGRAM), *(here(word) for word in container["args"][1:])]
        clusters = {"KUBECONFIG": str(self.kubeconfig)}  # in place of the service account
        return words, {"PATH": os.environ["PATH"], **given, "REGISTRY": self.registry.url, **clusters}

    @contextmanager
    def listening(self) -> Iterator[None]:
        words, environment = self.process("Deployment")
        with subprocess.Popen(words, env=environment, cwd=self.folder, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            assert "listening on" in process.stderr.readline()
            yield
            process.terminate()
            process.communicate(timeout=30)
        assert process.returncode == 0

    def clean_up(self) -> str:
        words, environment = self.process("CronJob")
        done = subprocess.run(words, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stderr


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with KubernetesServer() as api:
        api.objects["pods"] = [pod("registry.example.com/shop/web:1.2")]
        api.objects["replicasets.apps"] = [{"spec": {"template": pod("registry.example.com/shop/web:1.3")}}]
        found = Cluster(tmp_path, api)
        with found.registry:
            yield found


def test_what_is_new_or_pulled_or_runs_in_the_cluster_stays(cluster: Cluster) -> None:
    with cluster.listening(), Pusher(cluster.registry.url, headers=NO_PULL) as pusher:
        for number in range(8):
            pusher.push_image("shop/web", f"1.{number}", seed=str(number), config=created(400 - number))
        store = PullStore(cluster.folder / "state", RegistryAddress.parse(cluster.registry.url).identity)
        with Pusher(cluster.registry.url, headers={"User-Agent": "containerd/2.1.0", "Accept": ACCEPT}) as client:
            pulled = Digest.of(client.request("GET", "/v2/shop/web/manifests/1.1")[2])
        until(lambda: pulled in store.pulls(Repository("shop/web")).digests)
        assert "recorded for 0 of 90 days" in cluster.clean_up()
        record_since(store, f"http://127.0.0.1:{cluster.port}", "secret", days=100)
        shown = cluster.clean_up()
        assert "in use: kubernetes here, 0s old: 2 of its 2 images are here" in shown
        assert set(pusher.tags("shop/web")) == {"1.1", "1.2", "1.3", "1.5", "1.6", "1.7"}

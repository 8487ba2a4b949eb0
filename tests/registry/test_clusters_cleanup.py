"""A cleanup that asks two Kubernetes clusters what they run, on the real registry."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher, created
from program import Program
from servers import DistributionServer
from servers.kubernetes import KubernetesServer, helm_release, kubeconfig, pod

POLICY = """version: 1
defaults: {max_remove: 100%, min_age: 1d}
protect: {in_use: [{kubernetes: {contexts: [prod, stage]}}]}
policies:
  - {name: all, repositories: ["**"], keep: {last: 1}}
"""
SECRET = "hunter2-secret"
IN_USE = {"1.0", "2.0", "3.0", "4.0", "multi"}


@pytest.fixture
def clusters() -> Iterator[tuple[KubernetesServer, KubernetesServer]]:
    with KubernetesServer(token=SECRET) as prod, KubernetesServer(token=SECRET) as stage:
        yield prod, stage


@pytest.fixture
def program(
    registry_server: DistributionServer,
    pusher: Pusher,
    clusters: tuple[KubernetesServer, KubernetesServer],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Program:
    """A policy that keeps 9.0, and a registry with what the clusters run."""
    for version in range(1, 10):
        pusher.push_image("shop/web", f"{version}.0", seed=str(version), config=created(20 - version))
    child = pusher.push_image("shop/web", seed="child", config=created(30))
    pusher.push_index("shop/web", "multi", children=[child])
    prod, stage = clusters
    host = registry_server.url.partition("://")[2]
    prod.objects["pods"] = [pod(f"{host}/shop/web@{child['digest']}")]
    prod.objects["rollouts.argoproj.io"] = [{"spec": {"template": pod(f"{host}/shop/web:1.0")}}]
    prod.objects["secrets"] = [helm_release(f"---\nkind: Pod\nspec: {{image: '{host}/shop/web:2.0'}}\n")]
    stage.objects["pods"] = [pod(f"{host}/shop/web:{version}") for version in ("3.0", "4.0")]
    stage.page = 1
    servers = {"prod": prod.url, "stage": stage.url, "other": "http://127.0.0.1:1"}
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path / "kubeconfig", servers, {"token": SECRET})))
    (tmp_path / "policy.yml").write_text(POLICY)
    return Program(registry_server.url, tmp_path)


def test_what_runs_in_either_cluster_stays_whole(program: Program, pusher: Pusher) -> None:
    shown = program.run("cleanup", "-f", "policy.yml", "--dry-run", "--details")
    assert shown.returncode == 0, shown.stderr
    assert "in use: kubernetes prod, 0s old: 3 of its 3 images are here" in shown.stdout
    assert "in use: kubernetes stage, 0s old: 2 of its 2 images are here" in shown.stdout
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--yes-remove", "9")
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"9.0", *IN_USE}
    assert all(pusher.is_whole("shop/web", tag) for tag in IN_USE)
    files = [path for path in program.state.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]


@pytest.mark.parametrize("path", ["/api/v1/pods", "/apis/apps/v1", "/apis/batch/v1/jobs"])
def test_a_cluster_that_does_not_tell_all_refuses_the_run(
    program: Program, pusher: Pusher, clusters: tuple[KubernetesServer, KubernetesServer], path: str
) -> None:
    before = pusher.tags("shop/web")
    clusters[1].failures_of[path] = 403
    done = program.run("cleanup", "-f", "policy.yml", "-y", "--yes-remove", "9")
    assert done.returncode == 5
    assert "kubernetes stage" in done.stderr
    assert pusher.tags("shop/web") == before


def test_a_pod_that_starts_after_a_plan_was_saved_stays(
    program: Program,
    pusher: Pusher,
    clusters: tuple[KubernetesServer, KubernetesServer],
    registry_server: DistributionServer,
) -> None:
    made = program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl")
    assert made.returncode == 0, made.stderr
    clusters[0].objects["pods"].append(pod(f"{registry_server.url.partition('://')[2]}/shop/web:5.0"))
    done = program.run("apply", "plan.jsonl", "-y", "--yes-remove", "9")
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {"9.0", "5.0", *IN_USE}
    assert pusher.is_whole("shop/web", "5.0")
    assert "in use by now: kubernetes prod" in done.stderr


def test_a_cluster_that_is_down_when_a_saved_plan_is_applied_refuses(
    program: Program, pusher: Pusher, clusters: tuple[KubernetesServer, KubernetesServer]
) -> None:
    before = pusher.tags("shop/web")
    assert program.run("cleanup", "-f", "policy.yml", "--plan-out", "plan.jsonl").returncode == 0
    clusters[1].stop()
    for more in (("--dry-run",), ("-y", "--yes-remove", "9")):
        done = program.run("apply", "plan.jsonl", *more)
        assert done.returncode == 5, done.stderr
        assert "kubernetes stage" in done.stderr
    assert pusher.tags("shop/web") == before


def test_why_names_the_cluster(program: Program) -> None:
    done = program.run("why", "shop/web:3.0", "-f", "policy.yml")
    assert done.returncode == 0, done.stderr
    assert "in use: kubernetes stage" in done.stdout

"""The retention manual and the examples: everything in them is valid, and every key is documented."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from test_policy_objects import without_places

from dregutil.cli.parser import build_parser
from dregutil.retention.policyfile import read_policy
from dregutil.retention.policyfile.shape import KEYS
from images import Pusher, created
from program import PROGRAM, Program
from servers import DistributionServer

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "retention.md").read_text()
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_every_policy_in_the_manual_is_valid(block: str) -> None:
    found = read_policy(block)
    assert found.policies or found.floor


def test_the_policy_in_python_is_the_first_of_the_manual() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    found: dict[str, Any] = {}
    exec(code, found)
    assert without_places(found["policies"]) == without_places(read_policy(_yaml_blocks()[0], "written in Python"))


def test_the_manual_names_every_key() -> None:
    assert [key for keys in KEYS.values() for key in keys if key not in TEXT] == []


def test_keep_rules_in_the_comparison_are_valid() -> None:
    rules = re.findall(r"`(keep: \{.*?\})`", TEXT)
    assert len(rules) > 8
    for rule in rules:
        read_policy(f"version: 1\npolicies: [{{name: p, repositories: [x], {rule}}}]")


def test_the_example_policy_is_valid() -> None:
    assert len(read_policy((EXAMPLES / "policy.yml").read_text()).policies) == 2


def test_the_nightly_commands_are_valid() -> None:
    lines = [line for line in (EXAMPLES / "nightly-cleanup").read_text().splitlines() if line.startswith("dregutil ")]
    assert [build_parser().parse_args(shlex.split(line)[1:]).command for line in lines] == ["policy", "cleanup"]


def test_the_kubernetes_cron_job_is_complete() -> None:
    job, role, *_ = _cron_job()
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program, *arguments = container["args"]
    assert program == "dregutil"
    assert build_parser().parse_args(arguments).command == "cleanup"
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for one in (*pod["initContainers"], container) for mount in one["volumeMounts"]}
    assert mounted == volumes
    asked = re.search(r"kubectl get (\S+) -A", pod["initContainers"][0]["args"][0])
    assert asked is not None
    assert set(asked[1].split(",")) == {kind for rule in role["rules"] for kind in rule["resources"]}


def test_every_object_in_the_cron_job_is_defined_or_its_creation_is_documented() -> None:
    text = (EXAMPLES / "cronjob.yaml").read_text()
    job, *others = _cron_job()
    made = {(one["kind"], one["metadata"]["name"]) for one in others}
    told = re.findall(
        r"^#   kubectl create (configmap|secret generic) (\S+) -n registry-cleanup --from-", text, re.MULTILINE
    )
    made |= {({"configmap": "ConfigMap"}.get(kind, "Secret"), name) for kind, name in told}
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (binding,) = [one for one in others if one["kind"] == "ClusterRoleBinding"]
    named = {("ServiceAccount", pod["serviceAccountName"])}
    named |= {("ConfigMap", one["configMap"]["name"]) for one in pod["volumes"] if "configMap" in one}
    claims = [one["persistentVolumeClaim"] for one in pod["volumes"] if "persistentVolumeClaim" in one]
    named |= {("PersistentVolumeClaim", claim["claimName"]) for claim in claims}
    values = [one["valueFrom"]["secretKeyRef"] for one in pod["containers"][0]["env"] if "valueFrom" in one]
    named |= {("Secret", value["name"]) for value in values}
    named |= {(one["kind"], one["name"]) for one in (binding["roleRef"], *binding["subjects"])}
    assert named == made - {("ClusterRoleBinding", binding["metadata"]["name"])}
    assert all(f"--from-literal={value['key']}=" in text or f"--from-file={value['key']}=" in text for value in values)
    images = {one["image"] for one in (*pod["initContainers"], *pod["containers"])}
    assert images == set(re.findall(r"docker push (\S+)", text))
    assert "namespace: registry-cleanup" in text


def test_the_image_of_the_cron_job_has_both_programs() -> None:
    lines = [line for line in (EXAMPLES / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert [line.split()[0] for line in lines] == ["FROM", "COPY", "COPY", "COPY", "COPY", "RUN", "USER"]
    assert lines[1].endswith("/kubectl")
    copied = [name for line in lines[2:5] for name in line.split()[1:-1]]
    assert all((EXAMPLES.parent / name).exists() for name in copied)
    project = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "src", "man", project["readme"], *project["license-files"]} <= set(copied)
    assert lines[5].endswith(" /dregutil")


def _cron_job() -> list[dict[str, Any]]:
    return list(yaml.safe_load_all((EXAMPLES / "cronjob.yaml").read_text()))


# Ages in days.
RELEASES = {
    "1.3.0": 260,
    "1.3.1": 200,
    "1.3.2": 160,
    "1.4.0": 120,
    "1.4.1": 95,
    "1.4.2": 60,
    "1.4.3": 41,
    "1.5.0-rc1": 30,
    "1.5.0": 20,
}
BUILDS = ("a1b2c3d", "1b2c3d4", "b2c3d4e", "2c3d4e5", "c3d4e5f", "3d4e5f6", "0000006", "0000007")
IN_USE = "registry.example.com/shop/web:1.3.0\nregistry.example.com/shop/web:1.4.3\nquay.io/coreos/etcd:v3.5\n"


@pytest.fixture
def manual(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Callable[[str], str]:
    """Run a command from the manual, on the registry it describes; return what was written to both outputs."""
    _push_shop(pusher)
    program = Program(registry_server.url, tmp_path)
    (tmp_path / "cluster-images.txt").write_text(IN_USE)
    (tmp_path / "policy.yml").write_text(_yaml_blocks()[0])
    (tmp_path / "policies.d").mkdir()
    (tmp_path / "policies.d" / "floor.yaml").write_text(next(block for block in _yaml_blocks() if "floor:" in block))
    for team in ("web", "api"):
        policy = f"version: 1\npolicies:\n  - {{name: {team}, repositories: ['{team}/**'], keep: {{last: 5}}}}\n"
        (tmp_path / "policies.d" / f"{team}.yaml").write_text(policy)

    def run(line: str) -> str:
        line = line.replace("registry.example.com", program.url.partition("://")[2])
        line = line.replace("/var/lib/registry", str(registry_server.storage))
        done = program.run(*shlex.split(line)[1:])
        assert done.returncode == 0, done.stderr
        return (done.stderr + done.stdout).replace(program.url.partition("://")[2], "registry.example.com")

    return run


def test_every_output_in_the_manual_is_that_of_the_commands(
    manual: Callable[[str], str], registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    shown = re.findall(r"```console\n\$ (dregutil .*?)\n(.*?)```", TEXT, re.DOTALL)
    assert len(shown) == 7
    for line, output in shown:
        if "--storage" in line:
            (strays,) = (block for block in _yaml_blocks() if "name: strays" in block)
            (tmp_path / "strays.yml").write_text(strays)
            _push_strays(pusher, registry_server.storage)
        found = manual(line)
        if "DREGUTIL_SHOW" in os.environ:
            print(f"```console\n$ {line}\n{found}```")
            continue
        assert _fits(_plain(output), _plain(found)), f"$ {line}\n{found}"


def test_the_mistake_in_the_manual_is_reported_as_shown(tmp_path: Path) -> None:
    (mistake,) = re.findall(r"^(policy\.yml:\d+:\d+: .*)$", TEXT, re.MULTILINE)
    (tmp_path / "policy.yml").write_text(_yaml_blocks()[0].replace("keep: {last: 2,", "keep: {keep-lst: 2,"))
    done = Program("http://localhost:1", tmp_path).run("policy", "check", "policy.yml")
    assert done.stdout.splitlines() == [mistake]


def _yaml_blocks() -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


def _push_shop(pusher: Pusher) -> None:
    for version, days in RELEASES.items():
        tags = (version, "1.4", "latest") if version == "1.4.3" else (version,)
        pusher.push_image("shop/web", *tags, seed=version, config=created(days))
    for number, build in enumerate(BUILDS):
        pusher.push_image("shop/web", f"main-{build}", seed=build, config=created(21 - 2 * number))


def _push_strays(pusher: Pusher, storage: Path) -> None:
    children = [pusher.push_image("shop/web", seed=f"old {name}", config=created(50)) for name in ("one", "two")]
    pusher.push_index("shop/web", children=children)
    pusher.push_image("shop/web", seed="alone", config=created(40))
    pusher.push_image("shop/web", seed="young", config=created(3))
    pusher.push_image("shop/web", seed="undated")
    moment = datetime.now(UTC).timestamp() - 45 * 86400
    for link in storage.rglob("_manifests/revisions/*/*/link"):
        os.utime(link, (moment, moment))


def _plain(text: str) -> list[str]:
    """Lines without what differs between runs: times, digests, ages in seconds, and the addresses of this registry and
    its state."""
    for pattern, mark in (
        (r" -reg \S+ --state-dir [^\s`]+", ""),
        (r"\d{8}T\d{6}Z-[0-9a-f]{5}", "RUN"),
        (r"undo RUN [^`]*`", "undo RUN`"),  # the advice repeats the options of the command
        (r"\d{4}-\d\d-\d\d \d\d:\d\d", "DATE"),
        (r"sha256:[0-9a-f]{12,64}", "DIGEST"),
        (r"\b\d+s\b", "AGE"),
        (r"about \d+ s", "about 1 s"),
    ):
        text = re.sub(pattern, mark, text)
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


def _fits(shown: list[str], found: list[str]) -> bool:
    """Whether lines are as shown; `…` matches any number of lines."""
    if not shown:
        return not found
    if shown[0] == "…":
        return any(_fits(shown[1:], found[place:]) for place in range(len(found) + 1))
    return bool(found) and shown[0] == found[0] and _fits(shown[1:], found[1:])


def test_the_nightly_example_runs(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(8):
        pusher.push_image("shop/web", f"main-{number:07x}", seed=str(number), config=created(60 - number))
    host = registry_server.url.partition("://")[2]
    pod = {"spec": {"containers": [{"image": f"{host}/shop/web:main-0000000"}]}}
    kubectl = tmp_path / "bin" / "kubectl"
    kubectl.parent.mkdir()
    kubectl.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps({'kind': 'List', 'items': [pod]})}\nEND\n")
    kubectl.chmod(0o755)
    (tmp_path / "policy.yml").write_text((EXAMPLES / "policy.yml").read_text())
    for name, value in {
        "PATH": f"{kubectl.parent}:{PROGRAM.parent}:{os.environ['PATH']}",
        "POLICY_DIR": str(tmp_path),
        "REGISTRY": registry_server.url,
    }.items():
        monkeypatch.setenv(name, value)
    done = subprocess.run(["sh", EXAMPLES / "nightly-cleanup"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert set(pusher.tags("shop/web")) == {f"main-{number:07x}" for number in (0, 3, 4, 5, 6, 7)}

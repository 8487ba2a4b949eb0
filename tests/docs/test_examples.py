"""The examples: each file is valid, what it names is defined, and its commands are those of the program."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from dregutil.cli.configuration import read_configuration
from dregutil.cli.parser import build_parser
from dregutil.oci.names import RegistryAddress
from dregutil.retention.policyfile import read_policy
from dregutil.store.address import StoreAddress
from images import Pusher, created
from program import PROGRAM
from servers import DistributionServer

EXAMPLES = Path(__file__).parents[2] / "examples"
COMPOSE = EXAMPLES / "compose" / "compose.yml"
PAGES = EXAMPLES / "compose" / "serve.yml"
TEAM = EXAMPLES / "compose" / "team.yml"
KUBERNETES = sorted((EXAMPLES / "kubernetes").glob("*.yaml"))
NEWEST = "1.37"  # of Kubernetes
NAMESPACE = "registry-cleanup"


def test_every_policy_is_valid() -> None:
    found = {path.relative_to(EXAMPLES).as_posix(): path.read_text() for path in EXAMPLES.rglob("policy.yml")}
    assert {name: len(read_policy(text).policies) for name, text in found.items()} == {
        "policy.yml": 2,
        "compose/policy/policy.yml": 1,
        "kubernetes/policy.yml": 1,
    }


def test_the_nightly_commands_are_valid() -> None:
    lines = [line for line in (EXAMPLES / "nightly-cleanup").read_text().splitlines() if line.startswith("dregutil ")]
    assert [build_parser().parse_args(shlex.split(line)[1:]).command for line in lines] == ["policy", "cleanup"]


# Compose


@pytest.mark.parametrize("path", [COMPOSE, PAGES, TEAM], ids=lambda path: path.name)
def test_the_compose_files_are_valid(path: Path) -> None:
    """By the schema of the Compose specification."""
    checker = Path(sys.executable).with_name("check-jsonschema")
    command = [str(checker), "--builtin-schema", "vendor.compose-spec", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def test_what_the_compose_file_names_is_there() -> None:
    document = yaml.safe_load(COMPOSE.read_text())
    for service in document["services"].values():
        assert {*service.get("secrets", ())} <= document["secrets"].keys()
        sources = {volume.rpartition(":/")[0].partition(":/")[0] for volume in service["volumes"]}
        assert {*sources} <= {"./config.yml", "./images", "./policy", "./state", "${DOCKER_SOCKET:?run ./setup first}"}
    made = (EXAMPLES / "compose" / "setup").read_text()
    assert "mkdir -p images state\n" in made
    assert [secret["file"] for secret in document["secrets"].values()] == ["./token"]
    named = {name for name, operator in re.findall(r"\$\{(\w+)(:[-?])?", COMPOSE.read_text()) if operator == ":?"}
    assert named == set(re.findall(r"^(\w+)=.*\$", made.partition(".env <<END")[2], re.MULTILINE))


def test_the_services_share_the_records_and_name_the_registry_alike() -> None:
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    own = [service for name, service in services.items() if name != "registry"]
    assert len({json.dumps(service["environment"]) for service in own}) == 1
    assert all("./state:/state" in service["volumes"] for service in own)
    assert all(service["image"] == "dregutil" and service["pull_policy"] == "never" for service in own)
    assert len({service["user"] for service in services.values()}) == 1


def test_the_pages_share_the_records_and_are_reached_through_the_login_alone() -> None:
    services = yaml.safe_load(PAGES.read_text())["services"]
    beside = yaml.safe_load(COMPOSE.read_text())["services"]["cleanup"]
    serve, login = services["serve"], services["login"]
    for key in ("image", "pull_policy", "user", "working_dir", "environment", "volumes", "group_add"):
        assert serve[key] == beside[key], key
    assert login["network_mode"] == "service:serve"
    assert not login.keys() & {"ports", "networks"}
    configuration = (PAGES.parent / "oauth2-proxy.cfg").read_text()
    port = tomllib.loads(configuration)["http_address"].rpartition(":")[2]
    assert serve["ports"] == [f"127.0.0.1:{port}:{port}"]
    words = [*serve["entrypoint"][1:], *serve["command"]]
    args = build_parser().parse_args(words)
    assert (args.addr, args.trusted_proxy) == ("127.0.0.1:8090", ["127.0.0.1/32"])


def test_the_team_shares_a_store_whose_password_is_in_a_file_alone() -> None:
    document = yaml.safe_load(TEAM.read_text())
    services, beside = document["services"], yaml.safe_load(COMPOSE.read_text())["services"]
    store, secret = document["x-store"], document["secrets"]["store-password"]["file"]
    address = StoreAddress.parse(store["DREGUTIL_STORE"], may_have_password=False)
    assert address.url == f"postgresql://{services['store']['environment']['POSTGRES_USER']}@store/dregutil"
    assert f">{secret.removeprefix('./')})" in TEAM.read_text()
    for name in ("work", "listen", "dregutil"):
        assert services[name]["environment"].items() >= store.items(), name
        assert services[name]["secrets"] == ["store-password"], name
    work = services["work"]
    for key in ("image", "pull_policy", "user"):
        assert work[key] == beside["cleanup"][key], key
    assert build_parser().parse_args(work["entrypoint"][1:]).command == "work"
    configuration = read_configuration(TEAM.with_suffix(".toml"))
    (schedule,) = configuration.schedules.values()
    args = build_parser().parse_args([schedule.run, *schedule.args])
    assert (args.command, args.approve) == ("cleanup", True)
    mounted = dict(reversed(volume.removesuffix(":ro").rsplit(":", 1)) for volume in work["volumes"])
    assert mounted[work["environment"]["DREGUTIL_CONFIG"]] == f"./{TEAM.stem}.toml"
    policy = Path(schedule.args[schedule.args.index("-f") + 1])
    assert (TEAM.parent / mounted[str(policy.parent)] / policy.name).exists()


def _with_the_team() -> dict[str, Any]:
    """The services of compose.yml with team.yml, as Compose merges them: tables by key, lists joined."""

    def merged(one: Any, other: Any) -> Any:
        if isinstance(one, dict) and isinstance(other, dict):
            return {**one, **{key: merged(one.get(key), value) for key, value in other.items()}}
        replaces = one is None or not isinstance(one, list)
        return other if replaces else [*one, *other]

    base, team = (yaml.safe_load(path.read_text())["services"] for path in (COMPOSE, TEAM))
    commands = {
        name: {key: value for key, value in one.items() if key in ("entrypoint", "command")}
        for name, one in team.items()
    }
    return {name: {**one, **commands.get(name, {})} for name, one in merged(base, team).items()}


def test_in_a_team_everything_uses_the_store() -> None:
    """`collect` without it would not see the cleanup of an hour ago, and `undo` could not put it back."""
    for name, service in _with_the_team().items():
        if service["image"] == "dregutil":
            assert service["environment"]["DREGUTIL_STORE"], name
            assert "store-password" in service["secrets"], name
    own = read_configuration(TEAM.with_suffix(".toml")).registries["registry"].address
    environment = yaml.safe_load(COMPOSE.read_text())["x-dregutil"]["environment"]
    assert own.key == RegistryAddress.parse(environment["REGISTRY"]).key
    said = TEAM.read_text()
    assert "echo COMPOSE_FILE=compose.yml:team.yml >>.env" in said, "or ./collect and cron would know compose.yml alone"


def test_nothing_is_mounted_below_what_is_read_only() -> None:
    """Docker would have to make the place of the mount there, and cannot."""
    for name, service in _with_the_team().items():
        places = {}
        for volume in service.get("volumes", ()):
            _, place = volume.removesuffix(":ro").rsplit(":", 1)
            assert place not in places, (name, place)
            places[place] = volume.endswith(":ro")
        for place in places:
            above = [str(parent) for parent in Path(place).parents]
            assert not [one for one, is_fixed in places.items() if is_fixed and one in above], (name, place)


def test_the_scripts_are_posix_shell() -> None:
    for name in ("setup", "collect"):
        path = EXAMPLES / "compose" / name
        assert os.access(path, os.X_OK)
        assert path.read_text().startswith("#!/bin/sh\n")
        subprocess.run(["sh", "-n", path], check=True)


# Kubernetes


def _objects() -> list[dict[str, Any]]:
    return [one for path in KUBERNETES for one in yaml.safe_load_all(path.read_text())]


def _of(kind: str, name: str = "") -> dict[str, Any]:
    (found,) = (one for one in _objects() if one["kind"] == kind and name in ("", one["metadata"]["name"]))
    return found


def _pods() -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """The pods of the cleanup, of the listener and of the pages."""
    job = _of("CronJob")["spec"]["jobTemplate"]["spec"]
    listen, pages = _of("Deployment", "registry-listen"), _of("Deployment", "registry-pages")
    return job["template"]["spec"], listen["spec"]["template"]["spec"], pages["spec"]["template"]["spec"]


@pytest.mark.parametrize("manifest", _objects(), ids=lambda one: f"{one['kind']}-{one['metadata']['name']}")
@pytest.mark.parametrize("version", [NEWEST, "1.30"])
def test_every_manifest_is_valid(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)
    assert (manifest["kind"] == "ClusterRole" or "Binding" in manifest["kind"]) != (
        manifest["metadata"].get("namespace") == NAMESPACE
    )


def test_the_containers_run_commands_with_their_volumes() -> None:
    for pod, command in zip(_pods(), ("cleanup", "listen", "serve"), strict=True):
        container = pod["containers"][0]
        program, *arguments = container["args"]
        assert program == "dregutil"
        assert build_parser().parse_args(arguments).command == command
        assert {one["name"] for one in container["volumeMounts"]} == {one["name"] for one in pod["volumes"]}


def test_the_pods_share_the_records() -> None:
    plain = [{one["name"]: one.get("value") for one in pod["containers"][0]["env"]} for pod in _pods()]
    for name in ("REGISTRY", "DREGUTIL_STATE_DIR", "HOME"):
        assert plain[0][name] == plain[1][name] == plain[2][name] is not None
    labels = _of("Deployment", "registry-listen")["spec"]["template"]["metadata"]["labels"]
    for pod in (_pods()[0], _pods()[2]):
        (near,) = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert near["labelSelector"]["matchLabels"] == labels  # the volume can be mounted on one node only
    for name in ("registry-listen", "registry-pages"):
        deployment, service = _of("Deployment", name), _of("Service", name)
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels == service["spec"]["selector"]


def test_the_pages_are_reached_through_the_login_alone() -> None:
    serve, login = _pods()[2]["containers"]
    assert "--addr=127.0.0.1:8090" in serve["args"]
    assert "--trusted-proxy=127.0.0.1/32" in serve["args"]
    assert "ports" not in serve
    assert "--upstream=http://127.0.0.1:8090/" in login["args"]
    (exposed,) = login["ports"]
    assert f"--http-address=0.0.0.0:{exposed['containerPort']}" in login["args"]
    (port,) = _of("Service", "registry-pages")["spec"]["ports"]
    assert port["targetPort"] == exposed["name"]
    image = yaml.safe_load(PAGES.read_text())["services"]["login"]["image"]
    built = (Path(__file__).parents[1] / "servers" / "built.txt").read_text()
    assert image == login["image"]
    assert f"oauth2-proxy/v7 {image.rpartition(':')[2]} " in re.sub(" +", " ", built), "the tests run this version"


def test_the_address_for_notifications_is_that_of_the_service() -> None:
    service, text = _of("Service", "registry-listen"), (EXAMPLES / "kubernetes" / "listen.yaml").read_text()
    (port,) = service["spec"]["ports"]
    assert f"url: http://{service['metadata']['name']}.{NAMESPACE}.svc:{port['port']}/events\n" in text
    (container,) = _pods()[1]["containers"]
    (exposed,) = container["ports"]
    assert port["targetPort"] == exposed["name"]
    assert f"0.0.0.0:{exposed['containerPort']}" in container["args"]


def _named() -> Iterator[tuple[str, str]]:
    """The objects that others refer to, by kind and name."""
    for pod in _pods():
        if "serviceAccountName" in pod:
            yield "ServiceAccount", pod["serviceAccountName"]
        for one in pod["volumes"]:
            for key, kind, name in (
                ("configMap", "ConfigMap", "name"),
                ("secret", "Secret", "secretName"),
                ("persistentVolumeClaim", "PersistentVolumeClaim", "claimName"),
            ):
                if key in one:
                    yield kind, one[key][name]
        for one in (variable for container in pod["containers"] for variable in container["env"]):
            if "valueFrom" in one:
                yield "Secret", one["valueFrom"]["secretKeyRef"]["name"]
    binding = _of("ClusterRoleBinding")
    for one in (binding["roleRef"], *binding["subjects"]):
        yield one["kind"], one["name"]


def test_every_object_is_defined_or_its_creation_is_documented() -> None:
    text = "".join(path.read_text() for path in KUBERNETES)
    made = {(one["kind"], one["metadata"]["name"]) for one in _objects()}
    told = re.findall(
        rf"^#   kubectl create (configmap|secret generic) (\S+) -n {NAMESPACE} --from-", text, re.MULTILINE
    )
    made |= {({"configmap": "ConfigMap"}.get(kind, "Secret"), name) for kind, name in told}
    roots = {(kind, name) for kind, name in made if kind in ("CronJob", "Deployment", "Service", "ClusterRoleBinding")}
    assert {*_named()} == made - roots
    keys = [
        one["valueFrom"]["secretKeyRef"]["key"]
        for pod in _pods()
        for container in pod["containers"]
        for one in container["env"]
        if "valueFrom" in one
    ]
    assert all(f"--from-literal={key}=" in text or f"--from-file={key}=" in text for key in (*keys, "token"))
    images = {pod["containers"][0]["image"] for pod in _pods()}
    assert images == set(re.findall(r"docker push (\S+)", text))
    applied = " ".join(re.findall(r"^#   kubectl apply (.*)$", text, re.MULTILINE))
    assert sorted(applied.replace("-f ", "").split()) == [path.name for path in KUBERNETES]


def test_the_image_has_both_programs() -> None:
    lines = [line for line in (EXAMPLES / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    assert [line.split()[0] for line in lines] == [
        *("ARG", "FROM", "FROM", "ARG", "COPY", "COPY", "COPY", "COPY", "RUN", "USER")
    ]
    assert lines[4].split()[1:3] == ["--from=registry", "/bin/registry"]
    copied = [name for line in lines[5:8] for name in line.split()[1:-1]]
    assert all((EXAMPLES.parent / name).exists() for name in copied)
    project = tomllib.loads((EXAMPLES.parent / "pyproject.toml").read_text())["project"]
    assert {"pyproject.toml", "src", "man", project["readme"], *project["license-files"]} <= set(copied)
    assert lines[8].endswith(' "/dregutil${EXTRAS:+[$EXTRAS]}"')
    user = lines[9].split()[1]
    assert {str(pod["securityContext"]["runAsUser"]) for pod in _pods()} == {user}


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

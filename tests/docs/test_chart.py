"""charts/dregutil: what Helm renders is valid, restricted and whole, whatever is on; wrong values are refused."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import chart
import kubernetes_validate
import pytest
import yaml

from charted import CHART, LEAST, LISTENER, SERVE, STORE, Document, cases, joined, pods, render
from documents import ROOT, blocks
from dregutil import __version__
from dregutil.cli.configurable import Place
from dregutil.cli.configuration import KEYS, read_configuration
from dregutil.cli.parser import COMMANDS, build_parser
from dregutil.errors import UsageError
from dregutil.retention.policyfile import read_policy

NEWEST, OLDEST = "1.37", "1.30"  # of Kubernetes


def _documents() -> Iterator[tuple[str, Document, list[Document]]]:
    for name, (values, documents) in cases().items():
        yield name, values, list(documents)


def _pods() -> Iterator[tuple[str, Document, Document]]:
    for name, _, documents in _documents():
        for metadata, spec in pods(documents):
            yield name, metadata, spec


def test_every_document_is_valid() -> None:
    distinct = {json.dumps(one, sort_keys=True): one for _, _, documents in _documents() for one in documents}
    assert len(distinct) > 50
    for one in distinct.values():
        for version in (NEWEST, OLDEST):
            kubernetes_validate.validate(one, version, strict=True)
    names = [(one["kind"], one["metadata"]["name"]) for one in cases()["team"][1]]
    assert len(names) == len({*names})


def test_the_version_is_that_of_the_program() -> None:
    about = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert about["version"] == about["appVersion"] == __version__
    assert about["kubeVersion"] == f">={OLDEST}.0-0"


def test_the_manifests_are_current() -> None:
    """After a change of the chart: python tools/chart.py manifests."""
    written = {path.name: path.read_text() for path in chart.RENDERED.iterdir()}
    assert {*written} == {path.name for path in (CHART / "ci").iterdir()}
    for name, text in written.items():
        (_, documents) = cases()[name.removesuffix(".yaml")]
        found = [one for one in yaml.safe_load_all(text) if one]
        assert [_without_helm(one) for one in found] == [_without_helm(one) for one in documents], name
        assert "helm.sh/chart" not in text
        assert "managed-by: Helm" not in text


def _without_helm(document: Document) -> Any:
    text = re.sub(r'"(helm\.sh/chart|app\.kubernetes\.io/managed-by)": "[^"]*"(, )?', "", json.dumps(document))
    return json.loads(text.replace(", }", "}"))


# Pods


def test_every_pod_is_restricted() -> None:
    """As the profile `restricted` of Pod Security has it, and with a root file system that is read only."""
    for name, _, spec in _pods():
        inside = spec["securityContext"]
        assert (inside["runAsNonRoot"], inside["runAsUser"], inside["fsGroup"]) == (True, 65532, 65532), name
        assert inside["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not spec.keys() & {"hostNetwork", "hostPID", "hostIPC", "initContainers"}
        for one in spec["containers"]:
            assert one["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert one["resources"]["requests"].keys() == {"cpu", "memory"}
            assert "memory" in one["resources"]["limits"]
            assert all("hostPort" not in port for port in one.get("ports", ()))
        for one in spec["volumes"]:
            assert len(one.keys() & {"configMap", "secret", "emptyDir", "persistentVolumeClaim"}) == 1


def test_a_service_account_token_is_mounted_only_to_list_what_runs() -> None:
    for name, values, documents in _documents():
        wanted = values.get("inUse", {}).get("enabled", False)
        for metadata, spec in pods(documents):
            part = metadata["labels"]["app.kubernetes.io/component"]
            assert spec["automountServiceAccountToken"] is (wanted and part in ("cleanup", "worker", "serve")), name
        accounts = [one for one in documents if one["kind"] == "ServiceAccount"]
        assert all(one["automountServiceAccountToken"] is False for one in accounts)
        roles = [one for one in documents if "Cluster" in one["kind"]]
        assert len(roles) == (2 if wanted else 0)
        assert all(rule["verbs"] == ["list"] for one in roles for rule in one.get("rules", ()))


def test_secrets_are_named_and_never_made() -> None:
    for name, values, documents in _documents():
        assert all(one["kind"] != "Secret" for one in documents)
        named = {*re.findall(r'"existingSecret": "([^"]+)"', json.dumps(values))}
        used = set()
        for _, spec in pods(documents):
            used |= {one["secret"]["secretName"] for one in spec["volumes"] if "secret" in one}
            variables = [one for container in spec["containers"] for one in container.get("env", ())]
            used |= {one["valueFrom"]["secretKeyRef"]["name"] for one in variables if "valueFrom" in one}
            assert all(one["secret"]["defaultMode"] == 0o440 for one in spec["volumes"] if "secret" in one)
        assert used <= named, name
        if name in ("secrets", "migrate", "team", "nightly"):
            assert used == named, name


def test_what_is_mounted_is_there() -> None:
    for name, values, documents in _documents():
        made = {(one["kind"], one["metadata"]["name"]) for one in documents}
        given = {values.get("existingPolicyConfigMap"), values.get("caBundle", {}).get("existingConfigMap")}
        given.add(values.get("state", {}).get("existingClaim"))
        for _, spec in pods(documents):
            mounted = {one["name"] for container in spec["containers"] for one in container.get("volumeMounts", ())}
            assert mounted == {one["name"] for one in spec["volumes"]}, name
            for one in spec["volumes"]:
                if "configMap" in one:
                    wanted = "ConfigMap", one["configMap"]["name"]
                elif "persistentVolumeClaim" in one:
                    wanted = "PersistentVolumeClaim", one["persistentVolumeClaim"]["claimName"]
                else:
                    continue
                assert wanted in made or wanted[1] in given, (name, wanted)


def test_the_commands_are_those_of_the_program() -> None:
    seen = set()
    for name, _, spec in _pods():
        container = spec["containers"][0]
        assert container["command"] == ["dregutil"]
        words = container["args"]
        command = next(word for word in words if word in ("cleanup", "listen", "serve", "work", "store"))
        seen.add(command)
        if command in COMMANDS and not ("--approve" in words and not _has_option("cleanup", "--approve")):
            assert build_parser().parse_args(words).command == command, name
    assert seen == {"cleanup", "listen", "serve", "work", "store"}


def _has_option(command: str, option: str) -> bool:
    try:
        build_parser().parse_args([command, option])
    except (UsageError, SystemExit):
        return False
    return True


def test_the_configuration_is_read_by_the_program(tmp_path: Path) -> None:
    for name, (values, documents) in cases().items():
        (text,) = (one["data"]["config.toml"] for one in documents if one["metadata"]["name"] == "dregutil-config")
        if "[schedule." in text and "schedule" not in KEYS[Place.TOP]:
            text = text.partition("[schedule.")[0]
        path = tmp_path / "config.toml"
        path.write_text(text)
        found = read_configuration(path)
        assert {*found.registries} == {*values["registries"]}
        assert found.default == values.get("defaultRegistry", "prod"), name
        for key, table in values["registries"].items():
            assert found.registries[key].table.keys() == table.keys() - {"address"}
        if name == "many":
            assert list(found.registries["test"].table["aliases"]) == ["a.example", 'b"\\é<']  # type: ignore[call-overload]
    schema = json.loads((CHART / "values.schema.json").read_text())
    known = schema["properties"]["registries"]["additionalProperties"]["properties"]
    assert known.keys() <= {*KEYS[Place.REGISTRY]}


def test_the_policy_is_read_by_the_program() -> None:
    for values, documents in cases().values():
        for one in documents:
            if one["metadata"]["name"] == "dregutil-policy":
                assert one["data"]["policy.yml"] == values["policy"]
                assert read_policy(one["data"]["policy.yml"]).policies


# What belongs together


def test_selectors_select_their_own_pods() -> None:
    for name, _, documents in _documents():
        labels = [metadata["labels"] for metadata, _ in pods(documents)]
        for one in documents:
            if one["kind"] in ("Deployment", "PodDisruptionBudget"):
                wanted = one["spec"]["selector"]["matchLabels"]
            elif one["kind"] == "Service":
                wanted = one["spec"]["selector"]
            else:
                continue
            assert sum(wanted.items() <= found.items() for found in labels) == 1, (name, one["metadata"]["name"])
            if one["kind"] == "Service":
                (spec,) = (spec for found, spec in pods(documents) if wanted.items() <= found["labels"].items())
                ports = {port["name"] for container in spec["containers"] for port in container.get("ports", ())}
                assert {port["targetPort"] for port in one["spec"]["ports"]} <= ports


def test_pods_that_share_a_volume_of_one_node_are_on_one() -> None:
    for name, values, documents in _documents():
        many = values.get("state", {}).get("accessMode") == "ReadWriteMany"
        for metadata, spec in pods(documents):
            claims = [one["persistentVolumeClaim"] for one in spec["volumes"] if "persistentVolumeClaim" in one]
            assert ("affinity" in spec) == (bool(claims) and not many), name
            if "affinity" in spec:
                (near,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
                assert near["labelSelector"]["matchLabels"].items() <= metadata["labels"].items()
                assert near["labelSelector"]["matchLabels"] == {"dregutil-state": claims[0]["claimName"]}


def test_nothing_passes_the_network_but_what_is_needed() -> None:
    for name, values, documents in _documents():
        policies = [one["spec"] for one in documents if one["kind"] == "NetworkPolicy"]
        if name == "no network policy":
            assert not policies
            continue
        for metadata, spec in pods(documents):
            mine = [one for one in policies if _selects(one["podSelector"], metadata["labels"])]
            assert any(one["policyTypes"] == ["Ingress", "Egress"] for one in mine), "nothing passes by default"
            open_to = {port["port"] for one in mine for rule in one.get("ingress", ()) for port in rule["ports"]}
            ports = {port["containerPort"] for container in spec["containers"] for port in container.get("ports", ())}
            assert open_to == ports, name
            out = {port["port"] for one in mine for rule in one.get("egress", ()) for port in rule["ports"]}
            part = metadata["labels"]["app.kubernetes.io/component"]
            reaches = part in ("cleanup", "worker", "serve")
            kubernetes = reaches and values.get("inUse", {}).get("enabled", False)
            expected = {53} | ({443} if reaches else set()) | ({5432} if "store" in values else set())
            expected |= {6443} if kubernetes else set()
            assert out - {3128, 5000} == expected, (name, part)


def _selects(selector: Document, labels: Document) -> bool:
    chosen = selector.get("matchLabels", {}).items() <= labels.items()
    return chosen and all(labels.get(one["key"]) in one["values"] for one in selector.get("matchExpressions", ()))


def test_a_worker_has_its_grace_and_is_asked_for_its_health() -> None:
    for name, values, documents in _documents():
        for one in documents:
            if one["kind"] != "Deployment" or not one["metadata"]["name"].endswith("-worker"):
                continue
            spec = one["spec"]["template"]["spec"]
            (container,) = spec["containers"]
            grace = values["workers"].get("graceSeconds", 60)
            assert f"--grace={grace}s" in container["args"], name
            assert spec["terminationGracePeriodSeconds"] == grace + 10
            assert container["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "metrics"}
            (budget,) = (one["spec"] for one in documents if one["kind"] == "PodDisruptionBudget")
            assert budget["maxUnavailable"] == 1


def test_a_cleanup_never_runs_twice_at_a_time_and_removes_only_if_told() -> None:
    for name, values, documents in _documents():
        for one in documents:
            if one["kind"] == "CronJob":
                assert one["spec"]["concurrencyPolicy"] == "Forbid"
                (container,) = one["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"]
                mode = values.get("cleanup", {}).get("mode", "dry-run")
                flags = {"-y", "--dry-run", "--approve"} & {*container["args"]}
                assert flags == {{"dry-run": "--dry-run", "remove": "-y", "approve": "--approve"}[mode]}, name


# Values


WRONG: list[tuple[Document, str]] = [
    ({"image": {"repository": ""}}, "image.repository is required"),
    ({"registries": {}}, "registries"),
    ({"policy": ""}, "policy is required"),
    ({"existingPolicyConfigMap": "a"}, "give one of them"),
    ({"cleanup": {"mode": "approve"}}, "needs store.url"),
    ({"cleanup": {"mode": "all"}}, "/cleanup/mode"),
    ({"cleanup": {"registry": "other"}}, "registries has no other"),
    ({"cleanup": {"shedule": "1 2 3 * *"}}, "shedule"),
    ({"cleanup": {"schedule": "daily"}}, "/cleanup/schedule"),
    ({"cleanup": {"args": ["--password=secret"]}}, "/cleanup/args/0"),
    ({"cleanup": {"args": ["--notify=https://hooks.example.com/secret"]}}, "/cleanup/args/0"),
    ({"state": {"persistent": False}}, "needs a volume"),
    ({"state": {"size": 5}}, "/state/size"),
    ({"workers": {"enabled": True}}, "workers need store.url"),
    ({"workers": {"replicas": -1}}, "/workers/replicas"),
    ({"workers": {"schedule": {"a": {"run": "cleanup"}}}}, "cron"),
    ({"store": {"url": "postgresql://u:secret@db/d"}}, "/store/url"),
    ({"store": {"url": "postgresql://u@db/d?password=secret"}}, "/store/url"),
    ({"store": {"url": "postgresql://u@db/d?a=b&sslpassword=secret"}}, "/store/url"),
    ({"store": {"password": "secret"}}, "password"),
    ({"env": {"REGISTRY_PASSWORD": "secret"}}, "invalid propertyName REGISTRY_PASSWORD"),
    ({"registries": {"prod": {"address": "https://u:p@r.example"}}}, "/registries/prod/address"),
    ({"registries": {"prod": {"password": "secret"}}}, "password"),
    ({"registries": {"test": {"address": "a"}}}, "defaultRegistry is required"),
    ({"listener": {"enabled": True}}, "listener.token.existingSecret"),
    ({"serve": {"enabled": True}}, "serve.host"),
    (joined(SERVE, {"serve": {"login": {"issuer": ""}}}), "serve.login.issuer"),
    (joined(SERVE, {"serve": {"login": {"emailDomains": []}}}), "serve.login.emailDomains"),
    (joined(SERVE, {"serve": {"login": {"args": ["--client-secret=secret"]}}}), "/serve/login/args/0"),
    (joined(SERVE, {"serve": {"login": {"issuer": "http://login.example.com"}}}), "/serve/login/issuer"),
    ({"inUse": {"rules": [{"apiGroups": ["*"], "resources": ["*"], "verbs": ["get"]}]}}, "/inUse/rules/0/verbs"),
    ({"networkPolicy": {"registry": {"ports": []}}}, "/networkPolicy/registry/ports"),
    ({"nonsense": 1}, "nonsense"),
]


@pytest.mark.parametrize(
    ("wrong", "said"),
    WRONG,
    ids=lambda one: one if isinstance(one, str) else json.dumps(one)[:60],
)
def test_wrong_values_are_refused(wrong: Document, said: str, refusals: dict[str, Document]) -> None:
    answer = refusals[json.dumps(wrong)]
    assert said in answer.get("error", "it was accepted").replace("'", "")


@pytest.fixture(scope="module")
def refusals() -> dict[str, Document]:
    """What is answered to each of WRONG: all in one process."""
    wrong = [one for one, _ in WRONG]
    return dict(zip(map(json.dumps, wrong), render([joined(LEAST, one) for one in wrong]), strict=True))


def test_each_value_is_in_the_schema_and_explained() -> None:
    """No value of values.yaml is open to anything, and the schema has none that values.yaml lacks."""
    schema = json.loads((CHART / "values.schema.json").read_text())

    def compare(given: Document, known: Document, where: str) -> None:
        assert known.get("additionalProperties") is False, where
        assert {*given} == {*known["properties"]} - {"global"}, where
        for key, value in given.items():
            below = known["properties"][key]
            if isinstance(value, dict) and "properties" in below:
                compare(value, below, f"{where}/{key}")

    compare(yaml.safe_load((CHART / "values.yaml").read_text()), schema, "")


def test_the_notes_say_what_comes_next() -> None:
    def notes(*parts: Document) -> str:
        (answer,) = render([joined(LEAST, *parts)])
        return str(answer["files"]["NOTES.txt"])

    assert "--from=cronjob/dregutil-cleanup" in notes()
    assert "--set cleanup.mode=remove" in notes()
    assert "--set cleanup.mode=remove" not in notes({"cleanup": {"mode": "remove"}})
    approve = notes(STORE, {"cleanup": {"mode": "approve"}})
    named = re.findall(r"^  dregutil (.*)$", approve, re.MULTILINE)
    assert named == ["plans", "plans approve SUM"]
    if "plans" in COMMANDS:
        assert all(build_parser().parse_args(words.split()).command == "plans" for words in named)
    listener = notes(LISTENER)
    assert "url: http://dregutil-listener.registry-cleanup.svc:5099/events\n" in listener
    assert "Lead https://pages.example.com to service/dregutil-serve, port 80" in notes(SERVE)


def test_the_documented_installation_renders() -> None:
    text = "\n".join(blocks("docs/kubernetes.md", "bash"))
    values: Document = {"policy": LEAST["policy"]}
    for path, value in re.findall(r"--set (\S+?)=(\S+)", text):
        table = values
        *above, last = path.split(".")
        for name in above:
            table = table.setdefault(name, {})
        table[last] = value
    assert "--set-file policy=policy.yml" in text
    (answer,) = render([values])
    assert "kind: CronJob" in answer["files"]["cleanup.yaml"]
    named = {*re.findall(r"cronjob/(\S+)", text)}
    assert named == {one["metadata"]["name"] for one in yaml.safe_load_all(answer["files"]["cleanup.yaml"])}
    job = yaml.safe_load(answer["files"]["cleanup.yaml"])["spec"]["jobTemplate"]
    assert job["spec"]["template"]["spec"]["containers"][0]["args"]  # what `undo` replaces


def test_the_documented_workers_render() -> None:
    text = (ROOT / "docs" / "team.md").read_text().partition("helm install dregutil ")[2].partition("```")[0]
    values: Document = {"policy": LEAST["policy"]}
    chosen = [(path, yaml.safe_load(value)) for path, value in re.findall(r"--set (\S+?)=(\S+)", text)]
    chosen += [(path, json.loads(value)) for path, value in re.findall(r"--set-json '(\S+?)=(.*)'", text)]
    for path, value in chosen:
        table = values
        *above, last = path.split(".")
        for name in above:
            table = table.setdefault(name, {})
        table[last] = value
    (answer,) = render([values])
    pod = next(iter(yaml.safe_load_all(answer["files"]["workers.yaml"])))["spec"]["template"]["spec"]
    assert pod["containers"][0]["args"][0] == "work"
    configured = next(iter(yaml.safe_load_all(answer["files"]["configuration.yaml"])))["data"]["config.toml"]
    (schedule,) = tomllib.loads(configured)["schedule"].values()
    args = build_parser().parse_args([schedule["run"], *schedule["args"]])
    assert (args.command, args.approve, args.policy) == ("cleanup", True, "/etc/dregutil/policy")


def test_the_chart_says_where_it_is_explained() -> None:
    assert "docs/kubernetes.md" in (CHART / "values.yaml").read_text()
    assert (ROOT / "docs" / "kubernetes.md").exists()

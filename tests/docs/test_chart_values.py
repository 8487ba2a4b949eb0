"""charts/dregutil: values that reach every pod they are meant for, and what only a cluster would refuse."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from charted import CHART, LEAST, SERVE, STORE, Document, cases, joined, pods, render
from documents import ROOT
from dregutil.work.site import KINDS

WORKERS: Document = {"workers": {"enabled": True}}
MIGRATE: Document = {"store": {"migrate": {"enabled": True, "existingSecret": "own"}}}
PAGES = "postgresql://pages@db.example.com:5432/dregutil?sslmode=verify-full"


def rendered(*parts: Document) -> list[Document]:
    (answer,) = render([joined(LEAST, *parts)])
    assert "files" in answer, answer
    texts = [text for name, text in answer["files"].items() if name.endswith(".yaml")]
    return [one for text in texts for one in yaml.safe_load_all(text) if one]


def by_part(documents: list[Document]) -> dict[str, tuple[Document, Document]]:
    """The metadata and the spec of each pod, by its component."""
    return {one["labels"]["app.kubernetes.io/component"]: (one, spec) for one, spec in pods(documents)}


def environment(spec: Document) -> dict[str, Any]:
    return {one["name"]: one.get("value") for one in spec["containers"][0]["env"]}


def secret(spec: Document) -> str:
    (found,) = (one["secret"]["secretName"] for one in spec["volumes"] if one["name"] == "store")
    return str(found)


def test_a_worker_may_do_each_kind_of_work() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    only = schema["properties"]["workers"]["properties"]["only"]
    assert only["items"]["enum"] == [*KINDS]
    (_, worker) = by_part(rendered(STORE, {"workers": {"enabled": True, "only": ["apply"]}}))["worker"]
    assert "--only=apply" in worker["containers"][0]["args"]
    (said,) = re.findall(r"only: \[\]  # of (.*?);", (CHART / "values.yaml").read_text())
    assert said.split(", ") == [*KINDS]


def test_what_all_pods_are_to_have_the_migration_has_too() -> None:
    """Where every node has a taint, a migration without the toleration would never start, and `helm install` fail."""
    values: Document = {
        "env": {"NO_PROXY": "db.example.com"},
        "podAnnotations": {"sidecar.istio.io/inject": "false"},
        "nodeSelector": {"zone": "a"},
        "tolerations": [{"operator": "Exists"}],
        "priorityClassName": "low",
        "image": {"pullSecrets": ["pull"]},
    }
    found = by_part(rendered(STORE, WORKERS, MIGRATE, values))
    assert {*found} == {"cleanup", "worker", "migrate"}
    for part, (metadata, spec) in found.items():
        assert values["podAnnotations"].items() <= metadata.get("annotations", {}).items(), part
        assert environment(spec)["NO_PROXY"] == "db.example.com", part
        assert spec["nodeSelector"] == values["nodeSelector"], part
        assert spec["tolerations"] == values["tolerations"], part
        assert spec["priorityClassName"] == "low", part
        assert spec["imagePullSecrets"] == [{"name": "pull"}], part


def test_the_migration_needs_nothing_that_is_installed_after_it() -> None:
    """It runs before the chart's own objects are there: no service account, ConfigMap or volume of theirs."""
    documents = rendered(STORE, MIGRATE)
    (hooks,) = (one["metadata"]["annotations"]["helm.sh/hook"] for one in documents if one["kind"] == "Job")
    assert hooks == "pre-install,pre-upgrade", "and not pre-rollback: an older program does not take tables back"
    (_, spec) = by_part(documents)["migrate"]
    assert "serviceAccountName" not in spec
    assert all(one.keys() & {"emptyDir", "secret"} for one in spec["volumes"])


def test_the_pages_may_have_a_database_user_of_their_own() -> None:
    """Who serves the pages approves; with the user of the workers these could approve, too."""
    own: Document = {"serve": {"store": {"url": PAGES, "existingSecret": "pages"}}}
    found = by_part(rendered(STORE, WORKERS, SERVE, own))
    urls = {part: environment(spec)["DREGUTIL_STORE"] for part, (_, spec) in found.items()}
    assert urls == {"cleanup": STORE["store"]["url"], "worker": STORE["store"]["url"], "serve": PAGES}
    assert {part: secret(spec) for part, (_, spec) in found.items()} == {
        "cleanup": "db",
        "worker": "db",
        "serve": "pages",
    }
    shared = by_part(rendered(STORE, SERVE))["serve"][1]
    assert (environment(shared)["DREGUTIL_STORE"], secret(shared)) == (STORE["store"]["url"], "db")
    (answer,) = render([joined(LEAST, SERVE, own)])
    assert "serve.store needs store.url" in answer["error"]


def test_the_users_of_the_database_in_the_example_are_no_roles() -> None:
    """`dregutil_worker` is a role without a login."""
    _, documents = cases()["team"]
    found = by_part([*documents])
    users = {
        part: environment(spec)["DREGUTIL_STORE"].split("//")[1].split("@")[0] for part, (_, spec) in found.items()
    }
    assert users == {"worker": "workers", "listener": "workers", "serve": "pages", "migrate": "owner"}


def test_a_long_name_of_a_volume_is_a_label_that_a_cluster_takes() -> None:
    for name in ("c" * 80, "c" * 62 + "-records", "records.of.the.team"):
        for metadata, spec in pods(rendered({"state": {"existingClaim": name}})):
            label = metadata["labels"]["dregutil-state"]
            assert re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", label), label
            (volume,) = (one["persistentVolumeClaim"] for one in spec["volumes"] if one["name"] == "state")
            assert volume["claimName"] == name
            (near,) = spec["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert near["labelSelector"]["matchLabels"] == {"dregutil-state": label}


def test_a_scheduled_cleanup_needs_a_policy() -> None:
    schedule = {"nightly": {"run": "cleanup", "cron": "17 2 * * *"}, "hourly": {"run": "refresh", "cron": "7 * * * *"}}
    values: Document = {
        "policy": "",
        "cleanup": {"enabled": False},
        "workers": {"enabled": True, "schedule": schedule},
    }
    (answer,) = render([joined(LEAST, STORE, values)])
    assert "policy is required by workers.schedule.nightly" in answer["error"]
    del schedule["nightly"]
    assert rendered(STORE, values)


def test_an_upgrade_is_said_as_in_the_documentation() -> None:
    """`--reuse-values` lacks the values that a newer chart has, and fails."""
    (answer,) = render([LEAST])
    assert "--reset-then-reuse-values" in answer["files"]["NOTES.txt"]
    assert "--reset-then-reuse-values" in (ROOT / "docs" / "kubernetes.md").read_text()
    assert " --reuse-values" not in answer["files"]["NOTES.txt"]


def test_the_notes_do_not_lead_to_an_approval_as_the_workers() -> None:
    """Their role may not approve."""
    for url in ("postgresql://worker@db.example.com/d?sslmode=verify-full", "postgresql://db.example.com/d"):
        (answer,) = render([joined(LEAST, {"store": {"url": url}, "cleanup": {"mode": "approve"}})])
        said = re.sub(r"\s+", " ", answer["files"]["NOTES.txt"])
        wanted = url.replace("worker@", "").replace("//", "//USER@")
        assert f"with the role dregutil_approver: export DREGUTIL_STORE={wanted} dregutil plans" in said


def test_the_table_of_the_network_is_what_is_allowed() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    rows = re.findall(r"^\| (out|in): .*? \| ([\d, ]+) \| `networkPolicy\.(\w+)` \|$", page, re.MULTILINE)
    network = yaml.safe_load((CHART / "values.yaml").read_text())["networkPolicy"]
    documented = {name: [int(port) for port in ports.split(", ")] for _, ports, name in rows}
    assert {*documented} == {*network} - {"enabled", "egress"}
    for name, value in network.items():
        if isinstance(value, dict):
            assert value["ports"] == documented[name], name
    policies = [one["spec"] for one in cases()["team"][1] if one["kind"] == "NetworkPolicy"]
    for way, peers in (("in", "ingress"), ("out", "egress")):
        allowed = {port["port"] for one in policies for rule in one.get(peers, ()) for port in rule["ports"]}
        assert allowed == {port for which, _, name in rows if which == way for port in documented[name]}


def test_the_table_of_secrets_has_each_one() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text()
    rows = dict(re.findall(r"^\| .*? \| `([\w.]+)\.existingSecret` \| `(.*)` \|$", page, re.MULTILINE))
    values = yaml.safe_load((CHART / "values.yaml").read_text())
    found: dict[str, str] = {}

    def look(table: Document, where: str) -> None:
        if "existingSecret" in table:
            found[where] = table.get("key", "client-secret`, `cookie-secret")
        for name, value in table.items():
            if isinstance(value, dict):
                look(value, f"{where}.{name}".lstrip("."))

    look(values, "")
    assert rows == found

"""The chart, rendered by Helm in a process of its own, and what its documents say."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any

import pytest
import yaml

from documents import ROOT

CHART = ROOT / "charts" / "dregutil"
Document = dict[str, Any]

LEAST: Document = {
    "image": {"repository": "registry.example.com/tools/dregutil"},
    "registries": {"prod": {"address": "https://registry.example.com"}},
    "policy": "version: 1\npolicies:\n  - {name: all, repositories: ['**'], keep: {last: 3}}\n",
}
STORE: Document = {
    "store": {"url": "postgresql://worker@db.example.com:5432/dregutil?sslmode=verify-full", "existingSecret": "db"}
}
LISTENER: Document = {"listener": {"enabled": True, "token": {"existingSecret": "token"}}}
LOGIN = {"issuer": "https://login.example.com", "emailDomains": ["example.com"], "existingSecret": "login"}
SERVE: Document = {"serve": {"enabled": True, "host": "pages.example.com", "planners": ["ben"], "login": LOGIN}}


def joined(*parts: Mapping[str, Any]) -> Document:
    """The values of all parts; of two for one key, the later one. An empty table replaces the one before."""
    found: Document = {}
    for part in parts:
        for key, value in part.items():
            found[key] = joined(found[key], value) if isinstance(found.get(key), dict) and value else value
    return found


def render(many: Sequence[Mapping[str, Any]]) -> list[Document]:
    """Of each values either `files`, by name, or the `error`."""
    if find_spec("helm_python") is None:
        pytest.skip("helm-python-sdk has no wheel for this machine")
    command = [sys.executable, str(ROOT / "tools" / "chart.py"), "render"]
    done = subprocess.run(command, input=json.dumps(many), capture_output=True, text=True, check=True)
    found: list[Document] = json.loads(done.stdout)
    return found


def _switched() -> Iterator[tuple[str, Document]]:
    """Each component on and off, with and without a store, a volume, and the lists of the cluster."""
    switches: dict[str, Document] = {
        "cleanup": {"cleanup": {"enabled": False}},
        "listener": LISTENER,
        "serve": SERVE,
        "workers": {"workers": {"enabled": True}},
        "store": STORE,
        "novolume": {"state": {"persistent": False}},
        "inuse": {"inUse": {"enabled": True}},
    }
    for chosen in itertools.product((False, True), repeat=len(switches)):
        on = [name for name, is_on in zip(switches, chosen, strict=True) if is_on]
        values = joined(LEAST, *(switches[name] for name in on))
        needs = "store" in on or not ({"workers"} & {*on} or ("novolume" in on and _has_records(on)))
        if needs:
            yield "+".join(on) or "least", values


def _has_records(on: Sequence[str]) -> bool:
    return "cleanup" not in on or "listener" in on or "serve" in on


_ALL = joined(LEAST, STORE, LISTENER, SERVE, {"workers": {"enabled": True}, "inUse": {"enabled": True}})
_OTHERS: dict[str, Document] = {
    "secrets": joined(
        _ALL, {"credentials": {"existingSecret": "docker"}, "cleanup": {"notify": {"existingSecret": "hook"}}}
    ),
    "approve": joined(LEAST, STORE, {"cleanup": {"mode": "approve"}}),
    "remove": joined(LEAST, {"cleanup": {"mode": "remove", "registry": "prod", "args": ["--limit=500", "--strict"]}}),
    "existing": joined(
        LEAST, {"policy": "", "existingPolicyConfigMap": "policies", "state": {"existingClaim": "records"}}
    ),
    "shared volume": joined(LEAST, LISTENER, {"state": {"accessMode": "ReadWriteMany", "storageClass": "nfs"}}),
    "many": joined(
        _ALL,
        {"registries": {"test": {"address": "localhost:5000", "insecure": True, "aliases": ["a.example", 'b"\\é<']}}},
        {"defaultRegistry": "test", "listener": {"registry": "prod"}, "serve": {"registry": "prod", "approvals": 2}},
        {"workers": {"only": ["refresh", "cleanup"], "graceSeconds": 300}},
        {"workers": {"schedule": {"n": {"run": "refresh", "cron": "7 * * * *"}}}},
    ),
    "migrate": joined(
        LEAST,
        STORE,
        {"store": {"migrate": {"enabled": True, "url": "postgresql://owner@db/d", "existingSecret": "own"}}},
    ),
    "placed": joined(
        _ALL,
        {"image": {"digest": "sha256:" + "0a" * 32, "pullSecrets": ["pull"]}, "caBundle": {"existingConfigMap": "ca"}},
        {"env": {"HTTPS_PROXY": "http://proxy:3128"}, "podAnnotations": {"a/b": "c"}, "nodeSelector": {"zone": "a"}},
        {"tolerations": [{"operator": "Exists"}], "priorityClassName": "low"},
    ),
    "network": joined(
        _ALL,
        {"networkPolicy": {"registry": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [443, 5000]}}},
        {"networkPolicy": {"dns": []}},
        {"networkPolicy": {"egress": [{"ports": [{"port": 3128}]}], "serveFrom": []}, "store": {"existingSecret": ""}},
    ),
    "no network policy": joined(_ALL, {"networkPolicy": {"enabled": False}, "inUse": {"secrets": False}}),
}


@cache
def cases() -> dict[str, tuple[Document, tuple[Document, ...]]]:
    """The values and the documents of each case."""
    values = dict(_switched()) | _OTHERS
    values |= {path.stem: yaml.safe_load(path.read_text()) for path in (CHART / "ci").glob("*.yaml")}
    found = {}
    for (name, given), answer in zip(values.items(), render([*values.values()]), strict=True):
        assert "files" in answer, (name, answer)
        texts = [text for file, text in answer["files"].items() if file.endswith(".yaml")]
        found[name] = given, tuple(one for text in texts for one in yaml.safe_load_all(text) if one)
    return found


def pods(documents: Sequence[Document]) -> Iterator[tuple[Document, Document]]:
    """The metadata and the spec of each pod."""
    for one in documents:
        if one["kind"] in ("Deployment", "Job"):
            yield one["spec"]["template"]["metadata"], one["spec"]["template"]["spec"]
        elif one["kind"] == "CronJob":
            template = one["spec"]["jobTemplate"]["spec"]["template"]
            yield template["metadata"], template["spec"]

"""A small API server of Kubernetes: discovery and lists, with the failures that its documentation names.

- Discovery without aggregation: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api
- `limit`, `continue`, and 410 for a token that has expired:
  https://kubernetes.io/docs/reference/using-api/api-concepts/#retrieving-large-results-sets-in-chunks
- 401 and 403 with a Status: https://kubernetes.io/docs/reference/access-authn-authz/authorization/
- 503 for a group whose server is down: https://kubernetes.io/docs/tasks/extend-kubernetes/setup-extension-api-server/
- `fieldSelector` on the type of Secrets: https://kubernetes.io/docs/concepts/overview/working-with-objects/field-selectors/
- Helm's Secrets: https://github.com/helm/helm/blob/main/pkg/storage/driver/util.go
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from servers.http import Answer, Endpoint, Request

__all__ = ["KubernetesServer", "helm_release", "kubeconfig", "pod"]

_JSON = {"Content-Type": "application/json"}
_KINDS = {
    "": (
        ("pods", "Pod"),
        ("podtemplates", "PodTemplate"),
        ("replicationcontrollers", "ReplicationController"),
        ("nodes", "Node"),
        ("secrets", "Secret"),
        ("configmaps", "ConfigMap"),
    ),
    "apps": (
        ("deployments", "Deployment"),
        ("replicasets", "ReplicaSet"),
        ("controllerrevisions", "ControllerRevision"),
    ),
    "batch": (("jobs", "Job"), ("cronjobs", "CronJob")),
    "networking.k8s.io": (("ingresses", "Ingress"),),
}


class KubernetesServer(Endpoint):
    """`objects` by kind, `pods` or `pipelines.tekton.dev`; each new kind with a group becomes a custom resource.

    `token`: what a request must have. `failures_of`: the status of a path that fails. `page`: the most objects of an
    answer. `expired`: how many continue tokens are answered with 410. `asked`: the paths, with their queries.
    """

    def __init__(self, token: str = "") -> None:
        super().__init__()
        self.token = token
        self.objects: dict[str, list[dict[str, Any]]] = {}
        self.failures_of: dict[str, int] = {}
        self.page = 500
        self.expired = 0
        self.cut: set[str] = set()
        self.asked: list[str] = []
        self.login = ""

    @property
    def kinds(self) -> Mapping[str, tuple[tuple[str, str], ...]]:
        found = dict(_KINDS)
        for name in self.objects:
            resource, _, group = name.partition(".")
            if group and group not in _KINDS:
                found[group] = (*found.get(group, ()), (resource, resource.removesuffix("s").capitalize()))
        return found

    def answer(self, request: Request) -> Answer:
        self.asked.append(request.target)
        self.login = request.headers.get("authorization", "")
        if self.token and self.login != f"Bearer {self.token}":
            return _status(401, "Unauthorized")
        if request.path in self.failures_of:
            return _status(self.failures_of[request.path], "not for you")
        if "continue" in request.query and self.expired:
            self.expired -= 1
            return _status(410, "The provided continue parameter is too old")
        found = self._found(request)
        if found is None:
            return _status(404, "the server could not find the requested resource")
        return Answer(200, json.dumps(found).encode(), _JSON, cut=request.path in self.cut)

    def _found(self, request: Request) -> dict[str, Any] | None:
        if request.path == "/api":
            return {"kind": "APIVersions", "versions": ["v1"]}
        if request.path == "/apis":
            groups = [name for name in self.kinds if name]
            return {"kind": "APIGroupList", "groups": [_group(name) for name in groups]}
        parts = request.path.strip("/").split("/")
        group, resource = ("", parts[2:]) if parts[0] == "api" else (parts[1], parts[3:])
        if group not in self.kinds:
            return None
        if not resource:
            return {"kind": "APIResourceList", "resources": [one for kind in self.kinds[group] for one in _kind(*kind)]}
        return self._list(f"{resource[0]}.{group}" if group else resource[0], request.query)

    def _list(self, name: str, query: Mapping[str, str]) -> dict[str, Any]:
        start = int(query.get("continue", "0"))
        found = self.objects.get(name, [])
        if "fieldSelector" in query:
            found = [one for one in found if one.get("type") == query["fieldSelector"].partition("=")[2]]
        end = start + min(self.page, int(query["limit"]))
        more = {"continue": str(end)} if end < len(found) else {}
        items = found[start:end]
        return {"kind": "ObjectList", "metadata": {"resourceVersion": "7", **more}, "items": items or None}


def _group(name: str) -> dict[str, Any]:
    version = {"groupVersion": f"{name}/v1", "version": "v1"}
    return {"name": name, "versions": [version], "preferredVersion": version}


def _kind(resource: str, kind: str) -> list[dict[str, Any]]:
    verbs = ["create", "delete", "get", "list", "watch"]
    whole = {"name": resource, "singularName": kind.lower(), "namespaced": True, "kind": kind, "verbs": verbs}
    return [whole, {**whole, "name": f"{resource}/status", "verbs": ["get", "patch"]}]


def _status(code: int, message: str) -> Answer:
    body = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}
    return Answer(code, json.dumps(body).encode(), _JSON)


def pod(image: str, name: str = "web", **status: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": image}]}, "status": status}


def helm_release(manifest: str, *, name: str = "web", values: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A Secret in which Helm 3 stores a release."""
    release = {"name": name, "manifest": manifest, "hooks": None, "chart": {"values": values}, "config": None}
    stored = base64.b64encode(gzip.compress(json.dumps(release).encode()))
    metadata = {"name": f"sh.helm.release.v1.{name}.v1", "namespace": "shop"}
    data = {"release": base64.b64encode(stored).decode()}
    return {"metadata": metadata, "type": "helm.sh/release.v1", "data": data}


def kubeconfig(
    path: Path,
    servers: Mapping[str, str],
    user: Mapping[str, Any] | None = None,
    cluster: Mapping[str, Any] | None = None,
) -> Path:
    """Write a kubeconfig with a context for each server; the first is the current one. All have the same user."""
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": next(iter(servers)),
        "clusters": [{"name": name, "cluster": {"server": url, **(cluster or {})}} for name, url in servers.items()],
        "users": [{"name": "someone", "user": dict(user or {})}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": "someone"}} for name in servers],
    }
    path.write_text(yaml.safe_dump(document))
    return path

"""The lists of an API server's kinds → the kinds that can name images. Pure.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api, in its form without aggregation, which every
server has, and in which a group whose server is down is an error of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Kind", "groups_in", "is_group_ignored", "kinds_in", "to_ask"]

_CORE = frozenset(("pods", "podtemplates", "replicationcontrollers", "nodes", "secrets"))
# Kubernetes' own groups whose objects run nothing, and the metrics that its add-ons serve.
_WITHOUT_IMAGES = frozenset(
    (
        "admissionregistration.k8s.io",
        "apiextensions.k8s.io",
        "apiregistration.k8s.io",
        "authentication.k8s.io",
        "authorization.k8s.io",
        "autoscaling",
        "certificates.k8s.io",
        "coordination.k8s.io",
        "custom.metrics.k8s.io",
        "discovery.k8s.io",
        "events.k8s.io",
        "extensions",  # what it served of workloads is the same as in `apps`
        "external.metrics.k8s.io",
        "flowcontrol.apiserver.k8s.io",
        "internal.apiserver.k8s.io",
        "metrics.k8s.io",
        "networking.k8s.io",
        "node.k8s.io",
        "policy",
        "rbac.authorization.k8s.io",
        "resource.k8s.io",
        "scheduling.k8s.io",
        "storage.k8s.io",
        "storagemigration.k8s.io",
    )
)


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of objects, and where it is listed. `resource` is its name in addresses, `pods`."""

    group: str
    version: str
    resource: str
    names: frozenset[str] = frozenset()  # in lower case: the resource, its singular, its kind

    @property
    def name(self) -> str:
        return f"{self.resource}.{self.group}" if self.group else self.resource

    @property
    def path(self) -> str:
        return f"{group_path(self.group, self.version)}/{self.resource}"


def group_path(group: str, version: str) -> str:
    return f"/apis/{group}/{version}" if group else f"/api/{version}"


def groups_in(core: Mapping[str, Any], groups: Mapping[str, Any], ignore: Collection[str]) -> list[tuple[str, str]]:
    """Each group that can have images, with each of its versions, the preferred one first."""
    found = [("", str(version)) for version in _items(core, "versions") if isinstance(version, str)]
    for group in _items(groups, "groups"):
        name = str(group.get("name", "")) if isinstance(group, dict) else ""
        if not name or name in _WITHOUT_IMAGES or is_group_ignored(name, ignore):
            continue
        preferred = group.get("preferredVersion")
        versions = [preferred, *_items(group, "versions")]
        texts = [one.get("version") for one in versions if isinstance(one, dict)]
        found += [(name, text) for text in dict.fromkeys(texts) if isinstance(text, str) and text]
    return found


def kinds_in(group: str, version: str, answer: Mapping[str, Any]) -> Iterator[Kind]:
    """The kinds of a group that can be listed, and can have images."""
    for one in _items(answer, "resources"):
        fields = one if isinstance(one, dict) else {}
        name = str(fields.get("name", ""))
        if not name or "/" in name or "list" not in _items(fields, "verbs"):
            continue
        if group or name in _CORE:
            names = (name, fields.get("singularName"), fields.get("kind"))
            yield Kind(group, version, name, frozenset(str(text).lower() for text in names if text))


def to_ask(found: Sequence[Kind], ignore: Collection[str]) -> list[Kind]:
    """Each kind once, in the first version that has it, without what the user leaves out."""
    once: dict[str, Kind] = {}
    for kind in found:
        once.setdefault(kind.name, kind)
    return [kind for kind in once.values() if not _is_ignored(kind, ignore)]


def is_group_ignored(group: str, ignore: Collection[str]) -> bool:
    return f"*.{group}" in {text.lower() for text in ignore}


def _is_ignored(kind: Kind, ignore: Collection[str]) -> bool:
    below = f".{kind.group}" if kind.group else ""
    return not {f"{name}{below}" for name in kind.names}.isdisjoint(text.lower() for text in ignore)


def _items(fields: Mapping[str, Any], key: str) -> list[Any]:
    value = fields.get(key)
    return value if isinstance(value, list) else []

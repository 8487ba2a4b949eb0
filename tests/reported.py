"""Reports of a made-up registry, as documents."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import msgspec

from dregutil.pages.model import Report

__all__ = ["report_document", "report_of_shop"]

_NAMESPACES = {"shop": 9, "platform": 7, "data": 5, "tools": 3, "": 2}
_WORDS = ("web", "api", "worker", "search", "mail", "billing", "images", "cron", "proxy", "ledger", "edge", "probe")
_REASONS = (("REMOVE", "beyond last: 10"), ("KEEP", "last: 10"), ("KEEP", "in use"), ("UNTAG", "older than 90d"))


def report_of_shop(example: dict[str, Any]) -> Report:
    """A report of a registry with 26 repositories and 500 named tags; the other parts are those of `example`."""
    return msgspec.convert(report_document(example), Report, strict=False)


def report_document(example: dict[str, Any], *, small: bool = False) -> dict[str, Any]:
    """The same as JSON has it; `small`: with one namespace."""
    found: dict[str, Any] = json.loads(json.dumps(example))
    namespaces = {"shop": 2} if small else _NAMESPACES
    spaces = [_namespace(name, number) for name, number in namespaces.items()]
    root = _parent("registry", "", spaces, 3 * 10**9)
    found["space"] = {"root": root, "summed": 300}
    found["week"] |= {"stored": root["frees"], "repositories": 26, "tags": root["tags"]}
    found["plan"]["groups"] = [
        _group(one) for space in spaces for one in space["children"] if one["kind"] == "repository"
    ]
    found["plan"]["changes"]["rows"] = [
        {**found["plan"]["changes"]["rows"][0], "tag": f"1.{number}.0", "frees": _number(f"c{number}", 9) * 10**6}
        for number in range(40)
    ]
    return found


def _number(seed: str, most: int) -> int:
    """From 1 to `most`; the same for the same seed."""
    return 1 + int.from_bytes(hashlib.sha256(seed.encode()).digest()[:4]) % most


def _digest(seed: str) -> str:
    return f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}"


def _namespace(name: str, number: int) -> dict[str, Any]:
    prefix = f"{name}/" if name else ""
    repositories = [_repository(f"{prefix}{word}") for word in _WORDS[:number]]
    return _parent("namespace", name, repositories, _number(name, 900) * 10**6)


def _repository(name: str) -> dict[str, Any]:
    tags = [_tag(name, f"1.{number}.0") for number in range(12 + _number(name, 12))]
    tags.append({"kind": "rest", "name": "", "number": 12, "frees": 25 * 10**6})
    return _parent("repository", name, tags, _number(name, 700) * 10**6)


def _tag(repository: str, name: str) -> dict[str, Any]:
    seed = f"{repository}:{name}"
    sizes = [_number(f"{seed}{place}", 90) * 10**6 for place in range(3)]
    layers: list[dict[str, Any]] = [
        {"kind": "layer", "name": _digest(f"{seed}{place}"), "frees": size, "reaches": size, "tags": 1}
        for place, size in enumerate(sizes)
    ]
    shared = {"kind": "layer", "name": _digest(repository), "frees": 0, "reaches": 80 * 10**6, "tags": 24}
    made = _parent("tag", name, [*sorted(layers, key=lambda one: -one["frees"]), shared], 20_000)
    return {**made, "digest": _digest(seed), "tags": 1, "reaches": made["frees"] + 80 * 10**6}


def _parent(kind: str, name: str, children: list[dict[str, Any]], between: int) -> dict[str, Any]:
    children = sorted(children, key=lambda one: (one["kind"] == "rest", -one["frees"]))
    frees = sum(one["frees"] for one in children) + between
    reaches = frees if kind == "registry" else frees + 200 * 10**6
    tags = sum(one.get("tags", one.get("number", 0)) for one in children)
    return {
        "kind": kind,
        "name": name,
        "frees": frees,
        "reaches": reaches,
        "between": between,
        "tags": tags,
        "children": children,
    }


def _group(repository: dict[str, Any]) -> dict[str, Any]:
    name = repository["name"]
    rows: list[dict[str, Any]] = [
        {
            "action": action,
            "because": because,
            "tags": 12,
            "untagged": 0,
            "frees": 0 if action == "KEEP" else _number(f"{name}{because}", 800) * 10**6,
            "images": [{"tags": [f"0.{number}.0"], "digest": _digest(f"{name}{number}")} for number in range(8)],
            "more": 4,
        }
        for action, because in _REASONS
    ]
    frees = sum(row["frees"] for row in rows)
    return {"policy": "releases", "repository": name, "removed": 24, "kept": 24, "frees": frees, "rows": rows}

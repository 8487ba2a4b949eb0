"""zot: its configuration, or `storage.retention` of it. A tag belongs to the first entry of `keepTags` that matches."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from dregutil.retention.translate.rules import EVERYTHING, Rules, listed, mapping, whole_duration

__all__ = ["zot"]

_OTHERS = "zot also removes tags that no entry of keepTags names; here they stay"


def zot(found: Any) -> Rules:
    rules = Rules()
    for retention in _retentions(mapping(found)):
        delay = whole_duration(retention.get("delay", "24h"))
        for number, policy in enumerate(map(mapping, listed(retention.get("policies"))), 1):
            _add(rules, f"policy {number}", policy, delay)
    if rules.policies:
        rules.lost.append(_OTHERS)
    return rules


def _retentions(whole: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    storage = mapping(whole.get("storage"))
    paths = [mapping(one) for one in mapping(storage.get("subPaths")).values()]
    found = [mapping(one.get("retention")) for one in (storage, *paths, whole) if one.get("retention")]
    yield from found or ([whole] if "policies" in whole else [])


def _add(rules: Rules, name: str, policy: Mapping[str, Any], delay: str) -> None:
    repositories = listed(policy.get("repositories"))
    for number, entry in enumerate(map(mapping, listed(policy.get("keepTags"))), 1):
        patterns = listed(entry.get("patterns"))
        keep, lost = _kept(entry, rules)
        select = {"regex": patterns} if patterns and patterns != [".*"] else {}
        rules.add(f"{name}, keepTags {number}", lost, repositories=repositories, select=select, keep=keep)
    if policy.get("deleteUntagged", True):
        strays: dict[str, Any] = {"repositories": repositories, "select": {"untagged": True}, "keep": {"none": True}}
        rules.add(f"{name}, deleteUntagged", **strays, min_age=delay)


def _kept(entry: Mapping[str, Any], rules: Rules) -> tuple[dict[str, Any], list[str]]:
    """The section `keep`, and what it cannot say. An entry without rules retains all its tags."""
    keep: dict[str, Any] = {}
    lost: list[str] = []
    for key, value in entry.items():
        if key == "mostRecentlyPushedCount" and isinstance(value, int) and value:
            keep["last"] = value
        elif key in ("pushedWithin", "pulledWithin") and whole_duration(value):
            keep["within" if key == "pushedWithin" else "pulled_within"] = whole_duration(value)
            if key == "pulledWithin":
                rules.rely_on_pulls()
        elif key != "patterns" and value:
            lost.append(f"{key}: {value}; all its tags are kept")
    return (dict(EVERYTHING) if lost or not keep else keep), lost

"""Harbor: GET /api/v2.0/retentions/ID. Its rules are alternatives: what one of them retains stays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from dregutil.retention.translate.rules import EVERYTHING, Rules, listed, mapping

__all__ = ["harbor"]

_PROJECT = "PROJECT"  # matches none
_OTHERS = "Harbor also removes tags that none of its rules names; here they stay"


def harbor(found: Any) -> Rules:
    rules = Rules()
    active = []
    for number, rule in enumerate(map(mapping, listed(mapping(found).get("rules"))), 1):
        if rule.get("disabled"):
            rules.lost.append(f"rule {number} is disabled there")
        else:
            active.append((number, rule))
    # What all tags match comes last: the first policy that selects a tag owns it.
    active.sort(key=lambda one: _tags(one[1]) == "**")
    for place, (number, rule) in enumerate(active):
        keep, lost = _kept(rule, rules)
        for _, other in active[place + 1 :]:
            keep = _joined(keep, _for_first(other, rules))
        select, repositories = _selected(rule)
        if select is None or not repositories:
            rules.lost.append(f"rule {number}: 'excluding' and lists of several patterns cannot be said; left out")
            rules.add(
                f"rule {number}, left out: its tags are kept", repositories=[f"{_PROJECT}/**"], keep=dict(EVERYTHING)
            )
            continue
        rules.add(f"rule {number}: {rule.get('template')}", lost, repositories=repositories, select=select, keep=keep)
        if any("untagged" in str(one.get("extras")) and "true" in str(one.get("extras")) for one in _selectors(rule)):
            time = {key: value for key, value in keep.items() if key in ("last", "within")}
            more = [] if time else ["what it keeps of them"]
            if time:
                rules.add(f"rule {number}, untagged", repositories=repositories, select={"untagged": True}, keep=time)
            rules.lost += [f"rule {number}, untagged: {one}" for one in more]
    if active:
        rules.lost += [_OTHERS, f"the export does not name its project: write it in place of {_PROJECT}"]
    return rules


def _selectors(rule: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    return [mapping(one) for one in listed(rule.get("tag_selectors"))]


def _tags(rule: Mapping[str, Any]) -> str:
    """The glob of a rule's tags; empty if there is not exactly one that includes."""
    found = _selectors(rule)
    if len(found) != 1 or found[0].get("decoration", "matches") != "matches":
        return ""
    return str(found[0].get("pattern") or "**")


def _selected(rule: Mapping[str, Any]) -> tuple[dict[str, Any] | None, list[str]]:
    """The section `select`, or None, and the repositories."""
    tags = _tags(rule)
    scopes = [mapping(one) for one in listed(mapping(rule.get("scope_selectors")).get("repository"))]
    if not tags or any(one.get("decoration", "repoMatches") != "repoMatches" for one in scopes):
        return None, []
    return ({} if tags == "**" else {"tags": tags}), [f"{_PROJECT}/{one.get('pattern') or '**'}" for one in scopes]


def _kept(rule: Mapping[str, Any], rules: Rules) -> tuple[dict[str, Any], list[str]]:
    """The section `keep`, and what it cannot say."""
    template = str(rule.get("template"))
    number = next((value for value in mapping(rule.get("params")).values() if isinstance(value, int)), 0)
    if template == "latestPushedK" and number:
        return {"last": number}, []
    if template == "nDaysSinceLastPush" and number:
        return {"within": f"{number}d"}, []
    if template == "nDaysSinceLastPull" and number:
        rules.rely_on_pulls()
        return {"pulled_within": f"{number}d"}, []
    return dict(EVERYTHING), [] if template == "always" else [f"{template}; all its tags are kept"]


def _for_first(other: Mapping[str, Any], rules: Rules) -> dict[str, Any]:
    """What `other` retains of tags that an earlier policy owns. Of a rule that counts some of these tags, all stay."""
    keep, _ = _kept(other, rules)
    tags = _tags(other)
    return {"tags": tags or "*"} if "last" in keep and tags != "**" else keep


def _joined(one: dict[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """Rules that keep what either does."""
    found = dict(one)
    for key, value in other.items():
        if key == "tags":
            found[key] = sorted({*listed(found.get(key)), value})
        elif key == "last":
            found[key] = max(found.get(key, 0), value)
        else:
            found[key] = max((text for text in (found.get(key), value) if text), key=_days)
    return found


def _days(text: str) -> int:
    return int(text.removesuffix("d"))

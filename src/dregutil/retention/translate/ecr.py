"""Amazon ECR: a lifecycle policy, alone or as `aws ecr get-lifecycle-policy` prints it. The first rule that selects an
image owns it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from dregutil.retention.translate.rules import UNNAMED, Rules, listed, mapping

__all__ = ["ecr"]


def ecr(found: Any) -> Rules:
    rules, whole = Rules(), mapping(found)
    repository = str(whole.get("repositoryName") or UNNAMED)
    if repository == UNNAMED:
        rules.lost.append(f"the export names no repository: write it in place of {UNNAMED}")
    if isinstance(whole.get("lifecyclePolicyText"), str):
        whole = mapping(json.loads(whole["lifecyclePolicyText"]))
    ordered = sorted(map(mapping, listed(whole.get("rules"))), key=lambda rule: int(rule.get("rulePriority") or 0))
    for rule in ordered:
        _add(rules, repository, rule)
    return rules


def _add(rules: Rules, repository: str, rule: Mapping[str, Any]) -> None:
    chosen = mapping(rule.get("selection"))
    name = f"rule {rule.get('rulePriority')}"
    comment = f"{name}: {rule['description']}" if rule.get("description") else name
    patterns = [f"{one}*" for one in listed(chosen.get("tagPrefixList"))] + listed(chosen.get("tagPatternList"))
    status, keep = chosen.get("tagStatus"), _kept(chosen)
    if not keep or mapping(rule.get("action")).get("type", "expire") != "expire" or len(patterns) > 1:
        why = "all of several tags must match" if len(patterns) > 1 else f"{chosen.get('countType')}, or its action"
        rules.lost.append(f"{comment}: {why}; its images are kept")
        keep = {"tags": "*"}
    if status == "untagged":
        if "tags" not in keep:
            rules.add(comment, repositories=[repository], select={"untagged": True}, keep=keep)
        return
    select = {"tags": patterns} if patterns else {}
    lost = ["images without a tag"] if status == "any" else []
    rules.add(comment, lost, repositories=[repository], select=select, keep=keep)


def _kept(chosen: Mapping[str, Any]) -> dict[str, Any]:
    number, kind = chosen.get("countNumber"), chosen.get("countType")
    if not isinstance(number, int) or number < 1:
        return {}
    if kind == "imageCountMoreThan":
        return {"last": number}
    if kind == "sinceImagePushed" and chosen.get("countUnit", "days") == "days":
        return {"within": f"{number}d"}
    return {}

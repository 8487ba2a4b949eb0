"""GitLab: `container_expiration_policy` of GET /projects/ID, or the project with it. Its regexes match whole names."""

from __future__ import annotations

from typing import Any

from dregutil.retention.translate.rules import EVERYTHING, UNNAMED, Rules, mapping, whole_duration

__all__ = ["gitlab"]


def gitlab(found: Any) -> Rules:
    rules, project = Rules(), mapping(found)
    policy = mapping(project.get("container_expiration_policy")) or project
    path = str(project.get("path_with_namespace") or UNNAMED).lower()
    repositories = [path, f"{path}/**"]
    if path == UNNAMED.lower():
        repositories = [UNNAMED]
        rules.lost.append(f"the export names no project: write its repositories in place of {UNNAMED}")
    delete = policy.get("name_regex_delete") or policy.get("name_regex")
    if policy.get("enabled") is False or not delete:
        rules.lost.append("the policy is disabled there" if delete else "the policy names no tags to remove there")
        return rules
    rules.protect["tags"] = ["latest"]
    if policy.get("name_regex_keep"):
        select = {"regex": policy["name_regex_keep"]}
        rules.add("tags that are kept there", repositories=repositories, select=select, keep=dict(EVERYTHING))
    keep = {"last": policy.get("keep_n"), "within": whole_duration(policy.get("older_than"))}
    keep = {key: value for key, value in keep.items() if value}
    lost = []
    if policy.get("older_than") and "within" not in keep:
        keep, lost = dict(EVERYTHING), [f"older_than: {policy['older_than']}; all its tags are kept"]
    select = {} if delete == ".*" else {"regex": delete}
    rules.add("tags to clean up", lost, repositories=repositories, select=select, keep=keep or {"none": True})
    return rules

"""Rules of other registries as policies: what is said, and that nothing goes that the rules there keep."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from dregutil.errors import UsageError
from dregutil.retention.policy import ParsedPolicy
from dregutil.retention.policyfile import read_policy
from dregutil.retention.translate import SERVICES, translate


def harbor_rule(template: str, pattern: str = "**", extras: str = "", **params: int) -> dict[str, Any]:
    return {
        "action": "retain",
        "template": template,
        "params": params,
        "tag_selectors": [{"kind": "doublestar", "decoration": "matches", "pattern": pattern, "extras": extras}],
        "scope_selectors": {"repository": [{"kind": "doublestar", "decoration": "repoMatches", "pattern": "web/**"}]},
    }


def policies(service: str, export: Any) -> list[ParsedPolicy]:
    text = export if isinstance(export, str) else json.dumps(export)
    return list(read_policy(translate(service, text).text).policies)


def said(policy: ParsedPolicy) -> tuple[str, str, str]:
    """Repositories, what is selected, and what is kept."""
    select = [*(glob.text for glob in policy.select.tags), *(regex.pattern for regex in policy.select.regexes)]
    what = "untagged" if policy.select.untagged else " ".join(select)
    return ",".join(glob.text for glob in policy.repositories), what, "; ".join(rule.text for rule in policy.keep)


def lost(service: str, export: Any) -> str:
    return "\n".join(translate(service, export if isinstance(export, str) else json.dumps(export)).lost)


def test_harbor() -> None:
    rules = [
        harbor_rule("nDaysSinceLastPush", extras='{"untagged":true}', nDaysSinceLastPush=30),
        harbor_rule("latestPushedK", "release-*", latestPushedK=10),
    ]
    found = policies("harbor", {"algorithm": "or", "rules": rules})
    assert [said(one) for one in found] == [
        ("PROJECT/web/**", "release-*", "last: 10; within: 30d"),
        ("PROJECT/web/**", "", "within: 30d"),
        ("PROJECT/web/**", "untagged", "within: 30d"),
    ]
    assert "write it in place of PROJECT" in lost("harbor", {"rules": rules})


def test_harbor_keeps_what_a_later_rule_retains_and_what_cannot_be_said() -> None:
    rules = [
        harbor_rule("latestPushedK", "a-*", latestPushedK=1),
        harbor_rule("latestPushedK", "*-b", latestPushedK=5),
        harbor_rule("latestPulledN", "c-*", latestPulledN=5),
        harbor_rule("nDaysSinceLastPull", "d-*", nDaysSinceLastPull=7),
        {**harbor_rule("always", "e-*"), "disabled": True},
    ]
    found = policies("harbor", {"rules": rules})
    assert [said(one)[1:] for one in found] == [
        ("a-*", "last: 1; tags: *, *-b; pulled_within: 7d"),
        ("*-b", "last: 5; tags: *; pulled_within: 7d"),
        ("c-*", "tags: *; pulled_within: 7d"),
        ("d-*", "pulled_within: 7d"),
    ]
    assert "latestPulledN; all its tags are kept" in lost("harbor", {"rules": rules})
    assert "rule 5 is disabled there" in lost("harbor", {"rules": rules})


def test_ecr() -> None:
    def rule(priority: int, number: int, kind: str, **selection: Any) -> dict[str, Any]:
        selection |= {"countType": kind, "countNumber": number, "tagStatus": selection.get("tagStatus", "tagged")}
        return {"rulePriority": priority, "selection": selection, "action": {"type": "expire"}}

    rules = [
        rule(3, 14, "sinceImagePushed", tagStatus="untagged", countUnit="days"),
        rule(1, 30, "imageCountMoreThan", tagPrefixList=["prod"]),
        rule(2, 5, "imageCountMoreThan", tagPatternList=["a*", "*b"]),
        rule(4, 9, "sinceImagePulled", tagStatus="any"),
    ]
    export = {"repositoryName": "shop/web", "lifecyclePolicyText": json.dumps({"rules": rules})}
    assert [said(one) for one in policies("ecr", export)] == [
        ("shop/web", "prod*", "last: 30"),
        ("shop/web", "a* *b", "tags: *"),
        ("shop/web", "untagged", "within: 14d"),
        ("shop/web", "", "tags: *"),
    ]
    assert "rule 2: all of several tags must match" in lost("ecr", export)
    assert said(policies("ecr", {"rules": rules[:2]})[0])[0] == "REPOSITORY"


def test_gitlab() -> None:
    policy = {"enabled": True, "keep_n": 10, "older_than": "90d", "name_regex": ".*", "name_regex_keep": "release-.+"}
    project = {"path_with_namespace": "Group/App", "container_expiration_policy": policy}
    found = read_policy(translate("gitlab", json.dumps(project)).text)
    assert [said(one) for one in found.policies] == [
        ("group/app,group/app/**", "release-.+", "tags: *"),
        ("group/app,group/app/**", "", "last: 10; within: 90d"),
    ]
    assert [glob.text for glob in found.protect.tags] == ["latest"]
    assert said(policies("gitlab", {**policy, "older_than": "soon"})[1]) == ("REPOSITORY", "", "tags: *")
    for more in ({"enabled": False}, {"name_regex": ""}):
        with pytest.raises(UsageError, match="there are no rules of gitlab to translate"):
            translate("gitlab", json.dumps({**policy, **more}))


def test_acr() -> None:
    command = "acr purge --filter 'app:^pr-.*' --filter 'team/.*:dev' --ago 7d --keep 3 --untagged"
    expected = [
        ("app", "pr-.*", "within: 7d; last: 3"),
        ("app", "untagged", "within: 7d"),
        ("team/**", ".*dev.*", "within: 7d; last: 3"),
        ("team/**", "untagged", "within: 7d"),
    ]
    task = f"version: v1.1.0\nsteps:\n  - cmd: {command}\n"
    encoded = {"step": {"encodedTaskContent": base64.b64encode(task.encode()).decode()}}
    for export in (command, task, json.dumps(encoded)):
        assert [tuple(map(str, said(one))) for one in policies("acr", export)] == expected, export
    assert "acr keeps 3 of those older" in lost("acr", command)
    assert said(policies("acr", "acr purge --filter 'a:^x|y$' --ago 0d")[0]) == ("a", ".*(?:^x|y$).*", "")
    assert said(policies("acr", "acr purge --filter a:.* --ago 1month")[0]) == ("a", "", "tags: *")
    with pytest.raises(UsageError, match="the repository is a regular expression"):
        translate("acr", "acr purge --filter '(a|b):.*' --ago 1d")


def test_zot() -> None:
    keep = [
        {"patterns": ["v2.*"], "mostRecentlyPushedCount": 10, "pushedWithin": "720h", "pulledWithin": "168h"},
        {"patterns": [".*"], "mostRecentlyPulledCount": 3},
    ]
    policy = {"repositories": ["infra/*"], "deleteUntagged": True, "keepTags": keep}
    config = {"storage": {"retention": {"delay": "48h", "policies": [policy]}}}
    found = policies("zot", config)
    assert [said(one) for one in found] == [
        ("infra/*", "v2.*", "last: 10; within: 30d; pulled_within: 7d"),
        ("infra/*", "", "tags: *"),
        ("infra/*", "untagged", ""),
    ]
    assert str(found[2].min_age) == "2 days, 0:00:00"
    assert "mostRecentlyPulledCount: 3; all its tags are kept" in lost("zot", config)


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize(
    "text", ["", "[]", "{", "1", "rules: 1", '{"rules": [1, {"selection": []}], "policies": [[]]}', "\x00"]
)
def test_what_has_no_rules_is_refused(service: str, text: str) -> None:
    try:
        found = translate(service, text)
    except UsageError:
        return
    assert all("tags: *" in said(one)[2] for one in read_policy(found.text).policies)


def test_what_cannot_be_said_stands_in_a_comment() -> None:
    rules = [{"rulePriority": 1, "description": "x\ny", "selection": {"tagStatus": "any", "countType": "new"}}]
    text = translate("ecr", json.dumps({"rules": rules})).text
    assert "# rule 1: x y: new, or its action; its images are kept\n" in text
    assert "  # not said here: images without a tag\n" in text

"""Policy files: all mistakes at once, each with its line and column and the nearest valid name; YAML's own types are
off."""

from __future__ import annotations

import contextlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.retention.asked import Engine, Kubernetes
from dregutil.retention.policy import InUseList, Limit, Order, TagGlobs, UnknownDate
from dregutil.retention.policyfile import Keep, Policy, PolicyError, Protect, policy_schema, policy_set, read_policy

WHOLE = """version: 1
timezone: Europe/Berlin
defaults: {unknown_date: first_seen, min_age: 1h30m, max_remove: 12.5%, untag: true}
protect:
  tags: [latest, stable]
  repositories: ["prod/base/*"]
  in_use: [{file: cluster-images.txt, max_age: 24h}]
  aliases: [registry.internal:5000]
policies:
  - name: releases
    repositories: ["prod/**"]
    select: {version: ">=1.0"}
    group_by: minor
    keep: {last: 3, within: 90d, monthly: 12, tags: [1.10, on, 007, 12:30]}
    order: version
  - name: branches
    repositories: "**"
    select: {regex: '(?P<branch>.+)-[0-9a-f]{7,40}'}
    group_by: branch
    keep: {all: [{last: 3}, {within: 100h}]}
    min_age: 3d
    max_remove: 40
    allow_empty: yes
"""


def mistakes(text: str) -> list[str]:
    with pytest.raises(PolicyError) as failed:
        read_policy(text, "policy.yml")
    return list(failed.value.lines)


def policy(lines: str) -> str:
    return f"version: 1\npolicies:\n  - name: p\n    repositories: ['**']\n{lines}"


def in_use(item: str) -> str:
    return f"version: 1\nprotect: {{in_use: [{item}]}}\npolicies: [{{name: p, repositories: [a], keep: {{last: 1}}}}]"


@pytest.mark.parametrize(
    ("item", "entry"),
    [
        ("{}", Kubernetes(line=2, column=33)),
        (
            "{contexts: [prod, stage], finished: false, ignore: [pods, Pipeline.tekton.dev, '*.example.com']}",
            Kubernetes(("prod", "stage"), False, ("pods", "Pipeline.tekton.dev", "*.example.com"), 2, 33),
        ),
        ("{contexts: prod}", Kubernetes(("prod",), line=2, column=33)),
    ],
)
def test_clusters_are_read(item: str, entry: Kubernetes) -> None:
    assert read_policy(in_use(f"{{kubernetes: {item}}}")).protect.in_use == (entry,)


def test_engines_are_read() -> None:
    assert read_policy(in_use("{docker: true}, {podman: yes}")).protect.in_use == (
        Engine("docker", 2, 29),
        Engine("podman", 2, 45),
    )
    written = policy_set(
        [Policy(name="p", repositories=["a"], keep=Keep(last=1))], protect=Protect(in_use=[Engine("docker")])
    )
    assert [one.name for one in written.protect.in_use if isinstance(one, Engine)] == ["docker"]


def test_a_complete_policy_is_read() -> None:
    found = read_policy(WHOLE)
    releases, branches = found.policies
    assert (releases.unknown_date, releases.min_age) == (UnknownDate.FIRST_SEEN, timedelta(minutes=90))
    assert (releases.max_remove, releases.untag, releases.order) == (Limit(share=0.125), True, Order.VERSION)
    assert (branches.min_age, branches.max_remove) == (timedelta(days=3), Limit(number=40))
    assert (branches.allow_empty, branches.group_by, branches.line) == (True, ("branch",), 16)
    (entry,) = found.protect.in_use
    assert isinstance(entry, InUseList)
    assert entry.max_age == timedelta(days=1)
    assert str(found.zone) == "Europe/Berlin"


def test_values_are_read_as_written() -> None:
    (rule,) = (rule for rule in read_policy(WHOLE).policies[0].keep if isinstance(rule, TagGlobs))
    assert [glob.text for glob in rule.globs] == ["1.10", "on", "007", "12:30"]


def test_defaults_are_careful() -> None:
    (found,) = read_policy(policy("    keep: {last: 1}")).policies
    assert (found.min_age, found.max_remove) == (timedelta(days=1), Limit(share=0.3))
    assert (found.unknown_date, found.untag, found.allow_empty) == (UnknownDate.KEEP, False, False)


def test_all_mistakes_are_reported_at_once_in_order() -> None:
    text = (
        WHOLE.replace("Berlin", "Berln").replace("min_age: 1h30m", "min_age: 1x").replace("monthly: 12", "mothly: 12")
    )
    assert [line.partition(": ")[0] for line in mistakes(text)] == [
        "policy.yml:2:11",
        "policy.yml:3:47",
        "policy.yml:14:34",
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (policy("    keep: {keep-lst: 3}"), "policy.yml:5:12: unknown key 'keep-lst' in 'keep': did you mean 'last'?"),
        (policy("    keep: {keep-monthly: 3}"), "unknown key 'keep-monthly' in 'keep': did you mean 'monthly'?"),
        (policy("    kep: {last: 3}"), "unknown key 'kep' in the policy: did you mean 'keep'?"),
        (policy("    kep: {last: 3}"), "policy.yml:3:5: the policy has no 'keep'"),
        (policy("    keep: {}"), "policy.yml:5:11: 'keep' is empty: say what to keep, or `none: true` if nothing is"),
        (policy("    keep:"), "'keep' must be a mapping of keys, not nothing"),
        (policy("    keep: {none: true, last: 1}"), "'none' cannot be combined"),
        (policy("    keep: {none: false}"), "'none: false' keeps nothing"),
        (policy("    keep: {last: 0}"), "policy.yml:5:18: '0' is not a whole number of at least 1"),
        (policy("    keep: {last: -1}"), "'-1' is not a whole number of at least 1"),
        (policy("    keep: {last: 1, last: 2}"), "duplicate key 'last' in 'keep'"),
        (policy("    keep: {within: 3 months}"), "'3 months' is not a duration"),
        (policy("    keep: {within: 1001y}"), "'1001y' is longer than 1,000 years"),
        (policy("    keep: {versions: 1.0}"), "'1.0' is not a comparison of versions"),
        (policy("    keep: {versions: '>=x'}"), "the selector '>=x' has no version after '>='"),
        (policy("    keep: {tags: []}"), "the list is empty"),
        (policy("    keep: {tags: '[a'}"), "'[' is not closed"),
        (policy("    keep: {all: [{lst: 1}]}"), "unknown key 'lst' in the rule: did you mean 'last'?"),
        (policy("    keep: {all: [{}]}"), "policy.yml:5:18: the rule is empty: say what to keep"),
        (policy("    keep: {last: 1, all: {}}"), "policy.yml:5:26: the rule is empty: say what to keep"),
        (policy("    keep: {all: [{within: 1d}, {}]}"), "policy.yml:5:32: the rule is empty: say what to keep"),
        (policy("    order: time"), "policy.yml:3:5: the policy has no 'keep'"),
        (policy("    expires: {from: seen}"), "policy.yml:5:14: 'expires' has no 'label'"),
        (policy("    expires: {label: x, from: birth}"), "policy.yml:5:31: 'birth' is none of created, seen"),
        (policy("    expires: quay"), "policy.yml:5:14: 'expires' must be a mapping of keys, not 'quay'"),
        (policy("    keep: {named_in: x.txt}"), "policy.yml:5:22: 'named_in' needs 'by'"),
        (policy("    keep: {named_in: x.txt, by: b}"), "policy.yml:5:33: 'b' is no named group of every regular"),
        (policy("    keep: {last: 1, by: b}"), "policy.yml:5:25: 'by' belongs to 'named_in', which is missing"),
        (policy("    keep: {named_in: {max_age: 1d}, by: b}"), "policy.yml:5:22: 'named_in' has no 'file'"),
        (policy("    keep: {named_in: {file: x, max_shrink: 30}, by: b}"), "policy.yml:5:44: '30' is not a share"),
        (policy("    keep: {named_in: '-', by: b}"), "a list of names is a file, not standard input"),
        (policy("    keep: {last: 1}\n    select: {media_type: helm}"), "policy.yml:6:26: 'helm' can match none"),
        (policy("    keep: {last: 1}\n    select: {older_than: old}"), "policy.yml:6:26: 'old' is not a duration"),
        (policy("    keep: {last: 1}\n    select: {larger_than: big}"), "policy.yml:6:27: 'big' is not a size"),
        (policy("    keep: {last: 1}\n    order: {regex_group: b}"), "policy.yml:6:26: 'b' is no named group of every"),
        (policy("    keep: {last: 1}\n    order: {group: b}"), "policy.yml:6:13: unknown key 'group' in 'order'"),
        (policy("    keep: {within: 1d, count: tags}"), "policy.yml:5:31: 'count' belongs to 'last', which is"),
        (policy("    keep: {last: 1, count: layers}"), "policy.yml:5:28: 'layers' is none of images, tags"),
        (policy("    doomed: [{max_age: 1d}]"), "policy.yml:5:14: 'doomed' has no 'file'"),
        (policy("    doomed: []"), "policy.yml:5:13: the list is empty"),
        (in_use("{max_age: 1d}"), "policy.yml:2:20: 'in_use' must have one of file, kubernetes, docker, podman"),
        (
            in_use("{file: a, kubernetes: {}}"),
            "policy.yml:2:20: 'in_use' must have one of file, kubernetes, docker, podman",
        ),
        (in_use("{docker: false}"), "policy.yml:2:29: 'docker' can only be true"),
        (in_use("{docker: true, podman: true}"), "policy.yml:2:20: 'in_use' must have one of file, kubernetes"),
        (in_use("{kubernetes: prod}"), "policy.yml:2:33: 'kubernetes' must be a mapping of keys, not 'prod'"),
        (in_use("{kubernetes: {context: a}}"), "policy.yml:2:34: unknown key 'context' in 'kubernetes': did you mean"),
        (in_use("{kubernetes: {contexts: []}}"), "policy.yml:2:44: the list is empty"),
        (in_use("{kubernetes: {finished: maybe}}"), "policy.yml:2:44: 'maybe' is neither true nor false"),
        (in_use("{kubernetes: {ignore: '*'}}"), "policy.yml:2:42: '*' is not a kind: 'pods'"),
        (in_use("{max_age: 1d, kubernetes: {}}"), "policy.yml:2:30: 'max_age' is for a file"),
        (policy("    doomed: [{file: '-'}]"), "policy.yml:5:21: a list of images to remove is a file"),
        (policy("    keep: {label: {}}"), "policy.yml:5:19: there is no label; write key: value"),
        (policy("    keep: {label: {a: x, a: y}}"), "policy.yml:5:26: duplicate label 'a'"),
        (policy("    keep: {label: {a=b: x}}"), "policy.yml:5:20: 'a=b' is not a key of a label"),
        (policy("    keep: {label: {a: {b: c}}}"), "policy.yml:5:23: a string is expected here, not a mapping"),
        (policy("    keep: {label: '=x'}"), "'=x' has no key; write key, or key=value"),
        (policy("    keep: {last: 1}\n    select: {regex: '('}"), "does not compile"),
        (policy("    keep: {last: 1}\n    select: {}"), "'select' is empty"),
        (policy("    keep: {last: 1}\n    select: {tag: x}"), "unknown key 'tag' in 'select': did you mean 'tags'?"),
        (policy("    keep: {last: 1}\n    select: {untagged: true, tags: x}"), "'untagged' cannot be combined"),
        (policy("    keep: {last: 1}\n    group_by: branch"), "'branch' is none of repository, major, minor, variant"),
        (policy("    keep: {last: 1}\n    order: date"), "'date' is none of time, version"),
        (policy("    keep: {last: 1}\n    max_remove: 130%"), "'130%' is not a limit"),
        (policy("    keep: {last: 1}\n    untag: maybe"), "'maybe' is neither true nor false"),
        (policy("    keep: {last: 1}\n  - {name: p, repositories: x, keep: {last: 1}}"), "two policies are called 'p'"),
        ("version: 2\npolicies: []", "version 2 is not supported, only 1"),
        ("policies: []", "the policy file has no 'version'"),
        ("version: 1", "the policy file has no 'policies'"),
        ("version: 1\npolicies: [", "policy.yml:2:12: this is not YAML"),
        ("a: b: c", "policy.yml:1:5: this is not YAML"),
        ("", "policy.yml:1:1: the policy is empty"),
        ("- x", "policy.yml:1:1: the policy file must be a mapping of keys, not a list"),
        ("version: 1\n---\nversion: 1", "this is not YAML"),
    ],
)
def test_a_mistake_is_reported(text: str, told: str) -> None:
    assert [line for line in mistakes(text) if told in line]


@pytest.mark.property
@given(st.text(max_size=200) | st.sampled_from([WHOLE[:cut] for cut in range(len(WHOLE))]))
def test_any_text_is_read_or_refused(text: str) -> None:
    with contextlib.suppress(PolicyError):
        read_policy(text)


def test_the_schema_in_the_docs_is_the_one_in_use() -> None:
    path = Path(__file__).parents[3] / "docs" / "policy.schema.json"
    made = json.dumps(policy_schema(), indent=2) + "\n"
    assert path.read_text() == made, "python -m dregutil.retention.policyfile writes it anew"

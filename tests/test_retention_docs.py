"""The manual of retention and the examples: what stands there is read, and has every key."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import yaml

from dregutil.cli.parser import build_parser
from dregutil.policyfile import read_policy
from dregutil.policyfile.shape import KEYS

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "retention.md").read_text()
EXAMPLES = ROOT / "examples"


@pytest.mark.parametrize("block", re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL))
def test_every_policy_of_the_manual_is_read(block: str) -> None:
    assert read_policy(block).policies


def test_the_manual_names_every_key() -> None:
    assert [key for keys in KEYS.values() for key in keys if key not in TEXT] == []


def test_keep_rules_of_the_comparison_are_read() -> None:
    rules = re.findall(r"`(keep: \{.*?\})`", TEXT)
    assert len(rules) > 8
    for rule in rules:
        read_policy(f"version: 1\npolicies: [{{name: p, repositories: [x], {rule}}}]")


def test_the_example_of_a_policy_is_read() -> None:
    assert len(read_policy((EXAMPLES / "policy.yml").read_text()).policies) == 2


def test_the_nightly_commands_are_understood() -> None:
    lines = [line for line in (EXAMPLES / "nightly-cleanup").read_text().splitlines() if line.startswith("dregutil ")]
    assert [build_parser().parse_args(shlex.split(line)[1:]).command for line in lines] == ["policy", "cleanup"]


def test_the_cron_job_of_kubernetes_is_whole() -> None:
    job, role, claim = yaml.safe_load_all((EXAMPLES / "cronjob.yaml").read_text())
    pod: dict[str, Any] = job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    program, *arguments = container["args"]
    assert program == "dregutil"
    assert build_parser().parse_args(arguments).command == "cleanup"
    volumes = {volume["name"] for volume in pod["volumes"]}
    mounted = {mount["name"] for one in (*pod["initContainers"], container) for mount in one["volumeMounts"]}
    assert mounted == volumes
    asked = re.search(r"kubectl get (\S+) -A", pod["initContainers"][0]["args"][0])
    assert asked is not None
    assert set(asked[1].split(",")) == {kind for rule in role["rules"] for kind in rule["resources"]}
    assert claim["metadata"]["name"] == "registry-cleanup-state"

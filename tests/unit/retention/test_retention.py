"""Golden files of retention: policies × histories, and the verdict on each tag with its reasons."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path

import pytest

from dregutil.inventory.tags import Inventory
from dregutil.oci.names import RegistryAddress
from dregutil.retention.doomed import read_doomed, with_doomed
from dregutil.retention.image_name import registry_hosts
from dregutil.retention.in_use import ListFile, find_in_use, images_in
from dregutil.retention.judge import judge
from dregutil.retention.names import NamesFile, read_names, with_names
from dregutil.retention.policy import InUseList
from dregutil.retention.policyfile import read_policy
from dregutil.retention.pulled import with_pulls
from dregutil.retention.verdict import InUse
from histories import NOW, Case, cases, sources_of

CASES = cases()
MANUAL = Path(__file__).parents[3] / "docs" / "retention.md"


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_every_verdict_is_as_written(case: Case) -> None:
    names = NamesFile(case.names, timedelta(0))
    policies = with_names(read_policy(case.policy), lambda rule: read_names(rule, names))
    address = RegistryAddress.parse("registry.example.com")
    own = registry_hosts(address, policies.protect.aliases)
    policies = with_doomed(policies, lambda entry: read_doomed(entry, case.doomed, timedelta(0), own, address))
    policies = with_pulls(policies, sources_of(case), NOW)
    in_use = InUse()
    if case.in_use:
        inventory = Inventory(
            {name: {one.tag: one.digest for one in facts if one.tag} for name, facts in case.facts.items()}
        )
        file = ListFile(InUseList("running.txt"), case.in_use, timedelta(0))
        lists = [(file, images_in(file))]
        in_use, _ = find_in_use(policies.protect, lists, inventory, address)
    judged = judge(policies, case.facts, now=NOW, in_use=in_use)
    found = {
        (verdict.repository, verdict.facts.tag or str(verdict.facts.digest)): (
            verdict.decision.value,
            ", ".join(map(str, verdict.reasons)),
        )
        for verdict in judged
    }
    assert found == case.expected


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 60


def test_each_numbered_rule_of_the_manual_has_one() -> None:
    numbers = {int(number) for number in re.findall(r"^\*\*(\d+)\. ", MANUAL.read_text(), re.MULTILINE)}
    assert numbers == set(range(1, 18))
    assert numbers - {17} <= {case.meaning for case in CASES}, "the budget has test_budget.py: it needs sizes"

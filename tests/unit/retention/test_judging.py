"""Judging a repository, each guard separately: what is missing, protected, held by a tag, or the newest."""

from __future__ import annotations

from datetime import timedelta

import pytest
from test_retention_parts import APP, ONE, THREE, TWO, ago, facts

from dregutil.oci.names import Tag
from dregutil.retention.judge import judge
from dregutil.retention.policy import (
    KeepRule,
    Last,
    Order,
    ParsedPolicy,
    ParsedProtect,
    ParsedSelect,
    PolicySet,
    TagGlobs,
)
from dregutil.retention.verdict import TagFacts
from dregutil.select.glob import parse_glob
from histories import NOW, digest_of

DAY = timedelta(days=1)
EVERYTHING = (parse_glob("**"),)


def policy(
    *keep: KeepRule,
    name: str = "p",
    select: ParsedSelect | None = None,
    order: Order = Order.TIME,
    group_by: tuple[str, ...] = (),
    min_age: timedelta = timedelta(0),
    allow_empty: bool = False,
) -> ParsedPolicy:
    return ParsedPolicy(
        name,
        EVERYTHING,
        keep,
        select or ParsedSelect(),
        order=order,
        group_by=group_by,
        min_age=min_age,
        allow_empty=allow_empty,
    )


def verdicts(policies: ParsedPolicy | PolicySet, *tags: TagFacts) -> dict[str, str]:
    """The verdict on each tag with its reason, by name (or short digest for untagged manifests)."""
    every = PolicySet((policies,)) if isinstance(policies, ParsedPolicy) else policies
    return {
        one.facts.tag or one.facts.digest.short: f"{one.decision.value}: {', '.join(map(str, one.reasons))}"
        for one in judge(every, {APP: tags}, now=NOW)
    }


def missing(tag: str, created: float) -> TagFacts:
    """A tag that is no longer listed, and that had an image of its own."""
    return TagFacts(Tag(tag), digest_of(tag), ago(created), missing_since=ago(1))


def test_a_missing_tag_does_not_count_towards_last() -> None:
    tags = (facts("a", ONE, ago(40)), facts("b", TWO, ago(30)), missing("c", 20), missing("d", 10))
    assert verdicts(policy(Last(1, "last: 1")), *tags) == {"a": "remove: beyond last: 1", "b": "keep: last: 1"}


def test_an_untagged_manifest_is_not_protected_by_a_tag_name() -> None:
    policies = PolicySet(
        (policy(Last(1, "last: 1"), select=ParsedSelect(untagged=True)),), ParsedProtect(tags=(parse_glob("stable-*"),))
    )
    found = verdicts(policies, facts(None, ONE, ago(40)), facts(None, TWO, ago(30)), facts("stable-1", THREE, ago(50)))
    assert found == {
        ONE.short: "remove: beyond last: 1",
        TWO.short: "keep: last: 1",
        "stable-1": "keep: protected: stable-*, no policy selects it",
    }


def test_a_young_protected_tag_is_enough_for_a_repository_not_to_be_empty() -> None:
    policies = PolicySet((policy(min_age=DAY),), ParsedProtect(tags=(parse_glob("stable"),)))
    stable = facts("stable", ONE, ago(30), seen=ago(0.1))
    assert verdicts(policies, stable, facts("old", TWO, ago(20))) == {
        "stable": "keep: protected: stable, younger than min_age: 1d",
        "old": "remove: keep: none",
    }


def test_a_signature_holds_the_digest_that_it_is_on() -> None:
    signature = f"sha256-{THREE.hex}.sig"
    assert verdicts(policy(allow_empty=True), facts("a", ONE, ago(40)), facts(signature, ONE, ago(40)))["a"] == (
        f"keep: its digest is also '{signature}', which stays, keep: none"
    )


@pytest.mark.parametrize("names", [("first", "second"), ("second", "first")])
def test_of_the_tags_that_hold_a_digest_the_first_by_name_is_shown(names: tuple[str, str]) -> None:
    keep = policy(TagGlobs((parse_glob("*s*"),), "tags: *s*"), allow_empty=True)
    held = (facts("a", ONE, ago(40)), *(facts(name, ONE, ago(40)) for name in names))
    assert verdicts(keep, *held)["a"] == "keep: its digest is also 'first', which stays, beyond tags: *s*"


def test_a_verdict_has_the_group_in_which_it_was_judged() -> None:
    by_minor = PolicySet((policy(Last(1, "last: 1"), group_by=("minor",)),))
    found = judge(by_minor, {APP: (facts("1.4.2", ONE, ago(3)), facts("main", TWO, ago(3)))}, now=NOW)
    assert [one.group for one in found] == [("1.4",), ()]


def test_if_policies_order_differently_the_newest_by_date_stays() -> None:
    versions = policy(name="versions", select=ParsedSelect(tags=(parse_glob("1.*"),)), order=Order.VERSION)
    rest = policy(name="rest")
    assert verdicts(PolicySet((versions, rest)), facts("1.0", ONE, ago(20)), facts("main", TWO, ago(3))) == {
        "1.0": "remove: keep: none",
        "main": "keep: the newest of its repository, which is never emptied",
    }


def test_without_any_date_the_newest_by_version_stays() -> None:
    assert verdicts(policy(), facts("1.0", ONE), facts("2.0", TWO), facts("main", THREE)) == {
        "1.0": "remove: keep: none",
        "2.0": "keep: the newest of its repository, which is never emptied",
        "main": "remove: keep: none",
    }

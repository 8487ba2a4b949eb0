"""What the API of a registry's service says about images, in the verdicts on them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from dregutil.oci.names import Repository, Tag
from dregutil.retention.explain import Factor, explain
from dregutil.retention.judge import judge
from dregutil.retention.policy import PolicySet
from dregutil.retention.policyfile import read_policy
from dregutil.retention.verdict import Decision, ReasonKind, Served, TagFacts, Verdict
from histories import NOW, digest_of

WEB = Repository("web")


def days(number: float) -> datetime:
    return NOW - timedelta(days=number)


def policy(keep: str, more: str = "") -> PolicySet:
    return read_policy(f'version: 1\npolicies:\n  - {{name: all, repositories: ["**"], keep: {{{keep}}}{more}}}\n', "p")


def facts(tag: str, created: float, served: Served | None = None) -> TagFacts:
    return TagFacts(Tag(tag), digest_of(tag), days(created), served=served or Served())


def judged(policies: PolicySet, *tags: TagFacts) -> dict[str, Verdict]:
    found = judge(policies, {WEB: tags}, now=NOW).verdicts[WEB]
    return {str(verdict.facts.tag): verdict for verdict in found}


def why(policies: PolicySet, *tags: TagFacts) -> tuple[Factor, ...]:
    found = judged(policies, *tags)
    return explain(policies, tuple(found.values()), found[str(tags[0].tag)], NOW)


def test_an_old_image_that_was_pushed_today_is_young() -> None:
    policies = policy("last: 1", ", min_age: 7d")
    old, new = facts("old", 300, Served(pushed=days(1))), facts("new", 20)

    assert judged(policies, facts("old", 300), new)["old"].decision is Decision.REMOVE
    assert judged(policies, old, new)["old"].decision is Decision.KEEP
    assert Factor("pushed", keeps=False, text="2026-11-23 12:00 UTC, by the registry") in why(policies, old, new)


def test_a_push_displaces_no_other_tag() -> None:
    """Else the push of an old image would be the reason why the newest one may go."""
    policies = policy("tags: [none]", ", min_age: 7d")
    old, new = facts("old", 300, Served(pushed=days(1))), facts("new", 20)

    assert judged(policies, facts("old", 300), new)["new"].reasons[0].kind is ReasonKind.NOT_EMPTIED
    assert judged(policies, old, new)["new"].reasons[0].kind is ReasonKind.NOT_EMPTIED


def test_a_push_makes_nothing_older() -> None:
    policies = policy("within: 30d")

    assert judged(policies, facts("a", 20, Served(pushed=days(40))), facts("b", 1))["a"].decision is Decision.KEEP


def test_a_tag_that_the_registry_locks_stays_and_says_why() -> None:
    policies = policy("last: 1")
    locked = facts("old", 300, Served(locked="it is immutable"))

    found = judged(policies, locked, facts("new", 20))["old"]

    assert found.decision is Decision.KEEP
    assert str(found.reasons[0]) == "the registry does not delete it: it is immutable"
    assert found.reasons[0].kind is ReasonKind.LOCKED


def test_why_says_when_an_image_was_pulled_and_what_to_know_about_that() -> None:
    policies = policy("last: 1")
    pulled = facts("old", 300, Served(pulled=days(12), has_pulls=True, doubts=("scanners count",)))
    never = facts("old", 300, Served(has_pulls=True))

    said = Factor("pulled", keeps=False, text="last 2026-11-12 12:00 UTC, by the registry; scanners count")
    assert said in why(policies, pulled, facts("new", 20))
    assert Factor("pulled", keeps=False, text="never, by the registry") in why(policies, never, facts("new", 20))
    assert not any(factor.what == "pulled" for factor in why(policies, facts("old", 300), facts("new", 20)))
    assert judged(policies, pulled, facts("new", 20))["old"].decision is Decision.REMOVE  # a pull keeps nothing


def test_no_tag_is_older_than_its_push_however_long_the_records_know_it() -> None:
    """It was moved away and back, or pushed again, between two crawls; with and without a date."""
    policies = policy("last: 1", ", min_age: 7d, unknown_date: first_seen, allow_empty: true")
    for built in (days(300), None):
        known = TagFacts(Tag("old"), digest_of("old"), built, seen=days(60), known_since=days(60))
        pushed = replace(known, served=Served(pushed=days(1)))

        assert judged(policies, known, facts("new", 20))["old"].decision is Decision.REMOVE
        found = judged(policies, pushed, facts("new", 20))["old"]
        assert found.decision is Decision.KEEP
        assert [reason.kind for reason in found.reasons] == [ReasonKind.MIN_AGE]

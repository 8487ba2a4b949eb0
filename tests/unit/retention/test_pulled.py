"""`pulled_within`: what was pulled lately stays, and so does what nobody can know about."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dregutil
from dregutil.oci.names import Repository, Tag
from dregutil.pulls.evidence import last_pull
from dregutil.pulls.pull import Gap, Pull, RepositoryPulls, Source, SourceKind, Span
from dregutil.retention.explain import explain
from dregutil.retention.judge import judge
from dregutil.retention.policy import PolicySet
from dregutil.retention.policyfile import PolicyError, read_policy
from dregutil.retention.pulled import unknown_rules, with_pulls
from dregutil.retention.verdict import Served, TagFacts
from histories import NOW, digest_of

POLICY = """version: 1
defaults: {{max_remove: 100%, allow_empty: true}}
protect: {{pulls: [{sources}]}}
policies: [{{name: p, repositories: ["**"], keep: {{pulled_within: 90d}}}}]
"""
APP = Repository("app")
DAY = timedelta(days=1)


def policy(sources: str = "{events: true}") -> PolicySet:
    return read_policy(POLICY.format(sources=sources))


def recorded(days: float, kind: SourceKind = SourceKind.EVENTS, *, gap: float = 0.0) -> Source:
    """A source that has recorded for so many days, with a gap of so many in the middle."""
    middle = NOW - days / 2 * DAY
    gaps = (Gap(middle, middle + gap * DAY, "a restart"),) if gap else ()
    return Source(kind, "one", (Span(NOW - days * DAY, NOW),), gaps)


def facts(tag: str, *, age: float = 200, pulled: float | None = None, served: Served | None = None) -> TagFacts:
    at = None if pulled is None else Pull(APP, Tag(tag), NOW - pulled * DAY, "containerd/2.1", SourceKind.EVENTS)
    return TagFacts(Tag(tag), digest_of(tag), NOW - age * DAY, pull=at, served=served or Served())


def kept(policies: PolicySet, sources: Sequence[Source], *tags: TagFacts) -> set[str]:
    found = judge(with_pulls(policies, sources, NOW), {APP: tags}, now=NOW)
    return {str(one.facts.tag) for one in found if not one.goes}


ALL = (
    facts("lately", pulled=10),
    facts("long-ago", age=201, pulled=100),
    facts("never", age=202),
    facts("new", age=30),
)


def test_what_was_pulled_or_came_lately_stays() -> None:
    assert kept(policy(), [recorded(100)], *ALL) == {"lately", "new"}


@pytest.mark.parametrize(
    "sources",
    [[], [recorded(12)], [recorded(100, gap=2)], [recorded(200, SourceKind.LOG)], [recorded(200), recorded(12)]],
    ids=["nothing is recorded", "for 12 days", "a gap of two days", "another source", "one of two sources"],
)
def test_what_is_not_known_stays(sources: list[Source]) -> None:
    assert kept(policy(), sources, *ALL) == {"lately", "long-ago", "never", "new"}


def test_what_has_no_date_stays_until_the_records_have_known_it_as_long() -> None:
    undated = replace(facts("undated"), created=None)
    old = replace(facts("old"), created=None, known_since=NOW - 91 * DAY)
    young = replace(facts("young"), created=None, known_since=NOW - 89 * DAY)
    assert kept(policy(), [recorded(100)], undated, old, young) == {"undated", "young"}


def test_a_short_gap_and_one_that_the_policy_allows_do_not_matter() -> None:
    assert kept(policy(), [recorded(100, gap=0.5)], *ALL) == {"lately", "new"}
    assert kept(policy("{events: true, max_gap: 3d}"), [recorded(100, gap=2)], *ALL) == {"lately", "new"}


def test_a_stated_beginning_shortens_the_recording() -> None:
    since = f"{NOW - 20 * DAY:%Y-%m-%d}"
    assert len(kept(policy(f"{{events: true, since: {since}}}"), [recorded(200)], *ALL)) == 4


def test_all_sources_must_have_recorded() -> None:
    both = policy("{events: true}, {log: true}")
    assert len(kept(both, [recorded(200)], *ALL)) == 4
    assert kept(both, [recorded(200), recorded(100, SourceKind.LOG)], *ALL) == {"lately", "new"}


def test_logs_that_are_named_must_have_recorded_and_no_others() -> None:
    named = policy("{log: access.log*}")
    entry = replace(named.protect.pulls[0], names=frozenset(("one", "two")))
    named = replace(named, protect=replace(named.protect, pulls=(entry,)))
    one = recorded(100, SourceKind.LOG)
    two, other = replace(one, name="two"), replace(recorded(5, SourceKind.LOG), name="other")
    assert kept(named, [one, two, other], *ALL) == {"lately", "new"}
    assert len(kept(named, [one, other], *ALL)) == 4, "one of them has recorded nothing"
    assert len(kept(named, [one, replace(two, kind=SourceKind.EVENTS)], *ALL)) == 4
    assert len(kept(named, [one, replace(other, name="two")], *ALL)) == 4
    assert len(kept(policy("{log: access.log*}"), [one, other], *ALL)) == 4, "which logs it names is not known"


@pytest.mark.parametrize(
    ("written", "files"),
    [
        ("access.log", ("access.log",)),
        ("[a.log, /var/log/b.log*]", ("a.log", "/var/log/b.log*")),
        ("true", ()),
    ],
)
def test_logs_as_they_are_written(written: str, files: tuple[str, ...]) -> None:
    (entry,) = policy(f"{{log: {written}, since: 2026-08-01, max_gap: 2h}}").protect.pulls
    assert (entry.kind, entry.files, entry.max_gap) == (SourceKind.LOG, files, timedelta(hours=2))
    made = dregutil.Protect(pulls=[replace(entry, files=list(entry.files))])
    keep = dregutil.Keep(pulled_within="90d")
    found = dregutil.policy_set([dregutil.Policy(name="p", repositories=["**"], keep=keep)], protect=made)
    assert replace(found.protect.pulls[0], line=entry.line, column=entry.column) == entry


def test_the_services_api() -> None:
    server = policy("{server: true}")
    known = Served(has_pulls=True)
    tags = (
        facts("lately", served=replace(known, pulled=NOW - 3 * DAY)),
        facts("long-ago", age=201, served=replace(known, pulled=NOW - 99 * DAY)),
        facts("never", age=202, served=known),
        facts("unknown", age=203),
    )
    assert kept(server, [], *tags) == {"lately", "unknown"}


def test_why_says_who_pulled_it_and_since_when_pulls_are_recorded() -> None:
    found: list[list[str]] = []
    for sources in ([recorded(100)], [recorded(12)], []):
        policies = with_pulls(policy(), sources, NOW)
        verdicts = judge(policies, {APP: ALL}, now=NOW).verdicts[APP]
        found.append([explain(policies, verdicts, one, NOW)[0].text for one in verdicts[:3]])
    since = f"{NOW - 100 * DAY:%Y-%m-%d}"
    assert found[0] == [
        f"it was pulled 10d ago by containerd/2.1 (events); recorded since {since}",
        f"it was pulled 100d ago by containerd/2.1 (events); recorded since {since}",
        f"no pull of it is known; recorded since {since}",
    ]
    assert found[1][2] == "no pull of it is known; recorded for 12 of 90 days"
    assert found[2][2] == "no pull of it is known; pulls are not recorded"


def test_the_rules_for_which_everything_counts_as_pulled() -> None:
    def found(*sources: Source) -> tuple[str, ...]:
        return unknown_rules(with_pulls(policy(), sources, NOW), NOW)

    assert found(recorded(91)) == ()
    assert found(recorded(12)) == ("pulled_within: 90d (recorded for 12 of 90 days)",)
    assert found() == ("pulled_within: 90d (pulls are not recorded)",)


def test_a_reason_says_that_the_recording_is_too_short() -> None:
    verdict = judge(with_pulls(policy(), [recorded(12)], NOW), {APP: ALL}, now=NOW).verdicts[APP][2]
    assert [one.text for one in verdict.reasons] == ["pulled_within: 90d (recorded for 12 of 90 days)"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (POLICY.format(sources=""), "needs `protect: {pulls: …}`"),
        (POLICY.format(sources="{events: true, log: true}"), "a source of pulls has one of"),
        (POLICY.format(sources="{max_gap: 1d}"), "a source of pulls has one of"),
        (POLICY.format(sources="{events: true, since: yesterday}"), "'yesterday' is not a date"),
        (POLICY.format(sources="{events: true}").replace("90d", "ninety"), "ninety"),
        (POLICY.format(sources="{events: true, log: a.log}"), "a source of pulls has one of"),
        (POLICY.format(sources="{log: '-'}"), "a log is a file, not standard input"),
        (POLICY.format(sources="{log: []}"), "the list is empty"),
        (POLICY.format(sources="{log: [a.log, [b.log]]}"), "a string is expected"),
        (POLICY.format(sources="{log: 'a/**/b.log'}"), r"'\*\*' is not known in paths of logs"),
        (POLICY.format(sources="{log: '[a'}"), "is not closed"),
        (POLICY.format(sources="{log: true, line_format: 'x'}"), "'line_format' is for the files of 'log'"),
        (POLICY.format(sources="{log: a.log, line_format: '('}"), "not a regular expression"),
        (POLICY.format(sources="{log: a.log, line_format: '(?P<time>.)'}"), "has no group 'method'"),
    ],
)
def test_mistakes(text: str, told: str) -> None:
    with pytest.raises(PolicyError, match=told):
        read_policy(text)


DIGESTS = [digest_of(str(number)) for number in range(4)]
pulls = st.builds(
    Pull,
    st.just(APP),
    st.sampled_from([*DIGESTS, *map(Tag, "abc")]),
    st.integers(0, 200).map(lambda days: NOW - days * DAY),
    st.just("podman/5"),
    st.just(SourceKind.EVENTS),
)
worlds = st.lists(
    st.builds(
        lambda tag, digest, below, age: TagFacts(
            Tag(tag), DIGESTS[digest], NOW - age * DAY, contains=tuple(DIGESTS[one] for one in below)
        ),
        st.sampled_from("abcdef"),
        st.integers(0, 3),
        st.lists(st.integers(0, 3), max_size=2),
        st.integers(0, 200),
    ),
    max_size=6,
    unique_by=lambda one: one.tag,
)


def of(found: Sequence[Pull]) -> RepositoryPulls:
    """The last pull of each reference."""
    last = {one.reference: one for one in sorted(found, key=lambda one: one.at)}
    return RepositoryPulls(
        {name: one for name, one in last.items() if name in DIGESTS},  # type: ignore[misc]
        {name: one for name, one in last.items() if name not in DIGESTS},  # type: ignore[misc]
    )


@given(worlds, st.lists(pulls, max_size=6), st.lists(pulls, max_size=6), st.integers(1, 200))
def test_more_evidence_of_pulls_never_removes_more(
    tags: list[TagFacts], some: list[Pull], more: list[Pull], days: int
) -> None:
    def judged(found: Sequence[Pull]) -> set[str]:
        seen = [replace(one, pull=last_pull(of(found), one.tag, one.digest, one.contains)) for one in tags]
        return kept(policy(), [recorded(days)], *seen)

    assert judged(some) <= judged([*some, *more])

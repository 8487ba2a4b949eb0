"""Properties of retention on random histories, compared with a second, naive implementation of the rules."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Repository, Tag
from dregutil.pulls.pull import Pull, SourceKind
from dregutil.retention.dates import date_of, latest_arrival
from dregutil.retention.judge import judge
from dregutil.retention.policy import (
    All,
    Calendar,
    DoomedList,
    Expires,
    KeepRule,
    Label,
    LabelRule,
    Last,
    NamedIn,
    Order,
    ParsedPolicy,
    ParsedProtect,
    ParsedSelect,
    Period,
    PolicySet,
    TagGlobs,
    UnknownDate,
    Within,
)
from dregutil.retention.pull_rules import PulledWithin
from dregutil.retention.verdict import Decision, Former, ReasonKind, Served, TagFacts, Verdict
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.content_selector import ContentSelector, Match
from dregutil.select.glob import parse_glob
from dregutil.select.version import parse_version
from histories import NOW, digest_of

ZONE = ZoneInfo("America/New_York")
APP = Repository("app")

names = st.one_of(
    st.builds("{}.{}".format, st.integers(0, 2), st.integers(0, 4)),
    st.builds("main-{:07x}".format, st.integers(0, 20)),
    st.sampled_from(("latest", "stable", "x", "y")),
)
ages = st.one_of(
    st.integers(0, 40 * 24).map(lambda hours: NOW - timedelta(hours=hours)),
    st.integers(0, 900).map(lambda days: NOW - timedelta(days=days)),
    st.sampled_from((datetime(2024, 5, 1, tzinfo=UTC), datetime(1970, 1, 1, tzinfo=UTC), NOW + timedelta(days=1))),
    st.none(),
)
pushes = st.one_of(st.none(), st.integers(0, 8 * 24).map(lambda hours: NOW - timedelta(hours=hours)), ages)
LIVES = {"12h": timedelta(hours=12), "3d": timedelta(days=3), "4w": timedelta(weeks=4)}
DAYS = {"2025-12-31": datetime(2026, 1, 1, tzinfo=ZONE), "2026-11-30": datetime(2026, 12, 1, tzinfo=ZONE)}
labels = st.fixed_dictionaries(
    {},
    optional={
        "team": st.sampled_from("ab"),
        "keep": st.sampled_from("ab"),
        "ttl": st.sampled_from((*LIVES, *LIVES, *DAYS, "soon")),
    },
)
ANY = ContentSelector()
DOOMED = DoomedList(
    "bad.txt",
    images=frozenset({(APP, None, digest_of("a")), (APP, Tag("x"), digest_of("b")), (APP, None, digest_of("latest"))}),
)
WORD = BoundedRegex("(?P<word>[^.-]*)[.-]?(?P<number>.*)")
simple_rules = st.one_of(
    st.builds(lambda number, tags: Last(number, f"last: {number} {tags}", tags), st.integers(1, 5), st.booleans()),
    st.builds(
        lambda period, number: Calendar(period, number, f"{period}: {number}"),
        st.sampled_from(Period),
        st.integers(1, 4),
    ),
    st.integers(1, 60).map(lambda days: Within(timedelta(days=days), f"within: {days}d")),
    st.sampled_from(("1.*", "main-*", "x")).map(lambda text: TagGlobs((parse_glob(text),), f"tags: {text}")),
    st.builds(
        lambda days, since: PulledWithin(timedelta(days=days), f"pulled_within: {days}d {since}", since),
        st.integers(1, 60),
        st.sampled_from((None, NOW - timedelta(days=10), NOW - timedelta(days=100))),
    ),
    st.sampled_from((None, frozenset({"main"}), frozenset({"1", "x"}))).map(
        lambda names: NamedIn("alive.txt", "word", (WORD,), f"named_in: {names}", names=names)
    ),
    st.sampled_from(("team=a", "team=b", "team", "keep")).map(
        lambda text: LabelRule((Label(*text.split("=")),), f"label: {text}")
    ),
)
rules: st.SearchStrategy[KeepRule] = st.one_of(
    simple_rules,
    st.tuples(simple_rules, simple_rules).map(lambda both: All(both, f"all: {both[0].text} + {both[1].text}")),
)
policies = st.builds(
    lambda keep, order, unknown, age, untag, empty, group, expires, content, doomed: ParsedPolicy(
        "p",
        (parse_glob("**"),),
        tuple(keep),
        ParsedSelect(content=content, regexes=(WORD,)),
        order=order,
        order_by="number",
        unknown_date=unknown,
        min_age=age,
        untag=untag,
        allow_empty=empty,
        group_by=group,
        expires=expires,
        doomed=doomed,
    ),
    st.lists(rules, max_size=3),
    st.sampled_from(Order),
    st.sampled_from(UnknownDate),
    st.sampled_from((timedelta(0), timedelta(days=1), timedelta(days=7))),
    st.booleans(),
    st.booleans(),
    st.sampled_from(((), ("minor",), ("major",))),
    st.sampled_from((None, None, Expires("ttl"), Expires("ttl", from_seen=True))),
    st.sampled_from((ANY, ANY, ANY, ContentSelector(older_than=timedelta(days=9)), ContentSelector(larger_than=50))),
    st.sampled_from(((), (), (DOOMED,), (DoomedList("bad.txt"),))),
)


@st.composite
def histories(draw: st.DrawFn) -> list[TagFacts]:
    """A repository. The records have seen all of it or nothing, as in reality."""
    recorded = draw(st.booleans())
    began = NOW - timedelta(days=draw(st.integers(0, 30)))
    found = []
    contents = {name: draw(ages) for name in "abcdefgh"}
    marks = {name: (draw(labels), draw(labels)) for name in "abcdefgh"}
    for name in draw(st.lists(names, unique=True, max_size=14)):
        content = draw(st.sampled_from([*"abcdefgh", name, name, name]))
        created = contents.get(content) if content in contents else draw(ages)
        came = draw(st.booleans()) and recorded
        seen = min(began + timedelta(hours=draw(st.integers(0, 200))), NOW) if came else None
        known_since = seen or (began if recorded else None)
        unseen = seen - timedelta(hours=draw(st.integers(0, 100))) if seen and draw(st.booleans()) else None
        former = seen - timedelta(hours=draw(st.integers(0, 900))) if seen and draw(st.booleans()) else None
        was = None if former is None else Former(former, draw(st.sampled_from((None, former))))
        labelled, annotated = marks.get(content, ({}, {}))
        details = ImageDetails(
            digest_of(content), "", digest_of(content).key[1] % 100, created, labelled, annotations=annotated
        )
        pulled = draw(st.sampled_from((None, None, 1, 8, 20, 50)))
        at = None if pulled is None else NOW - timedelta(days=pulled)
        pull = None if at is None else Pull(APP, details.digest, at, "", SourceKind.EVENTS)
        facts = TagFacts(
            Tag(name), details.digest, created, seen, known_since, unseen=unseen, former=was, content=details
        )
        found.append(replace(facts, pull=pull))
    return found


def verdicts(
    policy: ParsedPolicy, facts: Sequence[TagFacts], protect: ParsedProtect | None = None
) -> Mapping[str, Verdict]:
    judged = judge(PolicySet((policy,), protect or ParsedProtect(), ZONE), {APP: facts}, now=NOW)
    return {str(verdict.facts.tag): verdict for verdict in judged}


def kept(found: Mapping[str, Verdict]) -> set[str]:
    return {tag for tag, verdict in found.items() if not verdict.goes}


@pytest.mark.property
@given(policies, histories(), rules)
def test_an_additional_keep_rule_never_removes_more(
    policy: ParsedPolicy, facts: list[TagFacts], rule: KeepRule
) -> None:
    more = replace(policy, keep=(*policy.keep, rule))
    assert kept(verdicts(policy, facts)) <= kept(verdicts(more, facts))


@pytest.mark.property
@given(policies, histories(), st.lists(st.tuples(pushes, ages, st.booleans()), min_size=14, max_size=14))
def test_what_the_service_says_never_removes_more(
    policy: ParsedPolicy, facts: list[TagFacts], said: list[tuple[datetime | None, datetime | None, bool]]
) -> None:
    """Not a push, however late or early; not a pull, or none; not a lock."""
    told = [
        replace(one, served=Served(pushed, pulled, has_pulls=True, locked="immutable" if locked else ""))
        for one, (pushed, pulled, locked) in zip(facts, said, strict=False)
    ]
    assert kept(verdicts(policy, facts)) <= kept(verdicts(policy, told))


@given(policies, histories())
def test_removing_twice_changes_nothing_the_second_time(policy: ParsedPolicy, facts: list[TagFacts]) -> None:
    first = kept(verdicts(policy, facts))
    left = [one for one in facts if one.tag in first]
    assert kept(verdicts(policy, left)) == first


@pytest.mark.property
@given(policies, histories(), st.randoms(use_true_random=False))
def test_the_order_of_the_input_never_matters(
    policy: ParsedPolicy, facts: list[TagFacts], chance: random.Random
) -> None:
    mixed = list(facts)
    chance.shuffle(mixed)
    assert verdicts(policy, facts) == verdicts(policy, mixed)


@pytest.mark.property
@given(policies, histories())
def test_a_repository_is_never_emptied(policy: ParsedPolicy, facts: list[TagFacts]) -> None:
    assert policy.allow_empty or not facts or kept(verdicts(policy, facts))


@pytest.mark.property
@given(policies, histories())
def test_protection_keeps_its_tags_and_removes_no_other(policy: ParsedPolicy, facts: list[TagFacts]) -> None:
    free = verdicts(policy, facts)
    guarded = verdicts(policy, facts, ParsedProtect(tags=(parse_glob("1.*"), parse_glob("latest"))))
    assert {tag for tag in free if tag.startswith("1.") or tag == "latest"} <= kept(guarded)
    assert policy.allow_empty is False or kept(free) <= kept(guarded)


@pytest.mark.property
@given(policies, histories(), st.lists(st.tuples(st.integers(0, 9), ages, ages), max_size=6), simple_rules)
def test_untagged_manifests_never_change_the_verdict_on_tags(
    policy: ParsedPolicy,
    facts: list[TagFacts],
    strays: list[tuple[int, datetime | None, datetime | None]],
    rule: KeepRule,
) -> None:
    untagged = [
        TagFacts(None, digest_of(f"stray {name}"), created, seen, seen)
        for name, created, seen in {stray[0]: stray for stray in strays}.values()
    ]
    other = ParsedPolicy("strays", (parse_glob("**"),), (rule,), ParsedSelect(untagged=True), min_age=policy.min_age)
    judged = judge(PolicySet((policy, other), zone=ZONE), {APP: [*untagged, *facts]}, now=NOW)
    assert facts == [] or {
        str(verdict.facts.tag): verdict for verdict in judged if verdict.facts.tag is not None
    } == verdicts(policy, facts)
    for verdict in judged:
        if verdict.facts.tag is None and verdict.goes:
            assert verdict.policy == "strays"
            assert verdict.date is not None


@pytest.mark.property
@given(policies, histories())
def test_every_reason_is_true(policy: ParsedPolicy, facts: list[TagFacts]) -> None:
    found = verdicts(policy, facts)
    for verdict in found.values():
        assert verdict.reasons
        mates = [
            one.facts
            for one in found.values()
            if one.group == verdict.group and policy.select.content.match(_dated(one.facts, policy), NOW) is Match.YES
        ]
        said = {reason.text for reason in verdict.reasons if reason.kind is ReasonKind.RULE}
        kinds = {reason.kind for reason in verdict.reasons}
        content = policy.select.content
        assert (verdict.policy == "p") == (content.match(_dated(verdict.facts, policy), NOW) is not Match.NO)
        if verdict.policy != "p" or content.match(_dated(verdict.facts, policy), NOW) is not Match.YES:
            continue
        if ReasonKind.NO_VERSION in kinds and not said and verdict.group == ():
            continue  # it belongs to no group, so no rule applies
        assert said == {rule.text for rule in policy.keep if _keeps(rule, verdict.facts, mates, policy)}
        dates = _date(verdict.facts, mates, policy)
        believed = None if dates is None else dates[1]
        assert (ReasonKind.UNKNOWN_DATE in kinds or ReasonKind.SAME_DATE in kinds) == (
            policy.uses_dates and believed is None
        )
        if policy.expires is not None or policy.doomed:
            shared = believed is None and _moment(verdict.facts, policy) is not None
            over = policy.expires is not None and _is_over(verdict.facts, believed, policy, shared=shared)
            tag, digest = verdict.facts.tag, verdict.facts.digest
            listed = any({(APP, None, digest), (APP, tag, digest)} & (one.images or set()) for one in policy.doomed)
            stays = {ReasonKind.NO_EXPIRY, ReasonKind.NOT_EXPIRED, ReasonKind.NOT_DOOMED}
            assert bool(kinds & stays) != (over or listed)
        assert (ReasonKind.MIN_AGE in kinds) == _young(verdict.facts, believed, policy)
        if verdict.decision is Decision.REMOVE:
            assert not [one for one in found.values() if not one.goes and one.facts.digest == verdict.facts.digest]


@pytest.mark.property
@given(histories(), st.sampled_from(UnknownDate))
def test_the_previous_crawl_distinguishes_new_builds_and_makes_nothing_older(
    facts: list[TagFacts], unknown: UnknownDate
) -> None:
    for one in facts:
        date, without = (date_of(found, unknown, NOW) for found in (one, replace(one, unseen=None)))
        assert latest_arrival(one, date) == without
        assert date in (without, one.created)
        if date != without:
            assert one.unseen is not None
            assert one.seen is not None
            assert date is not None
            assert one.unseen <= date < one.seen


def _dated(facts: TagFacts, policy: ParsedPolicy) -> ImageDetails:
    """What is behind a tag, with the date that counts for others."""
    assert facts.content is not None
    return replace(facts.content, created=_others(facts, policy))


def _moment(facts: TagFacts, policy: ParsedPolicy) -> datetime | None:
    if facts.created is not None and facts.created.year >= 2013 and facts.created <= NOW:
        if facts.unseen is not None and facts.unseen <= facts.created:
            return facts.created
        return max(moment for moment in (facts.created, facts.seen) if moment is not None)
    if policy.unknown_date is UnknownDate.FIRST_SEEN:
        return facts.seen if facts.seen is not None else facts.known_since
    return None


def _others(facts: TagFacts, policy: ParsedPolicy) -> datetime | None:
    """The date that counts for others."""
    if facts.created is not None and facts.created.year >= 2013 and facts.created <= NOW:
        return facts.created
    if policy.unknown_date is UnknownDate.FIRST_SEEN:
        return facts.before.seen or facts.before.known_since
    return None


def _date(facts: TagFacts, mates: Sequence[TagFacts], policy: ParsedPolicy) -> tuple[datetime, datetime] | None:
    """Both dates of a tag, the one for others first; None if most images of its group share them."""

    def both(one: TagFacts) -> tuple[datetime, datetime] | None:
        own, others = _moment(one, policy), _others(one, policy)
        return None if own is None or others is None else (others, own)

    mine = both(facts)
    if mine is None:
        return None
    images = {one.digest for one in mates}
    alike = [(one, found) for one in mates if (found := both(one)) is not None and found[0] == mine[0]]
    back = {one.digest for one, _ in alike if one.former is not None}
    owns = {found[1] for one, found in alike if one.former is None} or {mine[1]}
    owns &= {mine[1]} if facts.former is None else owns
    for own in owns:
        same = back | {one.digest for one, found in alike if one.former is None and found[1] == own}
        if len(same) >= 2 and len(same) > len(images) / 2:
            return None
    return mine


def _arrival(date: datetime | None, facts: TagFacts) -> datetime | None:
    return None if date is None else max(date, facts.seen or date)


def _young(facts: TagFacts, date: datetime | None, policy: ParsedPolicy) -> bool:
    moments = [moment for moment in (_arrival(date, facts), facts.known_since) if moment is not None]
    return policy.min_age > timedelta(0) and not any(NOW - moment >= policy.min_age for moment in moments)


def _is_over(facts: TagFacts, date: datetime | None, policy: ParsedPolicy, *, shared: bool) -> bool:
    """Whether an image has expired, by each of the values of its label and of its annotation."""
    assert facts.content is not None
    values = {marks["ttl"] for marks in (facts.content.labels, facts.content.annotations) if "ttl" in marks}
    came = _arrival(date, facts)
    known = [came, facts.known_since, facts.seen] if policy.expires == Expires("ttl", from_seen=True) else [came]
    begun = max((one for one in known if one is not None), default=None)
    ends = [DAYS[value] if value in DAYS else begun and begun + LIVES[value] for value in values if value != "soon"]
    if shared or not values or "soon" in values or None in ends:
        return False
    end = max(one for one in ends if one is not None)
    return end <= NOW and (came is None or end > came)


def _keeps(rule: KeepRule, facts: TagFacts, mates: Sequence[TagFacts], policy: ParsedPolicy) -> bool:
    """Whether a rule keeps a tag: decided for this tag alone, pair by pair."""
    if isinstance(rule, All):
        return all(_keeps(one, facts, mates, policy) for one in rule.rules)
    if isinstance(rule, TagGlobs):
        return any(glob.matches(str(facts.tag)) for glob in rule.globs)
    if isinstance(rule, NamedIn):
        word = str(facts.tag).replace("-", ".").split(".")[0]
        return rule.names is None or word in rule.names
    if isinstance(rule, LabelRule):
        assert facts.content is not None
        own = {*facts.content.labels.items(), *facts.content.annotations.items()}
        return any(key == label.key and label.value in (None, value) for key, value in own for label in rule.labels)
    dates = _date(facts, mates, policy)
    if isinstance(rule, PulledWithin):
        after = NOW - rule.age
        came = (_arrival(dates[1], facts) if dates is not None else None) or facts.known_since
        known = rule.since is not None and rule.since <= after
        return not known or came is None or came > after or (facts.pull is not None and facts.pull.at > after)
    if isinstance(rule, Within):
        arrival = _arrival(dates[1], facts) if dates is not None else None
        return arrival is not None and NOW - arrival < rule.age
    if isinstance(rule, Last) and policy.order is not Order.TIME:
        mine = _rank(facts, policy)
        others = [(one, _rank(one, policy)) for one in mates]
        newer = {
            str(one.tag) if rule.counts_tags else str(one.digest)
            for one, other in others
            if mine is not None and other is not None and other > mine
        }
        return mine is not None and len(newer) < rule.number
    if dates is None or (policy.order is not Order.TIME and _rank(facts, policy) is None):
        return False
    before = _moment(facts.before, policy)
    found = [(dates[0], False), (before or dates[1], False), *([(dates[1], True)] if facts.former is not None else [])]
    return any(_keeps_at(rule, facts, mates, policy, *at) for at in found)


def _keeps_at(
    rule: KeepRule, facts: TagFacts, mates: Sequence[TagFacts], policy: ParsedPolicy, at: datetime, back: bool
) -> bool:
    """Whether `last` by time, or a calendar rule, keeps a tag at one of its two dates.

    Other tags rank by their date for others; those that arrived late with the tag rank beside it.
    """
    mine = _date(facts, mates, policy)
    assert mine is not None
    is_late = at != mine[0]

    def place(one: TagFacts) -> tuple[datetime, datetime] | None:
        dates = _date(one, mates, policy)
        if dates is None or (policy.order is not Order.TIME and _rank(one, policy) is None):
            return None
        its = dates[1] if back else _moment(one.before, policy)
        beside = is_late and dates[0] != at and at == its and (one.former is not None or not back)
        return (at if beside else dates[0], dates[0])

    here = (at, mine[0])
    placed = [(one, found) for one in mates if (found := place(one)) is not None]
    newer = [one for one, other in placed if _is_newer(one, other, facts, here, policy)]
    if isinstance(rule, Last):
        return len({str(one.tag) if rule.counts_tags else str(one.digest) for one in newer}) < rule.number
    assert isinstance(rule, Calendar)
    bucket = _bucket(at, rule.period)
    # What arrived late beside it is in its own bucket; so the dates of the others decide which buckets are later.
    later = {other for one, found in placed if (other := _bucket(found[0], rule.period)) > bucket}
    return len(later) < rule.number and not any(
        _bucket(found[0], rule.period) == bucket and one in newer for one, found in placed
    )


def _is_newer(
    one: TagFacts,
    its: tuple[datetime, datetime],
    facts: TagFacts,
    mine: tuple[datetime, datetime],
    policy: ParsedPolicy,
) -> bool:
    if policy.order is not Order.TIME:
        version, other = _rank(facts, policy), _rank(one, policy)
        assert version is not None
        assert other is not None
        return bool(other > version)
    if mine[0] == mine[1]:
        return its[0] > mine[0]
    return its[0] > mine[0] or (its[0] == mine[0] != its[1] and its[1] > mine[1])


def _rank(facts: TagFacts, policy: ParsedPolicy) -> Any:
    """The version of a tag, or the number in it, whichever orders the tags."""
    if policy.order is Order.VERSION:
        return parse_version(str(facts.tag))
    number = str(facts.tag).replace("-", ".").partition(".")[2]
    return int(number) if number.isdigit() else None


def _bucket(date: datetime, period: Period) -> str:
    form = {Period.DAILY: "%Y-%m-%d", Period.WEEKLY: "%G-%V", Period.MONTHLY: "%Y-%m", Period.YEARLY: "%Y"}
    return date.astimezone(ZONE).strftime(form[period])

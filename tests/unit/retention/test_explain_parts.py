"""The output of `why` for a tag, sentence by sentence: rules, dates, min_age, and other tags on its digest."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from dregutil.oci.image import ImageDetails
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.explain import Factor, explain
from dregutil.retention.judge import judge
from dregutil.retention.policy import (
    Calendar,
    KeepRule,
    Label,
    LabelRule,
    Last,
    Order,
    ParsedPolicy,
    Period,
    PolicySet,
    TagGlobs,
    UnknownDate,
    Within,
)
from dregutil.retention.policyfile import read_policy
from dregutil.retention.verdict import Dates, Decision, Former, Reason, ReasonKind, TagFacts, Verdict
from dregutil.select.glob import parse_glob
from histories import NOW, digest_of

APP = Repository("app")
DAY = timedelta(days=1)
ONE, TWO, THREE, FOUR = map(digest_of, ("one", "two", "three", "four"))
RULE, NO_RULE = Reason(ReasonKind.RULE, "last: 1"), Reason(ReasonKind.NO_RULE, "beyond last: 1")


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def image(
    tag: str | None = "a",
    digest: Digest = ONE,
    created: datetime | None = None,
    *reasons: Reason,
    decision: Decision = Decision.KEEP,
    policy: str = "p",
    group: tuple[str, ...] = (),
    dates: Dates | None = None,
    seen: datetime | None = None,
    known_since: datetime | None = None,
    unseen: datetime | None = None,
    former: Former | None = None,
    contains: tuple[Digest, ...] = (),
    subject: Digest | None = None,
) -> Verdict:
    """A verdict on a tag; `dates` are by default those of its creation."""
    name = None if tag is None else Tag(tag)
    facts = TagFacts(
        name, digest, created, seen, known_since, contains=contains, subject=subject, unseen=unseen, former=former
    )
    found = dates or (None if created is None else Dates(created, created))
    return Verdict(APP, facts, decision, reasons or (RULE,), policy, group, None if found is None else found.own, found)


def policies(
    *keep: KeepRule,
    order: Order = Order.TIME,
    unknown_date: UnknownDate = UnknownDate.KEEP,
    zone: str = "UTC",
) -> PolicySet:
    """Two policies, `other` and `p`: the latter keeps by `keep`."""
    everything = (parse_glob("**"),)
    mine = ParsedPolicy("p", everything, keep, order=order, unknown_date=unknown_date, min_age=DAY)
    return PolicySet((ParsedPolicy("other", everything, (Last(9, "last: 9"),)), mine), zone=ZoneInfo(zone))


def factors(what: str, found: Sequence[Factor]) -> list[tuple[bool, str]]:
    return [(one.keeps, one.text) for one in found if one.what == what]


def standing(rule: KeepRule, *verdicts: Verdict, order: Order = Order.TIME, zone: str = "UTC") -> tuple[bool, str]:
    """Whether a rule keeps the first of `verdicts`, and why."""
    (found,) = factors(rule.text, explain(policies(rule, order=order, zone=zone), verdicts, verdicts[0], NOW))
    return found


# -- all together -----------------------------------------------------------------------------------------------------


def test_every_rule_is_listed_whether_it_keeps_the_tag_or_not() -> None:
    rules = (Last(1, "last: 1"), Within(90 * DAY, "within: 90d"), TagGlobs((parse_glob("b"),), "tags: b"))
    old, new = image("a", ONE, ago(30)), image("b", TWO, ago(20))
    assert explain(policies(*rules), [old, new], old, NOW) == (
        Factor("last: 1", False, "by date, 1 newer of 2 images in its group"),
        Factor("within: 90d", True, "it is 30d old"),
        Factor("tags: b", False, "it does not match"),
        Factor("min_age: 1d", False, "it is 30d old"),
    )
    assert explain(policies(*rules), [old, new], new, NOW) == (
        Factor("last: 1", True, "by date, 0 newer of 2 images in its group"),
        Factor("within: 90d", True, "it is 20d old"),
        Factor("tags: b", True, "it matches"),
        Factor("min_age: 1d", False, "it is 20d old"),
    )


def test_reasons_other_than_rules_come_first() -> None:
    protected, used = Reason(ReasonKind.PROTECTED, "protect: a"), Reason(ReasonKind.IN_USE, "in use: running.txt")
    shown = explain(policies(), [one := image("a", ONE, ago(3), protected, used)], one, NOW)
    assert shown == (
        Factor("protected", True, "protect: a"),
        Factor("in use", True, "in use: running.txt"),
        Factor("min_age: 1d", False, "it is 3d old"),
    )


@pytest.mark.parametrize("kind", [ReasonKind.RULE, ReasonKind.NO_RULE, ReasonKind.MIN_AGE, ReasonKind.HELD])
def test_each_reason_is_given_once(kind: ReasonKind) -> None:
    one = image("a", ONE, ago(3), Reason(kind, "said before"))
    assert [found.what for found in explain(policies(), [one], one, NOW)] == ["min_age: 1d"]


def test_a_tag_without_a_policy_has_only_its_reasons() -> None:
    one = image("a", ONE, ago(3), Reason(ReasonKind.NOT_SELECTED, "no policy selects it"), policy="")
    assert explain(policies(Last(1, "last: 1")), [one], one, NOW) == (
        Factor("not selected", True, "no policy selects it"),
    )


def test_a_tag_is_ranked_among_the_tags_of_its_own_policy_and_group() -> None:
    newest = Last(1, "last: 1")
    mine = image("1.0", ONE, ago(30), group=("1",))
    mate = image("1.1", TWO, ago(20), group=("1",))
    of_another_group = image("2.0", THREE, ago(10), group=("2",))
    of_another_policy = image("1.2", FOUR, ago(10), group=("1",), policy="other")
    assert standing(newest, mine, mate, of_another_group, of_another_policy) == (
        False,
        "by date, 1 newer of 2 images in its group",
    )


# -- what else has its digest -----------------------------------------------------------------------------------------


def test_other_tags_of_the_digest_are_listed_with_their_verdict() -> None:
    one = image("a", ONE, ago(3))
    stays = image("b", ONE, ago(3), Reason(ReasonKind.RULE, "tags: b"))
    goes = image("c", ONE, ago(3), NO_RULE, decision=Decision.REMOVE)
    elsewhere = image("d", TWO, ago(3))
    found = explain(policies(), [one, stays, goes, elsewhere], one, NOW)
    assert factors("same digest", found) == [(True, "'b', which stays (tags: b)"), (False, "'c', which goes too")]
    assert not factors("index", found)


def test_an_index_keeps_its_children_while_it_stays() -> None:
    child = image("a", ONE, ago(3))
    stays = image("all", TWO, ago(3), contains=(THREE, ONE))
    goes = image("old", THREE, ago(3), NO_RULE, decision=Decision.REMOVE, contains=(ONE,))
    other = image("other", FOUR, ago(3), contains=(THREE,))
    found = explain(policies(), [child, stays, goes, other], child, NOW)
    assert factors("index", found) == [(True, "it is a child of app:all"), (False, "it is a child of app:old")]
    assert not factors("same digest", found)


def test_a_signature_depends_on_every_tag_of_its_subject() -> None:
    signature = image(f"sha256-{ONE.hex}.sig", TWO, decision=Decision.FOLLOW, policy="")
    stays = image("a", ONE, ago(3), RULE, Reason(ReasonKind.IN_USE, "in use: running.txt"))
    goes = image("b", ONE, ago(3), NO_RULE, decision=Decision.REMOVE)
    untagged = image("c", ONE, ago(3), NO_RULE, decision=Decision.UNTAG)
    other = image("d", THREE, ago(3))
    assert explain(policies(), [stays, goes, untagged, other, signature], signature, NOW) == (
        Factor("subject", True, "app:a: keep, last: 1, in use: running.txt"),
        Factor("subject", False, "app:b: remove, beyond last: 1"),
        Factor("subject", True, "app:c: untag, beyond last: 1"),
    )


def test_what_follows_a_subject_without_a_tag_says_so() -> None:
    alone = Reason(ReasonKind.SIGNATURE, "belongs to its subject, which has no tag here")
    signature = image(f"sha256-{ONE.hex}.sig", TWO, None, alone, decision=Decision.FOLLOW, policy="")
    assert explain(policies(), [signature, image("d", THREE, ago(3))], signature, NOW) == (
        Factor("subject", False, "belongs to its subject, which has no tag here"),
    )
    itself = image("a", ONE, None, alone, decision=Decision.FOLLOW, policy="", subject=ONE)
    assert [one.text for one in explain(policies(), [itself], itself, NOW)] == [alone.text]


# -- rules ------------------------------------------------------------------------------------------------------------


def test_by_date_a_tag_without_a_date_has_no_place() -> None:
    unknown, known = image("a", ONE), image("b", TWO, ago(3))
    newest = Last(1, "last: 1")
    assert standing(newest, unknown, known) == (False, "it has no place in the order")
    assert standing(newest, known, unknown) == (True, "by date, 0 newer of 2 images in its group")


def test_by_version_a_tag_that_is_not_a_version_has_no_place() -> None:
    newest = Last(1, "last: 1")
    tags = (image("main", ONE, ago(1)), image("1.0", TWO, ago(3)), image("1.1", THREE, ago(9)))
    assert standing(newest, *tags, order=Order.VERSION) == (False, "it has no place in the order")
    assert standing(newest, *tags[1:], order=Order.VERSION) == (False, "by version, 1 newer of 2 images in its group")
    assert standing(newest, image(None, FOUR, ago(1)), *tags, order=Order.VERSION) == (
        False,
        "it has no place in the order",
    )


def late(tag: str, digest: Digest, created: float, came: float) -> Verdict:
    """A tag of an older image whose arrival the records saw."""
    return image(tag, digest, ago(created), dates=Dates(ago(created), ago(came)), seen=ago(came))


def test_a_tag_kept_because_of_its_arrival_says_so() -> None:
    newest = Last(1, "last: 1")
    came = late("a", ONE, 9, 2)
    kept = (True, "by when it appeared; by date, 1 newer of 2 images in its group")
    assert standing(newest, came, image("b", TWO, ago(5))) == kept
    assert standing(newest, came, image("b", TWO, ago(1))) == (False, "by date, 1 newer of 2 images in its group")
    two = Last(2, "last: 2")
    assert standing(two, came, image("b", TWO, ago(1))) == (True, "by date, 1 newer of 2 images in its group")
    assert standing(newest, came, image("b", TWO, ago(5)), image("c", THREE, ago(4))) == (
        True,
        "by when it appeared; by date, 2 newer of 3 images in its group",
    )
    by_version = (late("1.0", ONE, 9, 2), image("1.1", TWO, ago(5)))
    assert standing(newest, *by_version, order=Order.VERSION) == (False, "by version, 1 newer of 2 images in its group")


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period.DAILY, "it belongs to 2026-03-02"),
        (Period.WEEKLY, "it belongs to 2026-10"),
        (Period.MONTHLY, "it belongs to 2026-03"),
        (Period.YEARLY, "it belongs to 2026"),
    ],
)
def test_a_calendar_rule_shows_the_day_week_month_or_year_of_a_tag(period: Period, expected: str) -> None:
    rule = Calendar(period, 1, f"{period.value}: 1")
    tag = image("a", ONE, datetime(2026, 3, 2, 3, tzinfo=UTC))
    assert standing(rule, tag) == (True, expected)


def test_a_calendar_rule_uses_the_time_zone_and_the_arrival_of_the_tag() -> None:
    daily = Calendar(Period.DAILY, 1, "daily: 1")
    night = image("a", ONE, datetime(2026, 3, 2, 3, tzinfo=UTC))
    assert standing(daily, night, zone="America/New_York") == (True, "it belongs to 2026-03-01")
    assert standing(daily, late("a", ONE, 9, 2), image("b", TWO, ago(5))) == (True, "it belongs to 2026-11-22")


def test_without_a_date_or_without_a_place_a_tag_belongs_to_no_day() -> None:
    daily = Calendar(Period.DAILY, 1, "daily: 1")
    none = (False, "it is in none")
    assert standing(daily, image("a", ONE), image("b", TWO, ago(5))) == none
    tags = (image("main", ONE, ago(1)), image("1.0", TWO), image("1.1", THREE, ago(5)))
    assert standing(daily, *tags, order=Order.VERSION) == none
    assert standing(daily, *tags[1:], order=Order.VERSION) == none
    assert standing(daily, *tags[2:], order=Order.VERSION) == (True, "it belongs to 2026-11-19")


def test_an_age_rule_shows_how_old_a_tag_is_or_when_it_arrived() -> None:
    within = Within(2 * DAY + timedelta(hours=1), "within: 2d1h")
    assert standing(within, image("a", ONE, ago(3))) == (False, "it is 3d old")
    assert standing(within, image("a", ONE, ago(1))) == (True, "it is 1d old")
    assert standing(within, image("a", ONE)) == (False, "its age is not known")
    built = image("a", ONE, ago(9), seen=ago(2), unseen=ago(10))
    assert standing(within, built) == (True, "the records saw it appear 2d ago")


# -- dates ------------------------------------------------------------------------------------------------------------


def date_said(created: float | None, seen: float | None, unseen: float | None = None, **more: object) -> str:
    """The explanation of the date that counts; the arguments are days ago (created, arrived, not found); empty if there
    is none."""
    one = image(
        created=None if created is None else ago(created),
        seen=None if seen is None else ago(seen),
        unseen=None if unseen is None else ago(unseen),
        **more,  # type: ignore[arg-type]
    )
    found = factors("date", explain(policies(), [one], one, NOW))
    assert all(not keeps for keeps, _ in found)
    return "".join(text for _, text in found)


def test_a_date_without_an_alternative_is_not_explained() -> None:
    assert date_said(9, None) == ""
    assert date_said(None, 9) == ""
    assert date_said(9, 2, tag=None) == ""
    assert date_said(-1, 2) == "", "a creation date in the future is none"


def test_a_creation_date_counts_if_it_is_later_than_the_crawl() -> None:
    said = "it was created 2026-11-23 12:00 UTC, which counts: later than the crawl that saw it appear"
    assert date_said(1, 2) == said
    assert date_said(1, 2, 3) == said


def test_a_creation_date_counts_if_the_image_was_built_since_the_previous_crawl() -> None:
    said = (
        "it was created 2026-11-21 12:00 UTC, which counts: built since the crawl of 2026-11-20 12:00 UTC, "
        "which did not find it"
    )
    assert date_said(3, 2, 4) == said
    assert date_said(3, 3, 4) == said


COUNTS = "the crawl of 2026-11-22 12:00 UTC, which saw it appear, counts: created "
OTHERS = "; others are judged by when it was created"


def test_otherwise_the_crawl_that_saw_the_tag_appear_counts() -> None:
    assert date_said(9, 2) == f"{COUNTS}2026-11-15 12:00 UTC, the crawl before is not known{OTHERS}"
    assert date_said(2, 2) == f"{COUNTS}2026-11-22 12:00 UTC, the crawl before is not known{OTHERS}"
    before = "before the crawl of 2026-11-20 12:00 UTC, which did not find it"
    assert date_said(9, 2, 4) == f"{COUNTS}2026-11-15 12:00 UTC, {before}{OTHERS}"
    assert date_said(9, 2, 2) == f"{COUNTS}2026-11-15 12:00 UTC, its image was known before{OTHERS}"


def test_a_returned_tag_is_explained_as_having_been_missing() -> None:
    missing = "and it was missing for a while, known before since 2026-11-16 12:00 UTC"
    assert date_said(9, 2, 4, former=Former(ago(8))) == f"{COUNTS}2026-11-15 12:00 UTC, {missing}{OTHERS}"


# -- min_age ----------------------------------------------------------------------------------------------------------


def min_age(one: Verdict, unknown_date: UnknownDate = UnknownDate.KEEP) -> tuple[bool, str]:
    (found,) = factors("min_age: 1d", explain(policies(unknown_date=unknown_date), [one], one, NOW))
    return found


def test_min_age_is_listed_if_it_is_a_reason() -> None:
    young = Reason(ReasonKind.MIN_AGE, "younger than min_age: 1d")
    assert min_age(image("a", ONE, ago(0.5), young)) == (True, "it is 12h old")
    assert min_age(image("a", ONE, ago(0.5), RULE, young)) == (True, "it is 12h old")
    assert min_age(image("a", ONE, ago(0.5), RULE)) == (False, "it is 12h old")


def test_min_age_shows_the_age_it_uses() -> None:
    assert min_age(image("a", ONE)) == (False, "its age is not known")
    assert min_age(image("a", ONE, ago(9), seen=ago(3))) == (False, "it is 3d old")
    known = image("a", ONE, known_since=ago(4))
    assert min_age(known) == (False, "its age is not known, known to the records for 4d")
    assert min_age(known, UnknownDate.FIRST_SEEN) == (False, "it is 4d old, known to the records for 4d")
    lost = image(None, ONE, ago(9), seen=ago(3), known_since=ago(3))
    assert min_age(lost) == (False, "it is 3d old, and here without a tag for 3d")


def test_a_label_rule_says_what_the_image_has() -> None:
    rule = LabelRule((Label("team", "web"), Label("keep")), "label: team=web, keep")
    policies = PolicySet((ParsedPolicy("p", (parse_glob("**"),), (rule,)),))

    def told(labels: dict[str, str]) -> Factor:
        facts = TagFacts(Tag("a"), ONE, content=ImageDetails(ONE, "", 1, labels=labels))
        verdict = Verdict(APP, facts, Decision.KEEP, (RULE,), "p")
        return next(one for one in explain(policies, [verdict], verdict, NOW) if one.what == rule.text)

    assert told({"team": "web"}) == Factor(rule.text, keeps=True, text="it has team=web")
    assert told({"team": "shop"}) == Factor(rule.text, keeps=False, text="it has team=shop")
    assert told({}) == Factor(rule.text, keeps=False, text="it has no team and no keep")


def test_last_says_what_it_counts_and_by_what() -> None:
    text = """version: 1
policies:
  - name: p
    repositories: ["**"]
    select: {regex: 'b(?P<build>[0-9]+)'}
    order: {regex_group: build}
    keep: {last: 1, count: tags}
"""
    facts = [TagFacts(Tag(f"b{number}"), ONE, ago(9)) for number in (9, 10)]
    policies = read_policy(text)
    verdicts = judge(policies, {APP: facts}, now=NOW).verdicts[APP]
    factors = [explain(policies, verdicts, verdict, NOW) for verdict in verdicts]
    told = [next(one for one in found if one.what.startswith("last")) for found in factors]
    assert told == [
        Factor("last: 1 tag", keeps=False, text="by number, 1 newer of 2 tags in its group"),
        Factor("last: 1 tag", keeps=True, text="by number, 0 newer of 2 tags in its group"),
    ]

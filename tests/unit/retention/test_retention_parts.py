"""The parts of retention, one by one: dates, groups, owners, what follows what, limits."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from zoneinfo import ZoneInfo

import pytest

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.retention.dates import (
    bucket,
    came_as_built,
    date_for_others,
    date_of,
    dates_of,
    is_new,
    is_old_enough,
    latest_arrival,
    shared_dates,
)
from dregutil.retention.follow import follow, subjects_of
from dregutil.retention.judge import judge
from dregutil.retention.keep import Group, kept_by
from dregutil.retention.late import by_date, late_last
from dregutil.retention.policy import (
    All,
    Calendar,
    InUseList,
    Label,
    Last,
    Limit,
    Order,
    ParsedPolicy,
    ParsedSelect,
    Period,
    PolicySet,
    TagGlobs,
    UnknownDate,
    VersionRule,
    Within,
    applies_to,
    flat,
)
from dregutil.retention.select import (
    group_of,
    is_counted,
    matching_tags,
    may_select_name,
    overlaps,
    owner_of,
    selects,
    selects_name,
)
from dregutil.retention.verdict import (
    Dates,
    Decision,
    Former,
    InUse,
    Judgement,
    Late,
    Reason,
    ReasonKind,
    TagFacts,
    Verdict,
)
from dregutil.select.bounded_regex import BoundedRegex
from dregutil.select.glob import parse_glob
from dregutil.select.selector import Comparison, parse_selector
from dregutil.select.version import read_version
from histories import NOW, digest_of

APP, WEB = Repository("app"), Repository("shop/web")
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
ONE, TWO, THREE, FOUR = map(digest_of, ("one", "two", "three", "four"))


def ago(days: float) -> datetime:
    return NOW - timedelta(days=days)


def facts(
    tag: str | None = "t",
    digest: Digest = ONE,
    created: datetime | None = None,
    seen: datetime | None = None,
    known_since: datetime | None = None,
    *,
    unseen: datetime | None = None,
    former: Former | None = None,
    young_since: datetime | None = None,
    labels: dict[str, str] | None = None,
    unread: str = "",
    subject: Digest | None = None,
    contains: tuple[Digest, ...] = (),
) -> TagFacts:
    return TagFacts(
        None if tag is None else Tag(tag),
        digest,
        created,
        seen,
        known_since,
        labels=labels or {},
        contains=contains,
        subject=subject,
        unread=unread,
        unseen=unseen,
        former=former,
        young_since=young_since,
    )


# -- dates ------------------------------------------------------------------------------------------------------------


def test_the_date_of_a_tag_is_the_later_of_creation_and_arrival() -> None:
    assert date_of(facts(created=ago(9)), UnknownDate.KEEP, NOW) == ago(9)
    assert date_of(facts(created=ago(9), seen=ago(2)), UnknownDate.KEEP, NOW) == ago(2)
    assert date_of(facts(created=ago(1), seen=ago(2)), UnknownDate.KEEP, NOW) == ago(1)
    assert date_of(facts(created=ago(4), seen=ago(2), unseen=ago(4)), UnknownDate.KEEP, NOW) == ago(4)
    assert date_of(facts(created=ago(5), seen=ago(2), unseen=ago(4)), UnknownDate.KEEP, NOW) == ago(2)


def test_without_a_creation_date_the_records_give_the_date_if_the_policy_says_so() -> None:
    assert date_of(facts(seen=ago(2), known_since=ago(3)), UnknownDate.KEEP, NOW) is None
    assert date_of(facts(seen=ago(2), known_since=ago(3)), UnknownDate.FIRST_SEEN, NOW) == ago(2)
    assert date_of(facts(known_since=ago(3)), UnknownDate.FIRST_SEEN, NOW) == ago(3)
    assert date_of(facts(), UnknownDate.FIRST_SEEN, NOW) is None
    assert date_for_others(facts(seen=ago(2), known_since=ago(3)), UnknownDate.KEEP, NOW) is None
    assert date_for_others(facts(seen=ago(2), known_since=ago(3)), UnknownDate.FIRST_SEEN, NOW) == ago(2)
    assert date_for_others(facts(known_since=ago(3)), UnknownDate.FIRST_SEEN, NOW) == ago(3)


def test_others_see_a_tag_as_old_as_its_image() -> None:
    assert date_for_others(facts(created=ago(9), seen=ago(2)), UnknownDate.KEEP, NOW) == ago(9)
    assert date_for_others(facts(None, created=ago(9), seen=ago(2)), UnknownDate.KEEP, NOW) == ago(2)
    back = facts(seen=ago(1), known_since=ago(1), former=Former(ago(8), ago(7)))
    assert date_for_others(back, UnknownDate.FIRST_SEEN, NOW) == ago(7)
    assert date_for_others(facts(former=Former(ago(8))), UnknownDate.FIRST_SEEN, NOW) == ago(8)
    assert dates_of(back, UnknownDate.FIRST_SEEN, NOW) == Dates(ago(7), ago(1), ago(7))
    assert dates_of(facts(created=ago(9), seen=ago(2)), UnknownDate.KEEP, NOW) == Dates(ago(9), ago(2))
    assert dates_of(facts(), UnknownDate.KEEP, NOW) is None
    assert (
        dates_of(facts(former=Former(ago(8))), UnknownDate.FIRST_SEEN, NOW) is None
    )  # it is not known when it returned


def test_an_image_arrived_as_built_if_the_previous_crawl_is_known_and_not_later() -> None:
    assert came_as_built(facts(unseen=ago(4)), ago(4))
    assert came_as_built(facts(unseen=ago(4)), ago(3))
    assert not came_as_built(facts(unseen=ago(4)), ago(5))
    assert not came_as_built(facts(), ago(1))


def test_a_tag_exists_since_its_latest_arrival() -> None:
    assert latest_arrival(facts(), ago(3)) == ago(3)
    assert latest_arrival(facts(seen=ago(2)), ago(3)) == ago(2)
    assert latest_arrival(facts(seen=ago(4)), ago(3)) == ago(3)
    assert latest_arrival(facts(seen=ago(2)), None) is None


@pytest.mark.parametrize(
    ("one", "date", "expected"),
    [
        (facts(), ago(1), True),
        (facts(), ago(0.9), False),
        (facts(), None, False),
        (facts(known_since=ago(1)), None, True),
        (facts(known_since=ago(0.9)), None, False),
        (facts(known_since=ago(2)), ago(0.5), True),
        (facts(seen=ago(0.5)), ago(9), False),
        (facts(young_since=ago(0.9)), ago(9), False),
        (facts(young_since=ago(1)), ago(9), True),
        (facts(young_since=ago(2)), ago(0.5), False),
    ],
)
def test_old_enough_means_known_to_exist_for_min_age(one: TagFacts, date: datetime | None, expected: bool) -> None:
    assert is_old_enough(one, date, DAY, NOW) is expected
    assert is_old_enough(one, date, timedelta(0), NOW)


def test_new_means_just_arrived_without_an_older_image() -> None:
    assert is_new(facts(), None, DAY, NOW)
    assert is_new(facts(created=ago(0.1)), Dates(ago(0.1), ago(0.1)), DAY, NOW)
    assert is_new(facts(created=ago(9)), Dates(ago(9), ago(9)), DAY, NOW)
    assert not is_new(facts(seen=ago(0.1)), Dates(ago(9), ago(0.1)), DAY, NOW)
    assert is_new(facts(seen=ago(0.1)), Dates(ago(0.5), ago(0.1)), DAY, NOW)
    came_back = Former(ago(9), ago(8))
    assert not is_new(facts(former=came_back), None, DAY, NOW)
    assert is_new(facts(former=Former(ago(0.5))), None, DAY, NOW)
    assert not is_new(facts(seen=ago(0.1), former=came_back), Dates(ago(9), ago(9)), DAY, NOW)
    assert not is_new(facts(young_since=ago(0.1), former=came_back), None, DAY, NOW)


def shared(*images: tuple[TagFacts, Dates | None]) -> set[int]:
    return set(shared_dates([one for one, _ in images], [found for _, found in images]))


def test_a_date_of_more_than_half_of_the_images_is_shared() -> None:
    same, other = Dates(ago(9), ago(9)), Dates(ago(5), ago(5))
    one, two, three, four = (facts(digest=digest) for digest in (ONE, TWO, THREE, FOUR))
    assert shared((one, same), (two, same), (three, other)) == {0, 1}
    assert shared((one, same), (two, same), (three, other), (four, other)) == set()
    assert shared((one, same)) == set()
    assert shared((one, same), (one, same)) == set()  # one image
    assert shared((one, same), (two, same)) == {0, 1}
    assert shared((one, None), (two, None), (three, other)) == set()
    assert shared((one, same), (two, same), (three, None), (four, None)) == set()
    assert shared((one, same), (one, same), (two, same), (three, other)) == {0, 1, 2}


def test_many_tags_lost_in_one_crawl_are_not_suspicious() -> None:
    same = Dates(ago(2), ago(2))
    lost = [facts(None, digest, seen=ago(2)) for digest in (ONE, TWO, THREE)]
    assert shared(*((one, same) for one in lost)) == set()
    made = [facts(None, digest, seen=ago(3)) for digest in (ONE, TWO, THREE)]
    assert shared(*((one, same) for one in made)) == {0, 1, 2}
    tagged = [facts("t", digest, seen=ago(2)) for digest in (ONE, TWO, THREE)]
    assert shared(*((one, same) for one in tagged)) == {0, 1, 2}


def test_a_returned_tag_counts_with_its_date_for_others() -> None:
    here = [(facts("t", digest), Dates(ago(9), ago(9))) for digest in (ONE, TWO)]
    back = (facts("b", THREE, former=Former(ago(9))), Dates(ago(9), ago(1), ago(9)))
    other = (facts("o", FOUR), Dates(ago(5), ago(5)))
    assert shared(*here, back, other) == {0, 1, 2}
    assert shared(here[0], back, other) == {0, 1}
    came = (facts("c", digest_of("five")), Dates(ago(9), ago(3)))
    assert shared(here[0], back, other, came) == set()


@pytest.mark.parametrize(
    ("period", "expected"),
    [
        (Period.DAILY, (2025, 12, 30)),
        (Period.WEEKLY, (2026, 1)),
        (Period.MONTHLY, (2025, 12)),
        (Period.YEARLY, (2025,)),
    ],
)
def test_the_day_week_month_and_year_of_a_time(period: Period, expected: tuple[int, ...]) -> None:
    assert bucket(datetime(2025, 12, 30, tzinfo=UTC), period) == expected


# -- late -------------------------------------------------------------------------------------------------------------


def test_dates_by_which_a_late_tag_may_be_kept() -> None:
    assert list(Dates(ago(9), ago(9)).late) == []
    assert list(Dates(ago(9), ago(2)).late) == [Late(ago(2), back=False)]
    assert list(Dates(ago(9), ago(1), ago(9)).late) == [Late(ago(1), back=True)]
    assert list(Dates(ago(9), ago(1), ago(4)).late) == [Late(ago(4), back=False), Late(ago(1), back=True)]
    assert Dates(ago(9), ago(1), ago(4)).first == ago(4)
    assert Dates(ago(9), ago(1)).first == ago(1)


def late_kept(number: int, *images: tuple[Digest, float, float | None]) -> set[int]:
    """For images, each with its age and how long ago it arrived late."""
    late = [() if came is None else (Late(ago(came), back=False),) for _, _, came in images]
    return set(
        late_last(number, [facts(digest=digest) for digest, _, _ in images], [ago(days) for _, days, _ in images], late)
    )


def test_a_late_tag_is_kept_by_its_arrival() -> None:
    assert late_kept(1, (ONE, 9, 2), (TWO, 5, None)) == {0}
    assert late_kept(1, (ONE, 9, 2), (TWO, 1, None)) == set()
    assert late_kept(2, (ONE, 9, 2), (TWO, 1, None)) == {0}
    assert late_kept(1, (ONE, 9, 2), (TWO, 2, None)) == {0}  # not later than it
    assert late_kept(1, (ONE, 9, None), (TWO, 1, None)) == set()
    assert late_kept(2, (ONE, 9, 2), (TWO, 1, None), (TWO, 0.5, None)) == {0}  # one image
    assert late_kept(2, (ONE, 9, 2), (TWO, 1, None), (THREE, 0.5, None)) == set()


def test_among_tags_of_one_crawl_the_earlier_dates_decide() -> None:
    assert late_kept(1, (ONE, 9, 2), (TWO, 8, 2)) == {1}
    assert late_kept(2, (ONE, 9, 2), (TWO, 8, 2)) == {0, 1}
    assert late_kept(1, (ONE, 8, 2), (TWO, 8, 2)) == {0, 1}
    assert late_kept(1, (ONE, 9, 3), (TWO, 8, 2)) == {0, 1}
    assert late_kept(1, (ONE, 9, 2), (TWO, 8, 3), (THREE, 2.5, None)) == {0}
    assert list(by_date([(Late(ago(3), back=False),), (), (Late(ago(1), back=True), Late(ago(3), back=False))])) == [
        Late(ago(1), back=True),
        Late(ago(3), back=False),
    ]
    nobody = late_last(1, [facts()], [None], [(Late(ago(1), back=False),)])
    assert nobody == set()


# -- keep -------------------------------------------------------------------------------------------------------------


def group(
    *dates: datetime | None,
    order: Order = Order.TIME,
    tags: Sequence[str] = (),
    late: Sequence[Sequence[Late]] = (),
    zone: str = "UTC",
) -> Group:
    names = list(tags) or [f"t{number}" for number in range(len(dates))]
    found = [facts(name, digest_of(name), date) for name, date in zip(names, dates, strict=True)]
    return Group(found, dates, [read_version(name) for name in names], order, NOW, ZoneInfo(zone), late)


def test_a_day_is_that_of_the_time_zone() -> None:
    night = datetime(2026, 3, 2, 3, tzinfo=UTC)  # still the first of March in New York
    found = group(night, night - 5 * HOUR)
    assert kept_by(Calendar(Period.DAILY, 2, ""), found) == {0, 1}
    there = group(night, night - 5 * HOUR, zone="America/New_York")
    assert kept_by(Calendar(Period.DAILY, 2, ""), there) == {0}


def came(*dates: datetime | None) -> list[Sequence[Late]]:
    return [() if date is None else (Late(date, back=False),) for date in dates]


def test_a_late_tag_is_the_newest_of_the_day_of_its_arrival() -> None:
    daily = Calendar(Period.DAILY, 1, "")
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert kept_by(daily, group(noon, noon - 9 * DAY, late=came(None, noon + HOUR))) == {0, 1}
    assert kept_by(daily, group(noon, noon - 9 * DAY, late=came(None, noon - HOUR))) == {0}
    assert kept_by(daily, group(noon, noon - 9 * DAY, late=came(None, noon))) == {0, 1}  # not later than it
    assert kept_by(daily, group(noon, noon - 9 * DAY, late=came(None, noon - DAY))) == {0}
    two = Calendar(Period.DAILY, 2, "")
    assert kept_by(two, group(noon, noon - 9 * DAY, late=came(None, noon - DAY))) == {0, 1}
    both = group(noon - 9 * DAY, noon - 8 * DAY, noon - 9 * DAY, late=came(noon, noon, noon))
    assert kept_by(daily, both) == {1}
    tied = group(noon - 8 * DAY, noon - 8 * DAY, late=came(noon, noon))
    assert kept_by(daily, tied) == {0, 1}
    several = group(noon, noon - 9 * DAY, noon - 8 * DAY, late=came(None, noon - HOUR, noon - DAY))
    assert kept_by(two, several) == {0, 2}, "it is not the newest of its day"


def test_a_late_tag_is_among_the_last_by_the_date_of_its_arrival() -> None:
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    assert kept_by(Last(1, ""), group(noon, noon - 9 * DAY, late=came(None, noon + HOUR))) == {0, 1}
    assert kept_by(Last(1, ""), group(noon, noon - 9 * DAY, late=came(None, noon))) == {0, 1}  # not later than it
    assert kept_by(Last(1, ""), group(noon, noon - 9 * DAY, late=came(None, noon - HOUR))) == {0}


def test_by_version_the_newest_version_of_the_day_is_kept_regardless_of_its_arrival() -> None:
    daily = Calendar(Period.DAILY, 1, "")
    noon = datetime(2026, 11, 20, 12, tzinfo=UTC)
    older = group(noon, noon - 9 * DAY, order=Order.VERSION, tags=("1.4", "1.3"), late=came(None, noon + HOUR))
    assert kept_by(daily, older) == {0}
    newer = group(noon, noon - 9 * DAY, order=Order.VERSION, tags=("1.3", "1.4"), late=came(None, noon - HOUR))
    assert kept_by(daily, newer) == {0, 1}
    same = group(noon, noon - 9 * DAY, order=Order.VERSION, tags=("1.3", "1.3.0"), late=came(None, noon - HOUR))
    assert kept_by(daily, same) == {0, 1}
    none = group(noon, noon - 9 * DAY, order=Order.VERSION, tags=("1.3", "main"), late=came(None, noon + HOUR))
    assert kept_by(daily, none) == {0}
    dates, tags = [noon, noon - 9 * DAY, noon - 9 * DAY], ("1.3", "main", "1.4")
    after_none = group(*dates, order=Order.VERSION, tags=tags, late=came(None, noon + HOUR, noon - HOUR))
    assert kept_by(daily, after_none) == {0, 2}


def test_the_date_of_a_tag_for_itself_is_its_latest_arrival() -> None:
    assert group(ago(9)).own_date(0) == ago(9)
    assert group(ago(9), late=came(None)).own_date(0) == ago(9)
    assert group(ago(9), late=[(Late(ago(2), back=True), Late(ago(4), back=False))]).own_date(0) == ago(2)


def test_there_is_a_second_order_only_if_a_tag_may_rank_differently() -> None:
    def rankings(*tags: str) -> Sequence[list[list[int]]]:
        return group(*[ago(9)] * len(tags), order=Order.VERSION, tags=tags).rankings

    assert rankings("1.3", "1.4", "main") == [[[1], [0]]]
    assert rankings("1.0.1", "1.4-nightly.1", "1.4") == [[[2], [1], [0]], [[1], [2], [0]]]
    assert group(ago(1), ago(2), ago(1), None).rankings == [[[0, 2], [1]]]


def test_how_many_are_newer() -> None:
    assert group(ago(1), ago(2), ago(3)).newer == {0: 0, 1: 1, 2: 2}
    assert group(ago(1), None, ago(3)).newer == {0: 0, 2: 1}
    by_version = group(ago(1), ago(1), ago(1), order=Order.VERSION, tags=("1.4", "1.4.0", "1.3"))
    assert by_version.newer == {0: 0, 1: 0, 2: 1}
    same = Group([facts("a"), facts("b"), facts("c")], [ago(1), ago(2), ago(3)], [None] * 3, Order.TIME, NOW, UTC)
    assert same.newer == {0: 0, 1: 1, 2: 1}


def at_least(text: str) -> tuple[tuple[Comparison, ...], ...]:
    found = parse_selector(text)
    assert isinstance(found, Comparison)
    return ((found,),)


def test_an_untagged_manifest_matches_no_name() -> None:
    found = Group([facts(None), facts("1.4")], [ago(1)] * 2, [None, read_version("1.4")], Order.TIME, NOW, UTC)
    assert kept_by(TagGlobs((parse_glob("**"), parse_glob("*")), ""), found) == {1}
    assert kept_by(VersionRule(at_least(">=1.0"), ""), found) == {1}
    assert kept_by(All((Last(5, ""), TagGlobs((parse_glob("1.*"),), "")), ""), found) == {1}


def test_within_counts_from_the_arrival() -> None:
    found = Group([facts("a", seen=ago(1)), facts("b"), facts("c")], [ago(9), ago(9), None], [], Order.TIME, NOW, UTC)
    assert kept_by(Within(2 * DAY, ""), found) == {0}


# -- select -----------------------------------------------------------------------------------------------------------


def regex(text: str) -> BoundedRegex:
    return BoundedRegex(text)


def test_which_tags_are_judged() -> None:
    signature = f"sha256-{ONE.hex}.sig"
    assert is_counted(facts("1.0"))
    assert is_counted(facts(None))
    assert not is_counted(facts(signature))
    assert not is_counted(facts("1.0", subject=TWO))
    assert not is_counted(facts(None, subject=TWO))


def test_every_condition_of_a_selector_must_match_with_one_of_its_values() -> None:
    both = ParsedSelect(tags=(parse_glob("a*"), parse_glob("b*")), regexes=(regex(".*1"), regex(".*2")))
    assert [tag for tag in ("a1", "a2", "b2", "c1", "a3") if selects_name(both, tag)] == ["a1", "a2", "b2"]
    assert [tag for tag in ("a1", "a2", "b2", "c1", "a3") if may_select_name(both, tag)] == ["a1", "a2", "b2"]
    assert not selects_name(ParsedSelect(untagged=True), "a1")
    assert not may_select_name(ParsedSelect(untagged=True), "a1")
    versions = ParsedSelect(tags=(parse_glob("1.*"),), versions=at_least(">=1.4"))
    assert [tag for tag in ("1.3", "1.4", "2.0") if selects_name(versions, tag)] == ["1.4"]
    doubtful = ParsedSelect(versions=at_least(">=1.0"))
    assert not selects_name(doubtful, "4829103")
    assert may_select_name(doubtful, "4829103")
    assert not may_select_name(doubtful, "main")
    assert not may_select_name(doubtful, "0.9")


def test_an_untagged_manifest_is_selected_only_by_untagged() -> None:
    assert selects(ParsedSelect(untagged=True), facts(None))
    assert not selects(ParsedSelect(), facts(None))
    assert selects(ParsedSelect(), facts("a"))
    assert not selects(ParsedSelect(untagged=True), facts("a"))
    assert not selects(ParsedSelect(tags=(parse_glob("b"),)), facts("a"))


def test_labels_are_selected_by_key_or_by_value() -> None:
    key, value = ParsedSelect(labels=(Label("team"),)), ParsedSelect(labels=(Label("team", "web"), Label("tier", "1")))
    assert selects(key, facts("a", labels={"team": "any"}))
    assert not selects(key, facts("a", labels={"other": "team"}))
    assert not selects(key, facts("a"))
    assert selects(value, facts("a", labels={"team": "web"}))
    assert selects(value, facts("a", labels={"team": "db", "tier": "1"}))
    assert not selects(value, facts("a", labels={"team": "db"}))


def policy(name: str, select: ParsedSelect | None = None, where: str = "**", **more: object) -> ParsedPolicy:
    return ParsedPolicy(name, (parse_glob(where),), (), select or ParsedSelect(), **more)  # type: ignore[arg-type]


def test_the_first_policy_that_selects_a_tag_owns_it() -> None:
    first = policy("first", ParsedSelect(tags=(parse_glob("a*"),)))
    untagged, rest = policy("untagged", ParsedSelect(untagged=True)), policy("rest")
    assert owner_of([first, untagged, rest], facts("a1"), NOW) == (first, True)
    assert owner_of([first, untagged, rest], facts("b"), NOW) == (rest, True)
    assert owner_of([first, rest, untagged], facts(None), NOW) == (untagged, True)
    assert owner_of([first, rest], facts(None), NOW) == (None, True)
    assert owner_of([first], facts("b"), NOW) == (None, True)


def test_an_owner_is_in_doubt_if_a_label_or_a_version_is() -> None:
    labelled = policy("labelled", ParsedSelect(tags=(parse_glob("a"),), labels=(Label("team"),)))
    rest = policy("rest")
    assert owner_of([labelled, rest], facts("a", unread="broken"), NOW) == (labelled, False)
    assert owner_of([labelled, rest], facts("b", unread="broken"), NOW) == (rest, True)
    assert owner_of([labelled, rest], facts("a"), NOW) == (rest, True)
    assert owner_of([labelled, rest], facts("a", labels={"team": "x"}), NOW) == (labelled, True)
    versions = policy("versions", ParsedSelect(versions=at_least(">=1.0")))
    assert owner_of([versions, rest], facts("4829103"), NOW) == (versions, False)
    assert owner_of([versions, rest], facts("1.0"), NOW) == (versions, True)


def grouped(tag: str | None, *keys: str, order: Order = Order.TIME, pattern: str = "") -> tuple[str, ...] | None:
    select = ParsedSelect(regexes=(regex(pattern),)) if pattern else ParsedSelect()
    one = policy("p", select, group_by=keys, order=order)
    return group_of(one, tag, None if tag is None else read_version(tag))


def test_groups_by_the_parts_of_a_version() -> None:
    assert grouped(None, "major") == ()
    assert grouped("1.4.2", "major") == ("1",)
    assert grouped("1.4.2", "minor") == ("1.4",)
    assert grouped("1", "minor") == ("1.0",)
    assert grouped("1.4-alpine", "variant", "minor") == ("-alpine", "1.4")
    assert grouped("1.4-alpine3.18", "variant") == ("-alpine3.18",)
    assert grouped("1.0.2k", "minor") == ("1.0",)
    assert grouped("main", "major") is None
    assert grouped("release-1.4", "major") == ("release.1",)
    assert grouped("release-1.4", order=Order.VERSION) == ("release",)
    assert grouped("release-1.4") == ()
    assert grouped("1.4", order=Order.VERSION) == ()
    assert grouped("main", order=Order.VERSION) == ()
    assert grouped("20240827", "major") not in (None, ("20240827",), ("2024",))  # read in two ways


def test_groups_by_the_parts_of_a_regular_expression() -> None:
    pattern = "(?P<branch>[a-z]+)(-(?P<kind>[0-9]+))?"
    assert grouped("main-1", "branch", pattern=pattern) == ("main",)
    assert grouped("main", "kind", pattern=pattern) == ("",)
    assert grouped("main-1", "branch", "kind", pattern=pattern) == ("main", "1")
    assert grouped("1.0", "branch", pattern=pattern) is None
    assert grouped("main-1", "other", pattern=pattern) is None
    two = ParsedSelect(regexes=(regex("(?P<other>x)"), regex("[a-z]+"), regex("(?P<branch>[a-z])[a-z]*")))
    assert group_of(policy("p", two, group_by=("branch",)), "main", None) == ("m",)


def test_which_policies_overlap_and_in_how_many_tags() -> None:
    first, second = (
        policy("first", ParsedSelect(tags=(parse_glob("a*"),))),
        policy("second", ParsedSelect(tags=(parse_glob("a*"),))),
    )
    rest, elsewhere = policy("rest"), policy("elsewhere", where="shop/*")
    tags = [facts("a1"), facts("a2"), facts("b"), facts(f"sha256-{ONE.hex}.sig")]
    found = overlaps(PolicySet((elsewhere, first, second, rest)), {APP: tags})
    assert found == {("first", "second"): 2, ("first", "rest"): 2}
    assert overlaps(PolicySet((first, elsewhere)), {APP: tags, WEB: tags}) == {("first", "elsewhere"): 2}
    assert overlaps(PolicySet((rest, elsewhere)), {WEB: [facts("b")]}) == {("rest", "elsewhere"): 1}


def test_how_many_tags_a_policy_selects() -> None:
    one = policy("p", ParsedSelect(tags=(parse_glob("a*"),)), where="shop/*")
    assert matching_tags(one, {APP: ["a", "a1"], WEB: ["a", "a1", "b"]}) == 2
    assert applies_to(one, "shop/web")
    assert not applies_to(one, "app")
    assert applies_to(ParsedPolicy("p", (parse_glob("x"), parse_glob("app")), ()), "app")


# -- policies ---------------------------------------------------------------------------------------------------------


def test_a_share_is_exactly_what_is_written() -> None:
    assert Limit(share=0.29).allows(29, 100)
    assert not Limit(share=0.29).allows(30, 100)
    assert Limit(share=Fraction(1, 2)).allows(1, 2)
    assert not Limit(share=Fraction(0)).allows(1, 100)
    assert Limit(share=Fraction(0)).allows(0, 100)
    assert Limit(number=5).allows(5, 1000)
    assert not Limit(number=5).allows(6, 6)
    assert Limit().allows(10**6, 1)
    assert Limit(share=0.29).text == "29%"
    assert Limit(share=Fraction(0)).text == "0%"
    assert Limit(number=0).text == "0 tags"


def with_keep(*keep: object, order: Order = Order.TIME, select: ParsedSelect | None = None) -> ParsedPolicy:
    return ParsedPolicy("p", (), tuple(keep), select or ParsedSelect(), order=order)  # type: ignore[arg-type]


def test_which_policies_need_the_newest_and_dates() -> None:
    last, calendar, within, tags = Last(1, ""), Calendar(Period.DAILY, 1, ""), Within(DAY, ""), TagGlobs((), "")
    assert [with_keep(rule).ranks for rule in (last, calendar, within, tags)] == [True, True, False, False]
    assert [with_keep(rule).uses_dates for rule in (last, calendar, within, tags)] == [True, True, True, False]
    by_version = [with_keep(rule, order=Order.VERSION).uses_dates for rule in (last, calendar, within, tags)]
    assert by_version == [False, True, True, False]
    assert with_keep(tags, All((tags, last), "")).ranks
    assert with_keep(tags, All((tags, All((within,), "")), "")).uses_dates
    assert not with_keep().uses_dates
    assert with_keep(select=ParsedSelect(untagged=True)).uses_dates
    assert flat([All((tags, All((last, within), "")), ""), calendar]) == [tags, last, within, calendar]


def test_a_policy_is_careful_by_default() -> None:
    one = ParsedPolicy("p", (), ())
    assert not one.untag
    assert not one.allow_empty
    assert one.min_age == DAY
    assert one.max_remove.allows(30, 100)
    assert not one.max_remove.allows(31, 100)
    assert not one.select.untagged


def test_a_policy_that_was_not_read_from_a_file_has_no_position() -> None:
    """Lines and columns of a file count from 1."""
    for one in (ParsedPolicy("p", (), ()), InUseList("-")):
        assert (one.line, one.column) == (0, 0)


# -- verdicts ---------------------------------------------------------------------------------------------------------


def verdict(one: TagFacts, decision: Decision, *reasons: Reason) -> Verdict:
    return Verdict(APP, one, decision, reasons)


def test_what_is_in_use() -> None:
    used = InUse({(APP, Tag("a")): "tags"}, {(APP, ONE): "digests"}, {TWO: "anywhere"})
    assert used.list_of(APP, facts("a", THREE)) == "tags"
    assert used.list_of(WEB, facts("a", THREE)) == ""
    assert used.list_of(APP, facts("b", ONE)) == "digests"
    assert used.list_of(WEB, facts("b", ONE)) == ""
    assert used.list_of(WEB, facts("b", TWO)) == "anywhere"
    assert used.list_of(APP, facts(None, THREE, contains=(FOUR, TWO))) == "anywhere"
    assert used.list_of(APP, facts(None, THREE, contains=(ONE,))) == "digests"
    assert used.list_of(APP, facts(None, THREE)) == ""
    assert used.list_of(APP, facts("a", TWO)) == "tags"
    assert InUse(tags=used.tags).list_of(APP, facts("a")) == "tags"
    assert InUse(digests=used.digests).list_of(APP, facts("a")) == "digests"
    assert InUse(anywhere=used.anywhere).list_of(APP, facts("a", TWO)) == "anywhere"
    assert InUse().list_of(APP, facts("a")) == ""


def test_which_verdicts_remove_a_tag() -> None:
    held, rule = Reason(ReasonKind.HELD, "held"), Reason(ReasonKind.RULE, "last: 1")
    every = {decision: verdict(facts("a"), decision, held, rule) for decision in Decision}
    assert [decision for decision, one in every.items() if one.goes] == [Decision.REMOVE, Decision.UNTAG]
    assert [decision for decision, one in every.items() if one.is_held] == [Decision.KEEP]
    assert not verdict(facts("a"), Decision.KEEP, rule, held).is_held
    judged = Judgement(NOW, {APP: tuple(every.values())})
    assert [one.decision for one in judged.removed()] == [Decision.REMOVE, Decision.UNTAG]
    assert list(judged.of_policy("p")) == []
    assert len(list(judged.of_policy(""))) == len(every)
    assert verdict(facts(None), Decision.KEEP).image == f"app@{ONE.short}"
    assert verdict(facts("a"), Decision.KEEP).image == "app:a"


def test_what_was_not_read_has_no_size() -> None:
    assert TagFacts(Tag("a"), ONE).size == 0


def test_what_the_records_knew_before_a_tag_was_missing() -> None:
    one = facts(seen=ago(1), known_since=ago(1), unseen=ago(2))
    assert one.before is one
    back = facts(seen=ago(1), known_since=ago(1), unseen=ago(2), former=Former(ago(9), ago(8), ago(7)))
    before = back.before
    assert (before.known_since, before.seen, before.unseen, before.former) == (ago(9), ago(8), ago(7), None)


# -- what follows -----------------------------------------------------------------------------------------------------


def said(*verdicts: Verdict) -> list[str]:
    return [str(one.reasons[0]) for one in follow(verdicts) if one.decision is Decision.FOLLOW]


KEPT, GONE = Reason(ReasonKind.RULE, "last: 1"), Reason(ReasonKind.NO_RULE, "beyond last: 1")


def test_a_signature_follows_the_digest_in_its_name() -> None:
    signature = verdict(facts(f"sha256-{ONE.hex}.sig", TWO), Decision.FOLLOW)
    stays, goes = verdict(facts("a", ONE), Decision.KEEP, KEPT), verdict(facts("b", ONE), Decision.REMOVE, GONE)
    other = verdict(facts("c", THREE), Decision.KEEP, KEPT)
    assert said(other, stays, signature) == ["belongs to 'a', which stays"]
    assert said(goes, signature) == ["belongs to 'b', which goes"]
    assert said(goes, stays, signature) == ["belongs to 'a', which stays"]
    assert said(verdict(facts("u", ONE), Decision.UNTAG, GONE), signature) == ["belongs to 'u', which stays"]
    assert said(other, signature) == [f"belongs to {ONE.short}, which has no tag here"]
    assert said(verdict(facts(None, ONE), Decision.KEEP), signature) == [f"belongs to {ONE.short}, which stays"]
    assert subjects_of(signature, [other, stays, signature]) == (stays,)


def test_a_referrer_follows_its_subject_and_its_children_their_index() -> None:
    referrer = verdict(facts("sbom", TWO, subject=ONE), Decision.FOLLOW)
    index = verdict(facts("all", THREE, contains=(ONE, FOUR)), Decision.KEEP, KEPT)
    gone = verdict(facts("old", FOUR, contains=(ONE,)), Decision.REMOVE, GONE)
    assert said(index, referrer) == [f"belongs to {ONE.short}, a child of 'all'"]
    assert said(gone, index, referrer) == [f"belongs to {ONE.short}, a child of 'all'"]
    assert said(gone, referrer) == [f"belongs to {ONE.short}, a child of 'old'"]
    assert said(verdict(facts("a", ONE), Decision.KEEP, KEPT), referrer) == ["belongs to 'a', which stays"]
    assert subjects_of(index, [index, referrer]) == ()
    about = verdict(facts("sig", FOUR, subject=TWO), Decision.FOLLOW)
    assert said(referrer, about)[1] == "belongs to 'sbom'"


def test_a_manifest_that_is_its_own_subject_follows_nothing() -> None:
    itself = verdict(facts(f"sha256-{ONE.hex}", ONE), Decision.FOLLOW)
    assert said(itself) == [f"belongs to {ONE.short}, which has no tag here"]


def test_a_fallback_tag_of_a_longer_digest_is_cut() -> None:
    long = Digest(f"sha512:{'ab' * 64}")
    other = Digest(f"sha512:{'ab' * 63}cd")
    subject = verdict(facts("a", long), Decision.KEEP, KEPT)
    fallback = verdict(facts(f"sha512-{'ab' * 32}", TWO), Decision.FOLLOW)
    assert said(subject, fallback) == ["belongs to 'a', which stays"]
    referrer = verdict(facts("sbom", TWO, subject=long), Decision.FOLLOW)
    alike = verdict(facts("b", other), Decision.KEEP, KEPT)
    assert said(alike, referrer) == [f"belongs to {long.short}, which has no tag here"]


# -- judging ----------------------------------------------------------------------------------------------------------


def reasons(one: ParsedPolicy, *tags: TagFacts) -> list[list[str]]:
    return [[str(reason) for reason in found.reasons] for found in judge(PolicySet((one,)), {APP: tags}, now=NOW)]


def test_an_untagged_manifest_has_no_version() -> None:
    untagged = ParsedPolicy(
        "p", (parse_glob("**"),), (Last(1, "last: 1"),), ParsedSelect(untagged=True), order=Order.VERSION, min_age=DAY
    )
    known = facts(None, ONE, seen=ago(9), known_since=ago(9), created=ago(9))
    assert reasons(untagged, known) == [["it is no version, so it has no place in the order"]]
    grouped_by = ParsedPolicy(
        "p", (parse_glob("**"),), (), ParsedSelect(untagged=True), group_by=("major",), allow_empty=True
    )
    assert reasons(grouped_by, known) == [["keep: none"]]


def test_records_that_were_lost_count_only_while_they_are_younger_than_min_age() -> None:
    one = ParsedPolicy("p", (parse_glob("**"),), (), min_age=DAY, allow_empty=True)
    young = facts("a", created=ago(0.5), young_since=ago(1))
    assert reasons(one, young) == [["younger than min_age: 1d"]]
    younger = facts("a", created=ago(0.5), young_since=ago(0.9))
    assert reasons(one, younger) == [["counts as younger than min_age: 1d, because the records were lost"]]


def stay(one: ParsedPolicy, *tags: TagFacts) -> list[str]:
    return [str(found.facts.tag) for found in judge(PolicySet((one,)), {APP: tags}, now=NOW) if not found.goes]


def test_by_version_the_newest_by_date_stays_if_nothing_is_a_version() -> None:
    one = ParsedPolicy("p", (parse_glob("**"),), (), order=Order.VERSION, min_age=timedelta(0))
    assert stay(one, facts("main", ONE, ago(9)), facts("dev", TWO, ago(3))) == ["dev"]
    assert stay(one, facts("main", ONE), facts("dev", TWO)) == ["main", "dev"]
    assert stay(one, facts("main", ONE, ago(3)), facts("1.0", TWO, ago(9))) == ["1.0"]


def test_the_newest_is_what_was_built_arrived_or_returned_last() -> None:
    one = ParsedPolicy("p", (parse_glob("**"),), (), min_age=timedelta(0))
    old = facts("old", FOUR, ago(20))
    built, came_late = facts("built", ONE, ago(4)), facts("came", TWO, ago(9), ago(3), ago(3))
    back = facts("back", THREE, ago(8), ago(1), ago(1), former=Former(ago(8)))
    assert stay(one, old, built, came_late, back) == ["built", "came", "back"]
    assert stay(one, old, built, came_late) == ["built", "came"]
    assert stay(one, old, built, back) == ["built", "back"]
    assert stay(one, old, built) == ["built"]


def test_one_of_several_ranges_must_match_completely() -> None:
    (below,), (above,), (end,) = (at_least(text)[0] for text in ("<1.0", ">=2.0", "<3.0"))
    ranges = ((below,), (above, end))
    tags = ("0.9", "1.5", "2.1", "3.0")
    assert [tag for tag in tags if selects_name(ParsedSelect(versions=ranges), tag)] == ["0.9", "2.1"]
    assert [tag for tag in tags if may_select_name(ParsedSelect(versions=ranges), tag)] == ["0.9", "2.1"]
    found = group(*[ago(9)] * 4, order=Order.VERSION, tags=tags)
    assert kept_by(VersionRule(ranges, ""), found) == {0, 2}


def test_a_version_outside_a_policy_in_both_readings_is_not_in_doubt() -> None:
    assert not may_select_name(ParsedSelect(versions=at_least(">=1.4")), "1.4.CR1")


def test_an_untagged_manifest_follows_only_its_subject() -> None:
    referrer = verdict(facts(None, TWO, subject=ONE), Decision.FOLLOW)
    assert said(verdict(facts("a", ONE), Decision.KEEP, KEPT), referrer) == ["belongs to 'a', which stays"]


def test_a_signature_of_a_longer_digest_follows_no_other_with_the_same_prefix() -> None:
    long, alike = Digest(f"sha512:{'ab' * 64}"), Digest(f"sha512:{'ab' * 63}cd")
    signature = verdict(facts(f"sha512-{long.hex}.sig", TWO), Decision.FOLLOW)
    assert subjects_of(signature, [verdict(facts("b", alike), Decision.KEEP, KEPT), signature]) == ()
    mine = verdict(facts("a", long), Decision.KEEP, KEPT)
    assert subjects_of(signature, [mine, signature]) == (mine,)

"""Common tag conventions: their order, what selectors match, and what exclusions and keep rules match."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

import odd_tags
from dregutil.errors import UsageError
from dregutil.oci.names import Reference, Repository, Tag
from dregutil.retention.judge import judge
from dregutil.retention.policy import KeepRule, Last, Order, ParsedPolicy, ParsedSelect, PolicySet, VersionRule
from dregutil.retention.verdict import TagFacts
from dregutil.select.glob import parse_glob
from dregutil.select.selector import Comparison, Exact, TagSelector, parse_selector
from dregutil.select.version import parse_version, read_version, tag_order
from histories import NOW, digest_of

# Lowest first, as each of these ecosystems releases.
_ORDERS = {
    "Maven": "1.4.0-SNAPSHOT 1.4.0-20240501.123456-7 1.4.0-alpha 1.4.0.Alpha1 1.4.0-M1 1.4.0.M2 1.4.0.Beta1 1.4.0.Beta2"
    " 1.4.0.CR1 1.4.0.CR2 1.4.0.Final 1.4.0.SP1 1.4.0.SP2 1.4.1.Final 1.5.0-incubating 1.5.0",
    "Spring": "2.0.0.M1 2.0.0.M2 2.0.0.RC1 2.0.0.RELEASE 2.0.1.RELEASE 2.1.0",
    "Helm": "103.1.0_up0.6.2 104.0.0_up0.7.0-rc.1 104.0.0_up0.7.0-rc.2 104.0.0_up0.7.0 104.0.0_up0.7.1 104.1.0",
    "Debian": "11 11-slim 12 12.1 12.1-slim 12.2 12.10",
    "npm": "8.0.0-alpha.1 8.0.0-alpha.10 8.0.0-beta.2 8.0.0-preview.7 8.0.0-rc.1 8.0.0-canary.3 8.0.0-next.4 8.0.0",
    "PyPI": "3.13.0.dev1 3.13.0a1 3.13.0a2 3.13.0b1 3.13.0rc1 3.13.0rc2 3.13.0 3.13.1",
    "JBoss": "7.0.CR 7.0.CR1 7.0.CR2 7.0.Final",
    "build data": "1.0 1.0_up1.0 1.0_up1.1 1.0_abc 1.0.1",
    "Java": "17 21-ea-jdk 21-jdk 21.0.1-jdk",
    "calendar": "20231130 2023-12-31 2024.01.15 2024_02_01 20240828 20240828.2 202408281530 2024-12 2025-03-26",
    "OpenSSL": "1.0.2 1.0.2a 1.0.2b 1.0.2k 1.0.2u 1.1.0 1.1.0a",
    "Jenkins": "1 9 10 99 100 101",
    "underscores": "1_8_0 1_9_0 1-10-0 1_10_1",
    "build words": "1.0_up9 1.0_xp1 1.0_7x",
    "numbers in names": "1.4-alpine3.9 1.4-alpine3.10 build-alpha main-x9 main-x10",
    "nightlies": "2.1 2.2-nightly.20240501 2.2-nightly.20240502 2.2 2.3",
}


@pytest.mark.parametrize("tags", [tags.split() for tags in _ORDERS.values()], ids=list(_ORDERS))
def test_the_order_is_that_of_its_releases(tags: list[str]) -> None:
    assert sorted(sorted(tags), key=tag_order) == tags


@pytest.mark.parametrize(
    "tag",
    [
        *("4829103", "1700000000", "7b12345", "0a1b2c3", "sha-12b3456", "main-45c6789", "feature-x-77b1234"),
        *("7b12345-dirty", "4829103-amd64", "main-4829103", "20231399", "202402300000", "202405012560", "2" * 40),
        *("202405012400", "20240501126000", "20240501120060", "21000101", "19691231"),
        *("1.x", "1.2.x", "v1.x", "1.x-alpine", "release-1.x", "5d", "1.2x", "latest", "nightly"),
    ],
)
def test_no_version(tag: str) -> None:
    assert parse_version(tag) is None


@pytest.mark.parametrize(
    ("tag", "same"),
    [
        *(("1.4.Final", "1.4"), ("1.4.0.GA", "1.4"), ("1.4-RELEASE", "v1.4.0"), ("1_9_0", "1.9"), ("1-9-2", "1.9.2")),
        *(("20240828", "2024-08-28"), ("2024.8.28", "2024_08_28"), ("release-20240501", "release-2024.5.1")),
        *(("2024-08-28-alpine", "20240828-alpine"), ("123456", "123456"), ("v1234567", "v1234567.0")),
        *(
            ("1-a1", "1-alpha1"),
            ("1-b1", "1-beta1"),
            ("1-m1", "1-milestone1"),
            ("1-dev", "1-SNAPSHOT"),
            ("1-ea2", "1-eap2"),
        ),
        *(("19700101", "1970-01-01"), ("19700101.5", "1970.1.1.5"), ("20991231", "2099.12.31")),
        *(("1_9_0-alpine", "1.9.0-alpine"), ("1_9_0-alpine", "v1_9_0-alpine")),
        *(("1.4.0-early", "1.4-early"), ("2024-01-15", "v20240115"), ("20240229", "2024-02-29")),
    ],
)
def test_one_version(tag: str, same: str) -> None:
    assert parse_version(tag) is not None
    assert parse_version(tag) == parse_version(same)


@pytest.mark.parametrize(
    ("selector", "taken", "left"),
    [
        (">=1", "1 1.4 20", "4829103 sha-12b3456 7b12345 20240828 1.x"),
        ("<1.4", "1.4.0.CR1 1.4.0-ea.2 1.4-incubating 1.4-M2 1.4.0-20240501.123456-7 1.3.Final", "1.4.Final 1.4.SP1"),
        ("<1.4", "1.3-nightly.1", "1.4-ci.7841 1.4-nightly20240501 1.4-canary.1 1.4-edge 1.4-next 1.4-insiders"),
        ("<=1.4", "1.4 1.4.Final", "1.4-nightly 1.4.SP1 1.4-alpine"),
        (">=1.4", "1.4 1.4.Final 1.4.SP1", "1.4-nightly 1.4-edge 1.4.CR1 1.4-unstable1"),
        (">1.4", "1.4.SP1 1.5", "1.4.Final 1.4-nightly 1.4.CR1 1.4a"),
        ("==1.4", "1.4 1.4.GA 1.4_7", "1.4-alpine 1.4a 1.4-rc1 1.4-nightly"),
        ("<1.4", "1.4rc 1.4alpha 1.4beta 1.4dev", "1.4a 1.4b 1.4c 1.4m"),
        ("==1.4-rc1", "1.4-rc1 1.4.0rc1 1.4-c1 1.4.CR1", "1.4-rc2 1.4-rc 1.4.CR 1.4-beta1 1.4-rc1-alpine"),
        ("<1.0.2", "1.0.2a1 1.0.2-a 1.0.2-rc1", "1.0.2a 1.0.2b 1.0.2c 1.0.2m 1.0.2k"),
        (">=1.0.2", "1.0.2 1.0.2k 1.0.3", "1.0.2a 1.0.2b"),
        ("<1.1", "1.0.2a 1.0.2k", "1.1a 1.1"),
        ("<1.0.2b", "1.0.2a 1.0.1", "1.0.2 1.0.2b 1.0.2c"),
        ("<2024.06", "2024.01.15 20240531 2024-05-01 1.4", "2024-12-28 20241228 2024.06.01"),
        ("<5000", "4999 2024.01.15 1.4", "20240828 20240828-alpine"),
        ("<20240601", "20240531 2024.05.31 2024-05-31 2024.5 1.4", "20240601 2024-06-02 5000"),
        (">20240601", "20240602 2024-06-02 2025.1", "5000 3000.1 4829103"),
        (">=release-20240501", "release-20240501 release-2024-05-02", "20240501 release-4829103"),
        ("==104.0.0", "104.0.0_up0.7.0 104.0.0_up0.7.0-rc.1 104.0.0", "104.0.1_up0.7.0 104.0.0-rc.1_up0.7.0"),
        ("==104.0.0+up0.7.0", "104.0.0_up0.7.0", "104.0.0_up0.7.0-rc.1 104.0.0"),
        ("<104.0.0+up0.7.0", "104.0.0_up0.7.0-rc.1 103.0.0", "104.0.0_up0.7.0 104.0.0_up0.7.1"),
        ("<8.0.0-rc.1", "8.0.0-preview.0 8.0.0-beta.9", "8.0.0-preview.7 8.0.0-rc.1"),
        ("<8.0.0", "8.0.0-preview.7 8.0.0-pre1", "8.0.0"),
        ("<1.9.1", "1_9_0 1-8-2", "1_9_1 1_10_0"),
        ("<2", "1-1 1.2", "1.x 1.2.x 1.x-alpine 16-1"),
        ("<4829103", "1.4 99", "4829103 5829103 sha-12b3456"),
        ("<8.0.0-rc.2", "8.0.0-preview.1 8.0.0-pre.1 8.0.0-rc.1", "8.0.0-pre.2 8.0.0-incubating.1"),
        ("<2024.05.100", "20240412 2024.05.99", "20240601 2024.05.101"),
        (">2024.06", "2024_13_1 2024.13 20240701", "2024_01_1 20240531"),
        ("==104", "104_up0.7.0 104_abc", "104_7 104_7a 104-abc"),
        ("==1.9.0", "1_9_0 1-9-0", "1_9_0-alpine"),
    ],
)
def test_what_a_selector_matches(selector: str, taken: str, left: str) -> None:
    found = parse_selector(selector)
    assert [tag for tag in (*taken.split(), *left.split()) if found.matches(tag)] == taken.split()


@pytest.mark.parametrize(
    ("exclusion", "left_alone"),
    [
        (">=100", "100 4829103 1700000000 20240828"),
        (">=1.4", "1.4 1.4.CR1 1.4-ea.1 1.4.Final 1.4-nightly 1.4a 1.4-incubating"),
        ("<1.4", "1.3 1.4.CR1 1.4-nightly 1.4-edge 1.4a"),
        (">=sha-10", "sha-12b3456"),
        ("<2", "1.x 1_9_0"),
        ("<8.0.0-rc.9", "8.0.0-preview.7"),
        (">8.0.0-rc.1", "8.0.0-preview.7"),
        (">104.0.0", "104.0.0_up0.7.0"),
        ("==104.0.0", "104.0.0_up0.7.0"),
        (">20240601", "20240828 2024-08-28"),
    ],
)
def test_what_an_exclusion_leaves_alone(exclusion: str, left_alone: str) -> None:
    found = TagSelector.build([], [".*"], [exclusion])
    assert [tag for tag in left_alone.split() if found.matches(tag)] == []


def test_zero_is_a_version() -> None:
    for tag in ("0", "0.0", "v0"):
        version = parse_version(tag)
        assert version is not None
        assert version.numbers == (0,)


def test_a_version_may_be_as_long_as_a_tag() -> None:
    longest = "1." * 63 + "10"
    assert (len(longest), parse_version(longest)) != (128, None)
    assert parse_selector(f"<{longest}").matches("1.0")
    with pytest.raises(UsageError, match="no version after '<'"):
        parse_selector(f"<{longest}0")


def test_a_plus_is_read_as_the_underscore_that_helm_writes() -> None:
    assert parse_selector("1.4.0+build") == Exact(Tag("1.4.0_build"))
    assert Reference.parse("charts/app:1.4.0+build").tag == "1.4.0_build"
    assert TagSelector.build([], [".*"], ["1.4+7"]).excludes("1.4_7")
    with pytest.raises(UsageError):
        Tag.parse("1.4.0+build")  # as in a registry: not a tag


def _kept(tags: str, *keep: KeepRule, group_by: tuple[str, ...] = (), select: ParsedSelect | None = None) -> list[str]:
    facts = [TagFacts(Tag(tag), digest_of(tag), NOW - timedelta(days=40)) for tag in tags.split()]
    policy = ParsedPolicy(
        "p",
        (parse_glob("**"),),
        keep,
        select or ParsedSelect(),
        order=Order.VERSION,
        min_age=timedelta(0),
        group_by=group_by,
        allow_empty=True,
    )
    return [
        str(one.facts.tag) for one in judge(PolicySet((policy,)), {Repository("app"): facts}, now=NOW) if not one.goes
    ]


@pytest.mark.parametrize(
    ("number", "tags", "kept"),
    [
        # a hash does not count, and stays
        (2, "1.8 1.9 2.0 4829103", "1.9 2.0 4829103"),
        # a pre-release is below its release
        (1, "1.3 1.4.CR1 1.4.Final 1.4-ea.2", "1.4.Final"),
        (1, "1.3 1.4 1.4.0.Final", "1.4 1.4.0.Final"),
        # rolling builds: the release stays with them, and among themselves they are ordered
        (1, "1.3 1.4 1.4-nightly.1 1.4-nightly.2", "1.4 1.4-nightly.2"),
        (2, "1.3 1.4 1.4-nightly.1 1.4-nightly.2 1.4-nightly.3", "1.4 1.4-nightly.2 1.4-nightly.3"),
        (1, "1.4 1.5-nightly.1", "1.5-nightly.1"),
        # a version and its letters count once
        (1, "1.0.1 1.0.2 1.0.2a 1.0.2b 1.0.2k", "1.0.2 1.0.2a 1.0.2b 1.0.2k"),
        (2, "1.0.0 1.0.1 1.0.2 1.0.2a 1.0.2b", "1.0.1 1.0.2 1.0.2a 1.0.2b"),
        (1, "1.0.2a 1.0.2-rc1 1.0.1", "1.0.2a 1.0.2-rc1"),
        # dates in any notation
        (1, "20240828 2025-03-26 2024.01.15", "2025-03-26"),
        (2, "20240828 2025-03-26 2024.01.15 2023_12", "20240828 2025-03-26"),
        # builds count once
        (1, "103.0.0_up1 104.0.0_up0.7.0-rc.1 104.0.0_up0.7.0", "104.0.0_up0.7.0-rc.1 104.0.0_up0.7.0"),
        (2, "102 103.0.0_up1 104.0.0_up0.7.0-rc.1 104.0.0_up0.7.0", "103.0.0_up1 104.0.0_up0.7.0-rc.1 104.0.0_up0.7.0"),
        # it cannot be decided which of two hashes is newer
        (1, "1.3-7d8e9f0 1.4-1a23456 1.4-45c6789 1.4-g4567890", "1.4-1a23456 1.4-45c6789 1.4-g4567890"),
        # preview is below rc; both stay if that is in doubt
        (1, "8.0.0-preview.7 8.0.0-rc.1", "8.0.0-preview.7 8.0.0-rc.1"),
        (1, "8.0.0-preview.1 8.0.0-rc.2", "8.0.0-rc.2"),
        # moving tags are not versions
        (1, "1.2 1.x 1.2.x 1.3", "1.x 1.2.x 1.3"),
        (1, "1_9_0 1_10_0 1.8", "1_10_0"),
    ],
)
def test_what_last_keeps(number: int, tags: str, kept: str) -> None:
    assert _kept(tags, Last(number, f"last: {number}")) == kept.split()


@pytest.mark.parametrize(
    ("key", "tags", "kept"),
    [
        ("variant", "1.3-alpine 1.4-alpine 1.3-slim 1.4-slim 1.4 1.3", "1.4-alpine 1.4-slim 1.4"),
        ("minor", "1 1.1 1.0.1", "1.1 1.0.1"),
        ("minor", "1.4.1 release-1.4.0", "1.4.1 release-1.4.0"),
        ("minor", "1_8_0 1_9_0 1_9_1", "1_8_0 1_9_1"),
        ("major", "20240827 20240828 2024.8.29", "20240827 20240828 2024.8.29"),  # each is its own, literally
        ("minor", "1.4 4829103", "1.4 4829103"),
    ],
)
def test_groups_of_versions(key: str, tags: str, kept: str) -> None:
    assert _kept(tags, Last(1, "last: 1"), group_by=(key,)) == kept.split()


def test_versions_that_a_rule_keeps_are_kept_by_either_reading() -> None:
    at_least = parse_selector(">=1.4")
    assert isinstance(at_least, Comparison)
    rule = VersionRule(((at_least,),), "versions: >=1.4")
    assert _kept("1.3 1.4.CR1 1.4-nightly 1.4a 4829103", rule) == ["1.4.CR1", "1.4-nightly", "1.4a", "4829103"]


def test_a_policy_of_versions_owns_and_keeps_what_may_be_one() -> None:
    at_least = parse_selector(">=1.0")
    assert isinstance(at_least, Comparison)
    first = ParsedPolicy(
        "versions", (parse_glob("**"),), (), ParsedSelect(versions=((at_least,),)), min_age=timedelta(0)
    )
    rest = ParsedPolicy("rest", (parse_glob("**"),), (), min_age=timedelta(0), allow_empty=True)
    facts = [TagFacts(Tag(tag), digest_of(tag), NOW - timedelta(days=40)) for tag in ("4829103", "main", "sha-12b3456")]
    judged = {str(one.facts.tag): one for one in judge(PolicySet((first, rest)), {Repository("app"): facts}, now=NOW)}
    assert judged["4829103"].reasons[0].text == "whether it is a version that its policy selects is doubtful"
    assert [tag for tag, one in judged.items() if one.goes] == ["main", "sha-12b3456"]


def test_the_newest_of_a_repository_stays_by_either_reading() -> None:
    facts = [TagFacts(Tag(tag), digest_of(tag)) for tag in ("1.3", "1.4", "4829103")]
    policy = ParsedPolicy("p", (parse_glob("**"),), (), order=Order.VERSION, min_age=timedelta(0))
    judged = judge(PolicySet((policy,)), {Repository("app"): facts}, now=NOW)
    assert [str(one.facts.tag) for one in judged if not one.goes] == ["1.4", "4829103"]


@pytest.mark.property
@given(odd_tags.odd, odd_tags.odd, odd_tags.odd)
def test_the_order_of_odd_tags_is_total(one: str, two: str, three: str) -> None:
    a, b, c = sorted((tag_order(one), tag_order(two), tag_order(three)))
    assert a <= b <= c
    assert a <= c
    assert (tag_order(one) == tag_order(two)) == (one == two)
    assert (tag_order(one) < tag_order(two)) + (tag_order(two) < tag_order(one)) == (one != two)


@pytest.mark.property
@given(odd_tags.odd)
def test_a_rank_never_contradicts_the_order(tag: str) -> None:
    meant = read_version(tag).meant
    for other in ("1.0.2", "1.0.2a", "104.0.0_up0.7.0", "20240828", "1.4-nightly.1", "2.0.0.Final"):
        version = parse_version(other)
        assert version is not None
        if meant is not None and meant.place != version.place:
            assert (meant.place < version.place) == (meant < version)


@given(st.lists(odd_tags.plain, max_size=8), st.integers(1, 3))
def test_last_keeps_no_fewer_with_more_places(tags: list[str], number: int) -> None:
    text = " ".join(dict.fromkeys(tags))
    assert set(_kept(text, Last(number, ""))) <= set(_kept(text, Last(number + 1, "")))

"""The order of tags as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.select.selector import parse_selector
from dregutil.select.version import parse_version, read_version, tag_order

pytestmark = pytest.mark.property

_NUMBERS = st.lists(st.integers(0, 30), min_size=1, max_size=3).map(lambda parts: ".".join(map(str, parts)))
_VERSIONS = st.builds(
    "{}{}{}{}{}".format,
    st.sampled_from(["", "release-", "pr-"]),
    st.sampled_from(["", "v"]),
    _NUMBERS,
    st.sampled_from(["", "-rc1", "rc2", "-alpha", ".beta.3", "-SNAPSHOT", "-m2", "-dev"]),
    st.sampled_from(["", "-alpine", "_7", "-20240501", "-alpine3.10", "-alpine3.9"]),
)
TAGS = st.one_of(
    _VERSIONS,
    st.sampled_from(["latest", "main", "0a1b2c3", "7b12345", "stable"]),
    st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True),
)


def test_the_documented_order() -> None:
    assert sorted(["1.10", "1.4", "1.4-rc1", "1.4.1", "1.4-alpine"], key=tag_order) == [
        "1.4-rc1",
        "1.4",
        "1.4-alpine",
        "1.4.1",
        "1.10",
    ]


def test_names_come_after_versions() -> None:
    assert sorted(["latest", "2.0", "0a1b2c3", "1.0"], key=tag_order)[:2] == ["1.0", "2.0"]


@pytest.mark.parametrize("tag", ["latest", "main", "0a1b2c3", "7b12345", "1.4abc", "sha256-" + "1" * 64, "v", "1."])
def test_no_version(tag: str) -> None:
    assert parse_version(tag) is None


@pytest.mark.parametrize("tag", ["123456", "20240501", "1.4", "v1.2", "1.4-rc1", "1.4_7", "2024.01.05", "release-1.2"])
def test_a_version(tag: str) -> None:
    assert parse_version(tag) is not None


@pytest.mark.parametrize(
    ("selector", "taken", "left"),
    [
        ("<1.4", ["1.0", "v1.2", "1.4-rc1", "1.3-alpine"], ["1.4", "1.10", "release-1.2", "pr-1", "latest", "0a1b2c3"]),
        ("<release-1.4", ["release-1.2"], ["1.2", "release-1.4"]),
        ("==1.4", ["1.4", "1.4.0", "v1.4"], ["1.4-alpine", "1.4-rc1"]),
        (">=1.10", ["1.10", "2.0"], ["1.9", "latest"]),
        ("1.4", ["1.4"], ["1.4.0", "v1.4"]),
    ],
)
def test_selectors(selector: str, taken: list[str], left: list[str]) -> None:
    found = parse_selector(selector)
    assert [tag for tag in (*taken, *left) if found.matches(tag)] == taken


@given(st.lists(TAGS, max_size=30), st.randoms(use_true_random=False))
def test_the_order_does_not_depend_on_the_input(tags: list[str], random: object) -> None:
    shuffled = list(tags)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis types its Random as object here
    assert sorted(tags, key=tag_order) == sorted(shuffled, key=tag_order)


@given(TAGS, TAGS, TAGS)
def test_the_order_is_total(one: str, two: str, three: str) -> None:
    a, b, c = tag_order(one), tag_order(two), tag_order(three)
    assert (a < b) + (a > b) + (a == b) == 1
    assert (a == b) == (one == two)
    if a <= b <= c:
        assert a <= c


@given(_VERSIONS, _VERSIONS)
def test_each_version_is_on_one_side_of_another(tag: str, other: str) -> None:
    version, against = parse_version(tag), parse_version(other)
    sides = [sign for sign in ("<", "==", ">") if parse_selector(f"{sign}{other}").matches(tag)] if against else []
    same_word = version is not None and against is not None and version.word == against.word
    assert len(sides) == same_word


@given(st.text(max_size=150))
def test_any_text_has_a_place(text: str) -> None:
    assert tag_order(text) == tag_order(text)


def test_a_year_with_more_after_it_may_be_the_last_of_its_days() -> None:
    rival = read_version("2024-lts").rival
    assert rival is not None
    assert rival.numbers == (2024, 12, 31)
    for whole in ("2024", "v2024"):
        assert read_version(whole).rival is None
    assert read_version("3-lts").rival is None

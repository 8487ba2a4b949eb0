"""What -t, -re, -x and -xre match, and the errors for invalid ones."""

from __future__ import annotations

import pytest

from dregutil.errors import UsageError
from dregutil.select.selector import Every, Exact, TagSelector, parse_pattern, parse_selector

SIGNATURE = "sha256-" + "a" * 64 + ".sig"


def taken(selector: TagSelector, tags: str) -> list[str]:
    return [tag for tag in tags.split() if selector.matches(tag)]


def test_any_selector_matches_and_any_exclusion_excludes() -> None:
    assert taken(TagSelector.build(["1.0", "<0.5"], ["main-.*"]), "1.0 0.4 main-1 2.0") == ["1.0", "0.4", "main-1"]
    assert taken(TagSelector.build([], [".*"], ["1.0", "2.0"], ["main", "x"]), "1.0 2.0 3.0 main-1 x") == ["3.0"]
    assert taken(TagSelector.build(["1.0"], [], ["2.0"]), "1.0 2.0 3.0") == ["1.0"]
    assert taken(TagSelector.build(["1.0"]), "1.0 2.0") == ["1.0"]
    assert taken(TagSelector.build(), "1.0") == []


def test_an_excluded_pattern_excludes() -> None:
    selector = TagSelector.build(["<9"], [], [], ["1\\.3"])
    assert taken(selector, "1.2 1.3 1.3.1") == ["1.2"]
    assert selector.excludes("1.3.1")
    assert not selector.excludes("1.2")


def test_a_pattern_matches_from_the_start_or_with_full_match_the_whole_tag() -> None:
    assert taken(TagSelector.build([], ["1"]), "1 1.0 2.1") == ["1", "1.0"]
    assert taken(TagSelector.build([], ["1"], full_match=True), "1 1.0 2.1") == ["1"]
    assert taken(TagSelector.build([], [".*"], [], ["1"]), "1 1.0 2.1") == ["2.1"]
    assert taken(TagSelector.build([], [".*"], [], ["1"], full_match=True), "1 1.0 2.1") == ["1.0", "2.1"]
    assert parse_pattern("1").matches("1.0")
    assert not parse_pattern("1", whole=True).matches("1.0")


def test_signatures_are_taken_by_their_exact_name_only() -> None:
    assert not TagSelector.build(["<9", ">=0"], [".*", "sha256-.*"]).matches(SIGNATURE)
    assert TagSelector.build([SIGNATURE]).matches(SIGNATURE)
    assert not Every().matches(SIGNATURE)
    assert Every().matches("latest")
    for suffix in ("", ".att", ".sbom", ".src", ".dockerfile"):
        assert not TagSelector.build([], [".*"]).matches("sha256-" + "a" * 64 + suffix)


def test_an_exclusion_by_name_excludes_that_name() -> None:
    for selector in (Exact("latest"), parse_pattern("late"), Every()):
        assert selector.may_match("latest")
    assert not Exact("latest").may_match("1.0")
    assert not parse_pattern("late").may_match("1.0")
    assert not Every().may_match(SIGNATURE)


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        ("1.*", "for a pattern, use -re (or -xre): '1\\..*'"),
        ("1.?+x", "a tag has letters, digits, '_', '.' and '-'"),
        ("*-rc1", "for a pattern, use -re (or -xre): '.*-rc1'"),
        ("=1.0", "did you mean '==1.0'?"),
        ("=1.0.2k", "did you mean '==1.0.2k'?"),
        ("=4829103", "did you mean '==4829103'?"),
        ("=<1.0", "did you mean '<=1.0'?"),
        ("=latest", "a tag has letters, digits, '_', '.' and '-'"),
        ("!1.0", "versions are compared with <, <=, ==, >= and >; -x excludes tags"),
        ("~=1.0", "versions are compared with <, <=, ==, >= and >; -x excludes tags"),
        ("!latest", "a tag has letters, digits, '_', '.' and '-'"),
        ("1.0 1.1", "write each tag as a separate argument: -t 1.0 1.1"),
        ("a/b", "no tag has a slash; if it is a repository, name it before the selectors"),
        ("", "name a tag, or a version such as '<1.4'"),
        ("<", "write a version after it, such as '<1.4', and quote it: < and > are special in the shell"),
        ("<latest", "write a version after it, such as '<1.4', and quote it: < and > are special in the shell"),
    ],
)
def test_an_invalid_selector_is_refused_with_a_suggestion(text: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selector(text)
    assert caught.value.advice == advice


def test_a_pattern_that_does_not_compile_is_refused() -> None:
    with pytest.raises(UsageError, match="does not compile"):
        parse_pattern("(")


@pytest.mark.parametrize(("sign", "sides"), [("<", "-"), ("<=", "-="), ("==", "="), (">=", "=+"), (">", "+")])
def test_each_comparison_matches_its_sides(sign: str, sides: str) -> None:
    selector = parse_selector(f"{sign} 1.4")
    assert "".join(side for tag, side in (("1.3", "-"), ("1.4", "="), ("1.5", "+")) if selector.matches(tag)) == sides
    assert "".join(side for tag, side in (("1.3", "-"), ("1.4", "="), ("1.5", "+")) if selector.may_match(tag)) == sides


def test_a_version_that_can_be_read_in_one_way_only_is_compared_by_that() -> None:
    selector = parse_selector("<1.0.2k")
    tags = ["1.0.1", "1.0.2", "1.0.2a", "1.0.2d", "1.0.2k", "1.0.2u", "1.0.3", "latest"]
    assert [tag for tag in tags if selector.may_match(tag)] == ["1.0.1", "1.0.2", "1.0.2a", "1.0.2d"]
    assert selector.matches("1.0.2d")
    assert not selector.matches("1.0.2u")


@pytest.mark.parametrize("text", [">=1.2 <1.3", ">=1.2, <1.3", ">= 1.2 , < 1.3", "<1.3 >=1.2", ">=1.2\t<1.3"])
def test_comparisons_in_one_selector_hold_together(text: str) -> None:
    tags = "1.1 1.2 1.2.9 1.2.9-alpine 1.3-rc1 1.3 2.0 latest release-1.2"
    assert taken(TagSelector.build([text]), tags) == ["1.2", "1.2.9", "1.2.9-alpine", "1.3-rc1"]
    assert taken(TagSelector.build(["<9"], [], [text]), tags) == ["1.1", "1.3", "2.0"]


def test_selectors_side_by_side_match_any() -> None:
    assert taken(TagSelector.build([">=1.2", "<1.3"]), "1.1 1.2 1.3") == ["1.1", "1.2", "1.3"]
    assert taken(TagSelector.build([">=1 <1.2", ">=3"]), "1.1 1.2 3.0") == ["1.1", "3.0"]


def test_a_range_takes_what_is_certain_and_excludes_what_may_be() -> None:
    """`1.0.2a` is a patch or a pre-release: a removal leaves it in both cases."""
    tags = "1.0.1 1.0.2 1.0.2a 1.0.3"
    assert taken(TagSelector.build([">=1.0.2 <1.0.3"]), tags) == ["1.0.2"]
    assert taken(TagSelector.build(["<9"], [], [">=1.0.2 <1.0.3"]), tags) == ["1.0.1", "1.0.3"]


@pytest.mark.parametrize(
    ("text", "advice"),
    [
        (">=1.2<1.3", "write a space between comparisons that hold together, such as '>=1.2 <1.3'"),
        (">=1.2-x<1.3", "write a space between comparisons that hold together, such as '>=1.2 <1.3'"),
        (">=1.2 <", "write a version after it, such as '<1.4', and quote it: < and > are special in the shell"),
        (">=1.2-x 1.3", "write a version after it, such as '<1.4', and quote it: < and > are special in the shell"),
        (">=1.2 =1.3", ""),
    ],
)
def test_an_invalid_range_is_refused(text: str, advice: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_selector(text)
    assert caught.value.advice == advice

"""Repositories by glob."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.reference import Repository
from dregutil.repository_pattern import RepositoryPattern, expand_repositories, is_pattern


@pytest.mark.parametrize(
    ("pattern", "there", "elsewhere"),
    [
        ("team/*", ["team/a", "team/a-b.c"], ["team", "team/a/b", "xteam/a", "teams/a"]),
        ("team/**", ["team/a", "team/a/b"], ["team", "teams/a"]),
        ("**/cache", ["a/cache", "a/b/cache"], ["cache", "a/caches"]),
        ("*", ["a", "a.b"], ["a/b"]),
        ("**", ["a", "a/b/c"], []),
        ("app-?", ["app-1"], ["app-", "app-12", "app-/"]),
        ("app-[0-9]", ["app-1"], ["app-a"]),
        ("a[!b]c", ["axc"], ["abc", "a/c"]),
        ("a.b*", ["a.b", "a.bc"], ["axb"]),
    ],
)
def test_globs(pattern: str, there: list[str], elsewhere: list[str]) -> None:
    found = RepositoryPattern.parse(pattern)
    assert [name for name in (*there, *elsewhere) if found.matches(name)] == there


@pytest.mark.parametrize("text", ["", "Team/*", "a b*", "a(*", "a[z-a]", "*" * 256, "a\\*", "ä*"])
def test_what_is_no_pattern_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        RepositoryPattern.parse(text)


@pytest.mark.property
@given(st.text("ab/*?[]!-.^\\", min_size=1, max_size=12), st.text("ab/", max_size=8))
def test_any_text_is_a_pattern_or_a_usage_error(text: str, name: str) -> None:
    try:
        RepositoryPattern.parse(text).matches(name)
    except UsageError:
        return


@pytest.mark.property
@given(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+)*", fullmatch=True))
def test_a_name_is_no_pattern_and_matches_itself_alone(name: str) -> None:
    assert not is_pattern(name)
    assert RepositoryPattern.parse(name).matches(name)
    assert not RepositoryPattern.parse(name).matches(f"{name}x")


def test_each_repository_is_found_once_in_the_order_of_the_patterns() -> None:
    there = [Repository(name) for name in ("b/2", "b/1", "a")]
    one, none = RepositoryPattern.parse("b/*"), RepositoryPattern.parse("c/*")
    assert expand_repositories([Repository("b/2"), one, none], there) == (("b/2", "b/1"), (none,))

"""Globs: one grammar for repositories, tags and media types, on the command line and in policies."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import UsageError
from dregutil.oci.names import RegistryAddress, Repository
from dregutil.retention.policyfile import read_policy
from dregutil.select.glob import Glob, is_glob, parse_glob
from dregutil.select.named import parse_named

ADDRESS = RegistryAddress.parse("registry.example.com")
TABLE = [
    ("team/*", ["team/a", "team/a-b.c"], ["team", "team/a/b", "xteam/a", "teams/a"]),
    ("team/**", ["team/a", "team/a/b"], ["team", "teams/a"]),
    ("**/cache", ["cache", "a/cache", "a/b/cache"], ["a/caches", "acache"]),
    ("a/**/z", ["a/z", "a/b/z", "a/b/c/z"], ["az", "a/bz"]),
    ("*", ["a", "a.b"], ["a/b"]),
    ("**", ["a", "a/b/c"], []),
    ("a***/z", ["a/z", "ab/z", "a/b/z"], ["az", "b/z"]),
    ("app-?", ["app-1"], ["app-", "app-12", "app-/"]),
    ("app-[0-9]", ["app-1"], ["app-a"]),
    ("a[!b]c", ["axc"], ["abc", "a/c"]),
    ("a[.-1]c", ["a.c", "a1c"], ["a/c", "a2c"]),
    ("a.b*", ["a.b", "a.bc"], ["axb"]),
    ("{team,shop}/*", ["team/a", "shop/b"], ["a/b", "{team,shop}/a"]),
    ("app{,-*}", ["app", "app-x"], ["apps"]),
    (r"a\*", ["a*"], ["ab"]),
]


@pytest.mark.parametrize(("text", "there", "elsewhere"), TABLE)
def test_globs(text: str, there: list[str], elsewhere: list[str]) -> None:
    found = parse_glob(text)
    assert [name for name in (*there, *elsewhere) if found.matches(name)] == there


@pytest.mark.parametrize(("text", "there", "elsewhere"), TABLE)
def test_the_command_line_and_a_policy_read_the_same_glob(text: str, there: list[str], elsewhere: list[str]) -> None:
    (named,) = parse_named([text], ADDRESS).names
    (policy,) = read_policy(
        f"version: 1\npolicies: [{{name: p, repositories: ['{text}'], keep: {{last: 1}}}}]"
    ).policies
    assert (named,) == policy.repositories


@pytest.mark.parametrize("text", ["a[z-a]", "a[b", "a{b", "a}*", "*-*-*-*-*-*"])
def test_an_invalid_glob_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_named([text], ADDRESS)
    with pytest.raises(ValueError, match=r".+"):
        parse_glob(text)


@pytest.mark.property
@given(st.text("ab/*?[]!-.^\\{},", min_size=1, max_size=12), st.text("ab/", max_size=8))
def test_any_text_is_a_glob_or_refused(text: str, name: str) -> None:
    with contextlib.suppress(ValueError):
        parse_glob(text).matches(name)


@pytest.mark.property
@given(st.text("ab/*?", min_size=1, max_size=10), st.text("ab/", max_size=8))
def test_stars_and_question_marks_match_as_documented(text: str, name: str) -> None:
    with contextlib.suppress(ValueError):
        assert parse_glob(text).matches(name) == matches(text, name)


@pytest.mark.property
@given(st.from_regex(r"[a-z0-9]+([._-][a-z0-9]+)*(/[a-z0-9]+)*", fullmatch=True))
def test_a_plain_name_matches_only_itself(name: str) -> None:
    assert not is_glob(name)
    assert parse_glob(name).matches(name)
    assert not parse_glob(name).matches(f"{name}x")


def test_each_repository_is_found_once_in_the_order_of_the_globs() -> None:
    there = [Repository(name) for name in ("a", "b/1", "b/2")]
    named = parse_named(["b/2", "registry.example.com/b/*", "c/*"], ADDRESS)
    found, empty = named.matching(there)
    assert found == ("b/2", "b/1")
    assert [glob.text for glob in empty] == ["c/*"]
    assert all(isinstance(glob, Glob) for glob in empty)


def matches(text: str, name: str) -> bool:
    """The same by brute force."""
    if not text:
        return not name
    if text.startswith("**/"):
        cuts = [0, *(place + 1 for place, sign in enumerate(name) if sign == "/")]
        return any(matches(text[3:], name[cut:]) for cut in cuts)
    if text.startswith("*"):
        crosses = text.startswith("**")
        rest = text[2:] if crosses else text[1:]
        whole = len(name) if crosses or "/" not in name else name.index("/")
        return any(matches(rest, name[cut:]) for cut in range(whole + 1))
    return bool(name) and (name[0] == text[0] or (text[0] == "?" and name[0] != "/")) and matches(text[1:], name[1:])

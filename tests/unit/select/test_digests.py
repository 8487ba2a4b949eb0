"""Manifests that are named by their digest, or by the beginning of it."""

from __future__ import annotations

import pytest

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Repository
from dregutil.select.digests import Beginning, parse_digests, select_digests

ONE, OTHER = Digest(f"sha256:{'ab' * 32}"), Digest(f"sha256:abcd{'0' * 60}")
LONG = Digest(f"sha512:{'ab' * 64}")


def test_whole_digests_and_beginnings() -> None:
    assert parse_digests([ONE, "abcd", "sha256:abcd", ONE]) == (
        ONE,
        Beginning("abcd", "abcd"),
        Beginning("sha256:abcd", "abcd", "sha256"),
    )


@pytest.mark.parametrize(
    "text", ["", "abc", "ABCD", "1.0", "sha256:", "sha256:xyz1", ":abcd", "shop/web@abcd", "a:b:abcd"]
)
def test_what_is_neither_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="neither a digest nor the beginning of one"):
        parse_digests([text])


def test_a_string_is_no_list() -> None:
    with pytest.raises(TypeError, match="list of digests"):
        parse_digests(ONE)


def test_a_beginning_names_the_only_one() -> None:
    (ab, abcd, sha512) = parse_digests(["abab", "abcd", "sha512:abab"])
    assert isinstance(ab, Beginning)
    assert isinstance(abcd, Beginning)
    assert isinstance(sha512, Beginning)
    assert abcd.only_one([ONE, OTHER, LONG]) == OTHER
    assert ab.only_one([ONE, ONE, OTHER]) == ONE
    assert sha512.only_one([ONE, OTHER, LONG]) == LONG
    assert ab.only_one([OTHER]) is None
    with pytest.raises(UsageError, match="abab is the beginning of 2 digests: sha256:abababababab, sha512:"):
        ab.only_one([ONE, LONG])


def test_each_digest_is_selected_once() -> None:
    chosen = select_digests(Repository("a"), [ONE, ONE], with_tags=True)
    assert [(entry.digest, entry.tags, entry.is_named, entry.with_tags) for entry in chosen.selected] == [
        (ONE, (), True, True)
    ]

"""WWW-Authenticate as servers write it, and as they should not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.registry.auth.challenge import Challenge, parse_challenges


def test_a_bearer_challenge_with_commas_inside_quotes() -> None:
    header = (
        'Bearer realm="https://auth.example.com/token",service="registry.example.com",'
        'scope="repository:a/b:pull,push repository:c:pull"'
    )

    (challenge,) = parse_challenges([header])

    assert challenge.scheme == "bearer"
    assert challenge.get("realm") == "https://auth.example.com/token"
    assert challenge.scopes == ("repository:a/b:pull,push", "repository:c:pull")


def test_several_headers_and_several_challenges_in_one() -> None:
    headers = ['Digest realm="a, b", nonce="n", qop="auth, auth-int", Basic realm="c"', "Negotiate", 'Bearer realm="d"']

    challenges = parse_challenges(headers)

    assert [challenge.scheme for challenge in challenges] == ["digest", "basic", "negotiate", "bearer"]
    assert challenges[0].parameters == {"realm": "a, b", "nonce": "n", "qop": "auth, auth-int"}
    assert challenges[1].parameters == {"realm": "c"}
    assert challenges[3].get("realm") == "d"


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("Basic", [("basic", {}, "")]),
        ("basic REALM=x", [("basic", {"realm": "x"}, "")]),
        ('Basic realm = "spaces around"', [("basic", {"realm": "spaces around"}, "")]),
        (r'Basic realm="a \"quoted\" \\ word"', [("basic", {"realm": 'a "quoted" \\ word'}, "")]),
        ('Basic realm="never closed', [("basic", {"realm": "never closed"}, "")]),
        ('Basic realm="ends in a backslash\\', [("basic", {"realm": "ends in a backslash"}, "")]),
        ('Basic realm=""', [("basic", {"realm": ""}, "")]),
        ("Bearer realm=https://a/t?x=1,service=b", [("bearer", {"realm": "https://a/t?x=1", "service": "b"}, "")]),
        ("Negotiate YII+/w==, Basic realm=x", [("negotiate", {}, "YII+/w=="), ("basic", {"realm": "x"}, "")]),
        ("Basic, Digest nonce=1", [("basic", {}, ""), ("digest", {"nonce": "1"}, "")]),
        ("Negotiate Basic", [("negotiate", {}, ""), ("basic", {}, "")]),
        (",, ,Basic realm=x,,", [("basic", {"realm": "x"}, "")]),
        ("Basic realm=a, realm=b", [("basic", {"realm": "a"}, "")]),
        ("Bearer scope=a, scope=b", [("bearer", {"scope": "a b"}, "")]),
        ('realm="of nobody"', []),
        ("", []),
        ('"\\', []),
        ("\x00\xff\n", []),
    ],
)
def test_one_header(header: str, expected: list[tuple[str, dict[str, str], str]]) -> None:
    assert parse_challenges([header]) == [Challenge(*parts) for parts in expected]


@given(st.lists(st.text(st.sampled_from('Basicerl=",\\ \t\n\x00é') | st.characters(), max_size=200), max_size=4))
def test_reading_is_total(headers: list[str]) -> None:
    for challenge in parse_challenges(headers):
        assert challenge.scheme == challenge.scheme.lower() != ""


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=100))
def test_a_quoted_value_is_read_unchanged(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')

    (challenge,) = parse_challenges([f'Basic realm="{quoted}", charset="UTF-8"'])

    assert challenge.parameters == {"realm": value, "charset": "UTF-8"}


@pytest.mark.parametrize("piece", ["a", "a ", "a=", 'a="', '\\"', "a,", " ", '="\\'])
def test_a_hostile_header_is_read_quickly(piece: str) -> None:
    started = time.process_time()

    assert len(parse_challenges([f"Basic {piece * 100_000}"] * 3)) <= 32

    assert time.process_time() - started < 2

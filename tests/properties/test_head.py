"""A head that the lane takes is read as aiohttp reads it; what aiohttp refuses, the lane does not take."""

from __future__ import annotations

import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.registry.http.head import LONGEST_HEAD, is_odd, read_head
from heads import HEAD, by_aiohttp, read_alike

PLAIN = {
    "a manifest": HEAD,
    "no reason": b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n",
    "an empty reason": b"HTTP/1.1 404 \r\nContent-Length: 0\r\n\r\n",
    "no fields": b"HTTP/1.1 200 OK\r\n\r\n",
    "empty values": b"HTTP/1.1 200 OK\r\nA:\r\nB:  \r\nContent-Length:7\r\n\r\n",
    "blanks around a value": b"HTTP/1.1 200 OK\r\nA: \t a\tb  c \t \r\n\r\n",
    "repeated names": b"HTTP/1.1 401 Who\r\nWWW-Authenticate: Basic\r\nwww-authenticate: Bearer\r\n\r\n",
    "close": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n",
    "keep-alive": b"HTTP/1.1 200 OK\r\nConnection: Keep-Alive\r\nContent-Length: 1\r\n\r\n",
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not modified": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    "a compressed body": b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n",
    "a redirect": b"HTTP/1.1 307 There\r\nLocation: /a\r\nContent-Length: 0\r\n\r\n",
    "many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 100 + b"\r\n",
    "long lines": b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"b" * 7990 + b"\r\n") * 8 + b"\r\n",
}
ODD = {
    "nothing": b"",
    "HTTP/1.0": HEAD.replace(b"1.1", b"1.0", 1),
    "HTTP/2": HEAD.replace(b"1.1", b"2.0", 1),
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "another protocol": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
    "a status of two digits": HEAD.replace(b"200", b"20", 1),
    "a status of four digits": HEAD.replace(b"200", b"2000", 1),
    "a body": HEAD + b"{}",
    "a second head": HEAD + HEAD,
    "not whole": HEAD[:-2],
    "a folded field": b"HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
    "bare line feeds": HEAD.replace(b"\r\n", b"\n"),
    "a bare carriage return": HEAD.replace(b"529", b"5\r29"),
    "a NUL": HEAD.replace(b"529", b"5\x0029"),
    "a character that is not ASCII": HEAD.replace(b"Etag: ", "Etag: ä".encode()),
    "a blank before the colon": HEAD.replace(b"Etag:", b"Etag :"),
    "no colon": HEAD.replace(b"Etag:", b"Etag"),
    "no name": HEAD.replace(b"Etag:", b":"),
    "chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
    "two lengths": HEAD.replace(b"Etag:", b"Content-Length:"),
    "a negative length": HEAD.replace(b"529", b"-529"),
    "a length of many digits": HEAD.replace(b"529", b"5" * 30),
    "no length in its field": HEAD.replace(b"529", b""),
    "an upgrade": HEAD.replace(b"Etag:", b"Upgrade:"),
    "a proxy's connection": HEAD.replace(b"Etag:", b"Proxy-Connection:"),
    "two options of the connection": HEAD.replace(b"Date:", b"Connection: close\r\nConnection: keep-alive\r\nDate:"),
    "a list of options of the connection": HEAD.replace(b"Date:", b"Connection: close, keep-alive\r\nDate:"),
    "another option of the connection": HEAD.replace(b"Date:", b"Connection: te\r\nDate:"),
    "too many fields": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
    "a long line": b"HTTP/1.1 200 OK\r\nA: " + b"b" * 9000 + b"\r\n\r\n",
    "a long reason": b"HTTP/1.1 200 " + b"b" * 9000 + b"\r\n\r\n",
    "too long": b"HTTP/1.1 200 OK\r\n" + (b"A: " + b"b" * 7000 + b"\r\n") * 10 + b"\r\n",
    "endless": b"HTTP/1.1 200 OK\r\nA: " + b"b" * (2 * LONGEST_HEAD),
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_head_is_taken_and_read_as_aiohttp_reads_it(name: str) -> None:
    assert read_alike(PLAIN[name])


@pytest.mark.parametrize("name", ODD)
def test_an_odd_head_is_left_to_aiohttp(name: str) -> None:
    started = time.process_time()
    assert read_head(ODD[name]) is None
    assert time.process_time() - started < 0.5


_NAMES = st.sampled_from(
    [
        "Content-Length",
        "Connection",
        "Transfer-Encoding",
        "Upgrade",
        "ETag",
        "Docker-Content-Digest",
        "Warning",
        "a",
        "X-b",
    ]
)
_VALUES = st.one_of(
    st.sampled_from(
        ["close", "keep-alive", "chunked", "identity", "0", "12", "012", "+1", "1, 1", "h2c", "", " ", "a b"]
    ),
    st.text(st.characters(max_codepoint=0x17F), max_size=12),
)
_FIELDS = st.lists(st.tuples(_NAMES, st.sampled_from([":", ": ", " :", ":\t", ""]), _VALUES), max_size=6)
_ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\n", "\r", "\r\n ", ""])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads, most of them nearly plain."""
    version = draw(st.sampled_from(["HTTP/1.1", "HTTP/1.1", "HTTP/1.1", "HTTP/1.0", "http/1.1", "HTTP/11"]))
    status = draw(st.sampled_from(["200", "200", "404", "204", "304", "100", "101", "99", "599", "2 0"]))
    reason = draw(st.sampled_from([" OK", "", " ", "\tOK", " a\x00b"]))
    lines = [f"{version} {status}{reason}", *(name + colon + value for name, colon, value in draw(_FIELDS))]
    found = "".join(line + draw(_ENDS) for line in lines) + "\r\n"
    return found.encode(errors="surrogateescape") + draw(st.sampled_from([b"", b"", b"", b"{}", b"\r\n"]))


@pytest.mark.property
@given(raw=heads())
def test_what_is_taken_aiohttp_reads_as_the_same(raw: bytes) -> None:
    read_alike(raw)


@pytest.mark.property
@given(start=st.integers(0, len(HEAD)), end=st.integers(0, len(HEAD)), middle=st.binary(max_size=12))
def test_a_changed_head_is_read_as_aiohttp_reads_it_or_left_to_it(start: int, end: int, middle: bytes) -> None:
    read_alike(HEAD[:start] + middle + HEAD[end:])


@pytest.mark.parametrize("name", ["bare line feeds", "a bare carriage return", "a NUL", "HTTP/1.0", "HTTP/2"])
def test_what_is_odd_is_not_waited_for(name: str) -> None:
    begun = ODD[name][:-2]
    assert is_odd(begun)
    assert any(is_odd(begun[:place], place - 1) for place in range(1, len(begun) + 1))
    assert is_odd(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    assert is_odd(b"\x15\x03\x03\x00\x02\x02\x28")


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_head_is_never_odd_before_it_is_whole(name: str) -> None:
    raw = PLAIN[name][:2000]
    assert not any(is_odd(raw[:place], place - 1) or is_odd(raw[:place]) for place in range(1, len(raw)))


@pytest.mark.property
@given(places=st.lists(st.integers(0, len(HEAD)), max_size=8))
def test_aiohttp_reads_a_head_in_parts_as_the_whole(places: list[int]) -> None:
    """So the lane may put the parts together first."""
    cuts = [0, *sorted(places), len(HEAD)]
    assert by_aiohttp(*(HEAD[a:b] for a, b in pairwise(cuts) if a < b)) == by_aiohttp(HEAD)

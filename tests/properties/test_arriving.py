"""An answer to GET that the lane takes is read as aiohttp reads it, in whatever parts it arrives."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.registry.http.arriving import LONGEST_ERROR, Arriving
from dregutil.registry.http.head import LONGEST_HEAD, Head
from heads import read_body_alike

LONGEST = 1000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
LONG = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\nContent-Type: application/json\r\n\r\n"
PLAIN = {
    "a length": (LONG + b'{"tags": []}', b'{"tags": []}'),
    "nothing": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "one chunk": (CHUNKED + b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
    "chunks": (
        CHUNKED + b"A\r\n0123456789\r\n001\r\n\n\r\na\r\n\r\n0\r\n\r\n123\r\n000\r\n\r\n",
        b"0123456789\n\r\n0\r\n\r\n123",
    ),
    "no chunk": (CHUNKED + b"0\r\n\r\n", b""),
    "close": (LONG.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + b"x" * 12, b"x" * 12),
    "the longest": (LONG.replace(b"12", b"1000") + b"x" * LONGEST, b"x" * LONGEST),
    "an error longer than other bodies": (
        b"HTTP/1.1 404 No\r\nContent-Length: 2000\r\n\r\n" + b"x" * 2000,
        b"x" * 2000,
    ),
    "upper case": (CHUNKED.replace(b"chunked", b"Chunked") + b"1\r\na\r\n0\r\n\r\n", b"a"),
}
ODD = {
    "more than its length": LONG + b"x" * 13,
    "too long": LONG.replace(b"12", b"1001"),
    "chunks that are too long": CHUNKED + b"3E8\r\n" + b"x" * 1000 + b"\r\n1\r\n",
    "an error that is too long": b"HTTP/1.1 404 No\r\nContent-Length: %d\r\n\r\n" % (LONGEST_ERROR + 1),
    "neither length nor chunks": b"HTTP/1.1 200 OK\r\n\r\n",
    "length and chunks": CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
    "two codings": CHUNKED.replace(b"chunked", b"gzip, chunked"),
    "chunked twice": CHUNKED.replace(b"\r\n\r\n", b"\r\nTransfer-Encoding: chunked\r\n\r\n"),
    "a compressed body": LONG.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n"),
    "no content with a length": b"HTTP/1.1 204 No Content\r\nContent-Length: 1\r\n\r\n",
    "an extension": CHUNKED + b"3;a=b\r\nabc\r\n",
    "a trailer": CHUNKED + b"0\r\nA: b\r\n\r\n",
    "more than the last chunk": CHUNKED + b"0\r\n\r\nHTTP/1.1",
    "a size with a sign": CHUNKED + b"+3\r\nabc\r\n",
    "a size with a blank": CHUNKED + b"3 \r\nabc\r\n",
    "a size with an underscore": CHUNKED + b"1_0\r\n",
    "no size": CHUNKED + b"\r\nabc\r\n",
    "a size of many digits": CHUNKED + b"000000003\r\nabc\r\n",
    "a chunk longer than its size": CHUNKED + b"3\r\nabcd\r\n",
    "no line end after a chunk": CHUNKED + b"3\r\nabcde0\r\n\r\n",
    "a bare line feed": CHUNKED + b"3\nabc\n",
    "not a size": CHUNKED + b"<html>",
    "HTTP/1.0": LONG.replace(b"1.1", b"1.0"),
    "an interim answer": b"HTTP/1.1 103 Early Hints\r\n\r\n",
    "a long head": b"HTTP/1.1 200 OK\r\nA: " + b"b" * LONGEST_HEAD,
}


def _read(*parts: bytes) -> tuple[bool, Head | None]:
    """Whether no more is waited for after `parts`, and what was found."""
    arriving = Arriving(LONGEST)
    for place, part in enumerate(parts):
        if arriving.take(part):
            # What comes after an answer is noticed by the connection.
            return place == len(parts) - 1, arriving.found if place == len(parts) - 1 else None
    return False, None


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_answer_is_taken_and_read_as_aiohttp_reads_it(name: str) -> None:
    raw, body = PLAIN[name]
    assert read_body_alike(raw)
    found = _read(raw)[1]
    assert found is not None
    assert found.body == body
    assert _read(*(raw[place : place + 1] for place in range(len(raw)))) == (True, found)
    assert all(_read(raw[:place], raw[place:]) == (True, found) for place in range(1, len(raw)))


@pytest.mark.parametrize("name", ODD)
def test_an_odd_answer_is_left_to_aiohttp_and_not_waited_for(name: str) -> None:
    raw = ODD[name]
    assert _read(raw) == (True, None)
    arriving = Arriving(LONGEST)
    assert any(arriving.take(raw[place : place + 1]) for place in range(len(raw)))
    assert arriving.found is None or len(raw) > raw.find(b"\r\n\r\n") + 4


@pytest.mark.parametrize("name", PLAIN)
def test_an_answer_that_is_cut_is_not_whole(name: str) -> None:
    raw = PLAIN[name][0]
    for place in range(len(raw)):
        arriving = Arriving(LONGEST)
        assert not arriving.take(raw[:place])
        assert arriving.found is None


_SIZES = st.sampled_from(
    ["0", "1", "3", "5", "A", "a", "03", "+3", "-1", "3;a=b", " 3", "3 ", "", "0x3", "3_0", "ffffffff"]
)
_ENDS = st.sampled_from(["\r\n", "\r\n", "\r\n", "\r\n", "\n", "\r", "", "ab"])


@st.composite
def chunked(draw: st.DrawFn) -> bytes:
    """Chunked answers, most of them nearly plain."""
    found = CHUNKED
    for size in draw(st.lists(st.integers(1, 20), max_size=4)):
        given_size = draw(st.one_of(st.just(f"{size:x}"), st.just(f"{size:x}"), st.just(f"{size:X}"), _SIZES))
        found += given_size.encode() + draw(_ENDS).encode() + b"x" * size + draw(_ENDS).encode()
    end = draw(
        st.sampled_from([b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\n\r\n", b"0\r\n", b"0\r\nA: b\r\n\r\n", b"", b"0\n\n"])
    )
    return found + end


@pytest.mark.property
@given(raw=chunked())
def test_chunks_are_read_as_aiohttp_reads_them(raw: bytes) -> None:
    read_body_alike(raw)


@pytest.mark.property
@given(name=st.sampled_from(list(PLAIN)), data=st.data(), middle=st.binary(max_size=6))
def test_a_changed_answer_is_read_as_aiohttp_reads_it_or_left_to_it(
    name: str, data: st.DataObject, middle: bytes
) -> None:
    raw = PLAIN[name][0]
    start, end = sorted(data.draw(st.tuples(st.integers(0, len(raw)), st.integers(0, len(raw)))))
    read_body_alike(raw[:start] + middle + raw[end:])


@pytest.mark.property
@given(raw=chunked(), places=st.lists(st.integers(0, 80), max_size=6))
def test_the_parts_in_which_an_answer_arrives_do_not_matter(raw: bytes, places: list[int]) -> None:
    cuts = [0, *sorted(place for place in places if place < len(raw)), len(raw)]
    whole = _read(raw)
    in_parts = _read(*(raw[a:b] for a, b in pairwise(cuts) if a < b))
    assert in_parts[1] == whole[1]

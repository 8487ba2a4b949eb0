"""Any external input is read, or refused with an error of dregutil, quickly, and with memory in proportion."""

from __future__ import annotations

import time
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parsers import PARSERS, accepts

_LONG = 200_000
# Inputs that break such parsers: depth, endless numbers, repeats that make expressions search for ever.
HOSTILE = {
    "nothing": b"",
    "NULs": b"\0" * 1000,
    "no UTF-8": b"\xff\xfe\x80{}",
    "a lone surrogate": b'{"errors":[{"code":"\\ud800","message":"\\udfff"}],"tags":["\\ud800"],"token":"\\ud800"}',
    "deep lists": b"[" * _LONG,
    "deep objects": b'{"a":' * _LONG,
    "deep, and closed": b'{"errors":[{"detail":' + b"[" * 5000 + b"]" * 5000 + b"}]}",
    "deep config": b'{"config":' + b"[" * 5000 + b"]" * 5000 + b',"tags":' + b"[" * 5000 + b"]" * 5000 + b"}",
    "a long number": b"9" * _LONG,
    "a long number within": b'{"size":' + b"9" * _LONG + b',"expires_in":1e999,"config":{"size":1e999}}',
    "a huge exponent": b'{"expires_in":"' + b"9" * 5000 + b'","created":1e308}',
    "long digits and dots": b"1." * (_LONG // 2) + b"x",
    "long letters": b"a" * _LONG,
    "long separators": b"a-_." * (_LONG // 4),
    "long dashes": b"a" + b"-" * _LONG + b"!",
    "quotes": b'a="' * (_LONG // 3),
    "backslashes": b'Bearer realm="' + b"\\" * _LONG,
    "commas": b"," * _LONG,
    "open links": b"<" * _LONG,
    "links' parameters": b"<a>" + b"; a=b" * (_LONG // 5) + b"\x00",
    "links' blanks": b"<a>;" + b" " * _LONG + b"x",
    "rel's blanks": b'<a>; rel="' + b" " * _LONG + b'nex"',
    "stars": b"*a" * 60,
    "stars in a row": b"?" + b"*" * 33 + b"[c]" * 8,
    "slashes": b"a/" * (_LONG // 2),
    "colons": b"sha256:" * (_LONG // 7),
    "a port": b"http://a:" + b"9" * 5000,
    "an address": b"http://[" + b":" * 5000 + b"]",
    "lines": b"{}\n" * 5000,
}


@pytest.mark.parametrize("name", PARSERS)
def test_valid_examples_are_read(name: str) -> None:
    assert any(accepts(PARSERS[name], seed) for seed in PARSERS[name].seeds)


@pytest.mark.parametrize("name", PARSERS)
@pytest.mark.parametrize("hostile", HOSTILE)
def test_hostile_examples_are_read_or_refused_at_once(name: str, hostile: str) -> None:
    started = time.process_time()
    accepts(PARSERS[name], HOSTILE[hostile])
    assert time.process_time() - started < 2


def _changed(seed: bytes) -> st.SearchStrategy[bytes]:
    """An example with a part replaced, repeated or removed."""
    place = st.integers(0, len(seed))
    return st.builds(
        lambda start, end, middle, times: seed[:start] + middle * times + seed[end:],
        place,
        place,
        st.one_of(st.binary(max_size=12), st.sampled_from([b'"', b"null", b"-1", b"[]", b"{}", b"1e999", b"\\u0000"])),
        st.integers(0, 3),
    )


@pytest.mark.property
@pytest.mark.parametrize("name", PARSERS)
@given(data=st.data())
def test_any_input_is_read_or_refused(name: str, data: st.DataObject) -> None:
    parser = PARSERS[name]
    raw = data.draw(st.one_of(st.binary(max_size=200), *(_changed(seed) for seed in parser.seeds)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        accepts(parser, raw)

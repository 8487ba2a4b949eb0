"""The head of an answer to HEAD, read, and the bytes of the request. Pure.

Accepts only heads that have a single reading. The caller repeats any other request with aiohttp, which reports what is
wrong. aiohttp reads every accepted head the same way (`tests/properties/test_head.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, istr

__all__ = ["LONGEST_HEAD", "Head", "is_odd", "is_whole", "read_head", "request_fields", "request_line"]

LONGEST_HEAD = 64 * 1024  # bytes
_LONGEST_LINE = 8000  # bytes; aiohttp refuses lines of more than 8190, and more than 128 of them
_MOST_FIELDS = 100
_END = b"\r\n\r\n"
# HTTP/1.1 and a final status, then fields in printable ASCII, none of them folded (RFC 9112 §4 and §5).
_PLAIN = re.compile(
    r"HTTP/1\.1 ([2-5][0-9][0-9])(?: [\t -~]*+)?+\r\n((?:[!#$%&'*+.^_`|~0-9A-Za-z-]++:[\t -~]*+\r\n)*+)\r\n"
)
_START = b"HTTP/1.1 "
_BEGUN = re.compile(rb"(?:[\t -~]|\r(?:\n|\Z)|(?<=\r)\n)*+")
_FIELD = re.compile(r"([^:]++):[\t ]*+([\t -~]*+)\r\n")
_CONNECTION, _LENGTH = istr("Connection"), istr("Content-Length")
# What makes aiohttp read an answer in another way, or refuse it.
_ODD = tuple(map(istr, ("Transfer-Encoding", "Upgrade", "Proxy-Connection", "Sec-WebSocket-Key1")))
_WITHOUT_LENGTH = frozenset((204, 304))
_TARGET = re.compile(r"/[!-~]*+")
_VALUE = re.compile(r"[\t -~]*+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")


class Head(NamedTuple):
    """A whole head. `keeps`: the connection may be used again."""

    status: int
    headers: CIMultiDictProxy[str]
    keeps: bool


def read_head(raw: bytes) -> Head | None:
    """The head that `raw` is; None if it is not a whole plain one, or has anything after it."""
    found = _PLAIN.fullmatch(raw.decode("latin-1")) if len(raw) <= LONGEST_HEAD else None
    if found is None or (len(raw) > _LONGEST_LINE and max(map(len, raw.split(b"\r\n"))) > _LONGEST_LINE):
        return None
    status, lines = found.groups()
    fields = _FIELD.findall(lines)
    if len(fields) > _MOST_FIELDS:
        return None
    if " \r\n" in lines or "\t\r\n" in lines:
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    headers = CIMultiDict(fields)
    lengths = headers.getall(_LENGTH, ())
    kept = [value.lower() for value in headers.getall(_CONNECTION, ())]
    if any(name in headers for name in _ODD) or not _is_plain(lengths) or kept not in ([], ["close"], ["keep-alive"]):
        return None
    # As aiohttp does: an answer without a length may be meant to end with the connection.
    keeps = kept != ["close"] and bool(lengths or int(status) in _WITHOUT_LENGTH)
    return Head(int(status), CIMultiDictProxy(headers), keeps)


def is_whole(raw: bytes | bytearray, since: int = 0) -> bool:
    """Whether `raw` has the end of a head, which was not in its first `since` bytes."""
    return raw.find(_END, max(0, since - len(_END) + 1)) >= 0


def is_odd(raw: bytes | bytearray, since: int = 0) -> bool:
    """Whether what has arrived of a head can no longer become a plain one. Its first `since` bytes still could.

    So a server that ends lines with a line feed alone, or does not speak HTTP, is not waited for.
    """
    start = max(0, since - 1)
    return not (raw[: len(_START)] == _START[: len(raw)] and _BEGUN.fullmatch(raw, start))


def request_line(target: str) -> bytes | None:
    """The first line of the request for `target`; None if it has a character that a URL cannot have."""
    return f"HEAD {target} HTTP/1.1\r\n".encode() if _TARGET.fullmatch(target) else None


def request_fields(host: str, defaults: Mapping[str, str], headers: Mapping[str, str]) -> bytes | None:
    """The fields of a request as aiohttp writes them, with the end of the head; None if one is not plain ASCII."""
    fields: CIMultiDict[str] = CIMultiDict({"Host": host, **defaults})
    fields.update(headers)
    fields.setdefault("Accept", "*/*")
    if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in fields.items()):
        return None
    return "".join([*(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]).encode()


def _is_plain(lengths: Sequence[str]) -> bool:
    """Whether there is no Content-Length, or one number of at most 18 digits."""
    return not lengths or (len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 19)

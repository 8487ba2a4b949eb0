"""The head of an answer, read, and the bytes of the request. Pure.

Accepts only heads that have a single reading. The caller repeats any other request with aiohttp, which reports what is
wrong. aiohttp reads every accepted head the same way (`tests/properties/test_head.py`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from multidict import CIMultiDict, CIMultiDictProxy, istr

__all__ = [
    "LONGEST_HEAD",
    "Framing",
    "Head",
    "is_odd",
    "is_whole",
    "read_framing",
    "read_head",
    "request_fields",
    "request_line",
]

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
_UPGRADE, _PROXY_CONNECTION, _WEB_SOCKET = istr("Upgrade"), istr("Proxy-Connection"), istr("Sec-WebSocket-Key1")
_TRANSFER_ENCODING, _CONTENT_ENCODING = istr("Transfer-Encoding"), istr("Content-Encoding")
_WITHOUT_LENGTH = frozenset((204, 304))
_TARGET = re.compile(r"/[!-~]*+")
_VALUE = re.compile(r"[\t -~]*+")
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]++")


class Head(NamedTuple):
    """A whole head, and the body after it. `keeps`: the connection may be used again."""

    status: int
    headers: CIMultiDictProxy[str]
    keeps: bool
    body: bytes = b""


class Framing(NamedTuple):
    """A head before its body, which has `length` bytes; None if it comes in chunks."""

    head: Head
    length: int | None


def read_head(raw: bytes) -> Head | None:
    """The head that `raw` is, for a request without a body in its answer; None if it is not a whole plain one, or has
    anything after it."""
    read = _read(raw)
    if read is None or _TRANSFER_ENCODING in read[1]:
        return None
    status, headers, lengths, is_last = read
    # As aiohttp does: an answer without a length may be meant to end with the connection.
    keeps = not is_last and bool(lengths or status in _WITHOUT_LENGTH)
    return Head(status, CIMultiDictProxy(headers), keeps)


def read_framing(raw: bytes) -> Framing | None:
    """The head that `raw` is, before a body that ends by itself and is not compressed; None for any other one."""
    read = _read(raw)
    if read is None or _CONTENT_ENCODING in read[1]:
        return None
    status, headers, lengths, is_last = read
    codings = headers.getall(_TRANSFER_ENCODING, ())
    head = Head(status, CIMultiDictProxy(headers), not is_last)
    if status in _WITHOUT_LENGTH:
        return None if codings or lengths not in ((), ["0"]) else Framing(head, 0)
    if codings:
        return Framing(head, None) if not lengths and [name.lower() for name in codings] == ["chunked"] else None
    return Framing(head, int(lengths[0])) if lengths else None


def _read(raw: bytes) -> tuple[int, CIMultiDict[str], Sequence[str], bool] | None:
    """Status, headers, lengths, and whether the connection is closed after it; None if `raw` is no plain head."""
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
    if _UPGRADE in headers or _PROXY_CONNECTION in headers or _WEB_SOCKET in headers:
        return None
    lengths = headers.getall(_LENGTH, ())
    if lengths and not _is_plain(lengths):
        return None
    kept = [value.lower() for value in headers.getall(_CONNECTION)] if _CONNECTION in headers else []
    if kept not in ([], ["close"], ["keep-alive"]):
        return None
    return int(status), headers, lengths, kept == ["close"]


def is_whole(raw: bytes | bytearray, since: int = 0) -> bool:
    """Whether `raw` has the end of a head, which was not in its first `since` bytes."""
    return raw.endswith(_END) or raw.find(_END, max(0, since - len(_END) + 1)) >= 0


def is_odd(raw: bytes | bytearray, since: int = 0) -> bool:
    """Whether what has arrived of a head can no longer become a plain one. Its first `since` bytes still could.

    So a server that ends lines with a line feed alone, or does not speak HTTP, is not waited for.
    """
    start = max(0, since - 1)
    return not (raw[: len(_START)] == _START[: len(raw)] and _BEGUN.fullmatch(raw, start))


def request_line(method: str, target: str) -> bytes | None:
    """The first line of the request for `target`; None if it has a character that a URL cannot have."""
    return f"{method} {target} HTTP/1.1\r\n".encode() if _TARGET.fullmatch(target) else None


def request_fields(host: str, defaults: Mapping[str, str], headers: Mapping[str, str]) -> bytes | None:
    """The fields of a request as aiohttp writes them, with the end of the head; None if one is not plain ASCII."""
    fields: CIMultiDict[str] = CIMultiDict({"Host": host, **defaults})
    fields.update(headers)
    fields.setdefault("Accept", "*/*")
    if not all(_NAME.fullmatch(name) and _VALUE.fullmatch(value) for name, value in fields.items()):
        return None
    return "".join([*(f"{name}: {value}\r\n" for name, value in fields.items()), "\r\n"]).encode()


def _is_plain(lengths: Sequence[str]) -> bool:
    """Whether there is one Content-Length, a number of at most 18 digits."""
    return len(lengths) == 1 and lengths[0].isdigit() and len(lengths[0]) < 19

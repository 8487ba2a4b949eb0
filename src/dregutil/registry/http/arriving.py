"""The answer to a GET as it arrives: a plain head, and a body that ends by itself. Pure.

The body has a length, or chunks without extensions and trailers (RFC 9112 §7.1). The caller repeats any other request
with aiohttp, which reads every accepted answer the same way (`tests/properties/test_arriving.py`).
"""

from __future__ import annotations

import re

from dregutil.registry.http.head import LONGEST_HEAD, Framing, Head, is_odd, read_framing

__all__ = ["LONGEST_ERROR", "Arriving"]

LONGEST_ERROR = 64 * 1024  # bytes of the body of an error
_END, _LINE_END = b"\r\n\r\n", b"\r\n"
_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_SIZE_BEGUN = re.compile(rb"[0-9A-Fa-f]{0,8}|[0-9A-Fa-f]{1,8}\r")
_LONGEST_SIZE = 8 + len(_LINE_END)  # bytes, with the end of the line


class Arriving:
    """`found` is the answer once it has arrived as a whole; None if it is not a plain one."""

    __slots__ = ("_body", "_framing", "_longest", "_raw", "found")

    def __init__(self, longest: int) -> None:
        """An answer with a body of more than `longest` bytes is not a plain one."""
        self.found: Head | None = None
        self._longest = longest
        self._framing: Framing | None = None
        self._raw = bytearray()  # what was not read yet
        self._body = bytearray()

    @property
    def has_begun(self) -> bool:
        """Whether the head has arrived, so that only the body is missing."""
        return self._framing is not None

    def take(self, data: bytes) -> bool:
        """Read what has arrived. True if nothing more is to be read: the answer is whole, or odd."""
        seen = len(self._raw)
        self._raw += data
        if self._framing is None:
            end = self._raw.find(_END, max(0, seen - len(_END) + 1))
            if end < 0:
                return len(self._raw) > LONGEST_HEAD or is_odd(self._raw, seen)
            end += len(_END)
            framing = read_framing(bytes(self._raw[:end]))
            if framing is None:
                return True
            self._framing = framing
            if framing.head.status >= 400:
                self._longest = LONGEST_ERROR  # whose text is shown
            del self._raw[:end]
        length = self._framing.length
        return self._take_chunks(self._framing.head) if length is None else self._take(self._framing.head, length)

    def _take(self, head: Head, length: int) -> bool:
        if length > self._longest:
            return True
        if len(self._raw) == length:
            self.found = head._replace(body=bytes(self._raw))
        return len(self._raw) >= length

    def _take_chunks(self, head: Head) -> bool:
        raw, start = self._raw, 0
        while (line := raw.find(_LINE_END, start, start + _LONGEST_SIZE)) >= 0:
            digits = raw[start:line]
            size = int(digits, 16) if _SIZE.fullmatch(digits) else self._longest + 1
            first, end = line + len(_LINE_END), line + len(_LINE_END) + size
            after = bytes(raw[end : end + len(_LINE_END)])
            if len(self._body) + size > self._longest or not _LINE_END.startswith(after):
                return True
            if len(raw) < end + len(_LINE_END):  # the chunk has not arrived as a whole
                del raw[:start]
                return False
            self._body += raw[first:end]
            start = end + len(_LINE_END)
            if not size:
                if len(raw) == start:
                    self.found = head._replace(body=bytes(self._body))
                return True
        del raw[:start]
        return not _SIZE_BEGUN.fullmatch(raw)

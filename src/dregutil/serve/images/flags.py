"""Which rows of a column are meant, as one byte for each: 1 or 0. Pure.

A million rows are looked at by operations on whole columns, which are loops in C: in hundredths of a second, where a
loop in Python, or a query of SQLite that returns each row, takes half a second.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Sequence
from itertools import chain, compress, islice

__all__ = [
    "Order",
    "at_rows",
    "begun_by",
    "both",
    "containing",
    "either",
    "ended_by",
    "greater",
    "page",
    "repeated",
    "smaller",
]

_HIT = b"\x01"
_LINE = b"\n"
_FIRST = 0x20  # the first character that is not a control character
_REST = bytes(set(range(256)) - {_HIT[0], _LINE[0]})
_AS_FLAGS = bytes.maketrans(_LINE + _HIT, b"\x00\x01")


def containing(lines: bytes, word: bytes, rows: int) -> bytes:
    """The lines that contain `word`. Each of the `rows` lines begins with a newline, and has no control characters."""
    if not word:
        return _HIT * rows
    return _flags(lines, word, _HIT) if _can_be(word, lines) else bytes(rows)


def begun_by(lines: bytes, word: bytes, rows: int) -> bytes:
    """The lines that begin with `word`."""
    if not word:
        return _HIT * rows
    return _flags(lines, _LINE + word, _LINE + _HIT) if _can_be(word, lines) else bytes(rows)


def ended_by(lines: bytes, word: bytes, rows: int) -> bytes:
    """The lines that end with `word`."""
    if not word:
        return _HIT * rows
    return _flags(lines + _LINE, word + _LINE, _HIT + _LINE)[:rows] if _can_be(word, lines) else bytes(rows)


def _can_be(word: bytes, lines: bytes) -> bool:
    return min(word) >= _FIRST and word in lines


def _flags(lines: bytes, word: bytes, mark: bytes) -> bytes:
    """Where the word is, is a mark; then everything else but the newlines is taken out, and what is left of a line is
    its flag."""
    if len(word) == 1:  # in one pass
        left = lines.translate(bytes.maketrans(word, _HIT), _REST.replace(word, b""))
    else:
        left = lines.replace(word, mark).translate(None, _REST)
    while _HIT + _HIT in left:
        left = left.replace(_HIT + _HIT, _HIT)
    return left.replace(_LINE + _HIT, _HIT).translate(_AS_FLAGS)


def both(one: bytes, other: bytes) -> bytes:
    """The rows of both."""
    return (int.from_bytes(one, "little") & int.from_bytes(other, "little")).to_bytes(len(one), "little")


def either(one: bytes, other: bytes) -> bytes:
    """The rows of one or the other."""
    return (int.from_bytes(one, "little") | int.from_bytes(other, "little")).to_bytes(len(one), "little")


def repeated(flags: bytes, times: Iterable[int]) -> bytes:
    """Each flag as often as the number beside it says."""
    units = (b"\x00", b"\x01")
    return b"".join([units[flag] * number for flag, number in zip(flags, times, strict=True)])


def at_rows(rows: Iterable[int], number: int) -> bytes:
    """These rows of `number`."""
    found = bytearray(number)
    for row in rows:
        found[row] = 1
    return bytes(found)


def smaller(values: Sequence[int], than: int) -> bytes:
    """The rows with a value less than `than`."""
    return bytes(map(than.__gt__, values))


def greater(values: Sequence[int], than: int) -> bytes:
    """The rows with a value greater than `than`."""
    return bytes(map(than.__lt__, values))


class Order:
    """The rows in the order of a column: the first `known` by their value, then those without one, as they come."""

    def __init__(self, rows: array[int] | range, known: int) -> None:
        self._rows = rows
        self._known = known

    def __len__(self) -> int:
        return len(self._rows)

    def forward(self, *, is_descending: bool) -> Iterable[int]:
        if not is_descending:
            return self._rows
        return chain(reversed(self._rows[: self._known]), self._rows[self._known :])

    def backward(self, *, is_descending: bool) -> Iterable[int]:
        if not is_descending:
            return reversed(self._rows)
        return chain(reversed(self._rows[self._known :]), self._rows[: self._known])


def page(flags: bytes | None, order: Order, offset: int, limit: int, *, is_descending: bool) -> tuple[int, list[int]]:
    """How many rows are flagged (None: all), and `limit` of them from `offset` on, in order. It is counted from the
    nearer end."""
    total = len(order) if flags is None else flags.count(1)
    limit = max(0, min(limit, total - offset))
    if not limit:
        return total, []
    if offset <= total // 2:
        return total, _taken(flags, order.forward(is_descending=is_descending), offset, limit)
    found = _taken(flags, order.backward(is_descending=is_descending), total - offset - limit, limit)
    return total, found[::-1]


def _taken(flags: bytes | None, rows: Iterable[int], offset: int, limit: int) -> list[int]:
    if flags is None:
        return list(islice(rows, offset, offset + limit))
    found = compress(rows, flags) if isinstance(rows, range) else filter(flags.__getitem__, rows)
    return list(islice(found, offset, offset + limit))

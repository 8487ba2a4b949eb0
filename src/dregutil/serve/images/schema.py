"""The tables of the index, and how a property of an image becomes a number.

The file is written once and never changed; another one takes its place. Rows are in the order of their repository and
tag, from 0. What is looked at for a million rows at once is one value a row in a BLOB; the rest is in the table
`image`, of which a page's rows are read.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence

from dregutil.oci.names import Digest

__all__ = [
    "COLUMNS",
    "KEEP",
    "LAST",
    "ORDERS",
    "REMOVE",
    "TABLES",
    "UNKNOWN",
    "VERSION",
    "Terms",
    "joined",
    "listed",
    "packed_rows",
    "unpacked_rows",
]

VERSION = f"1 {sys.byteorder}"
"""An index of another version is not read: it is built again."""

KEEP, REMOVE = 1, 2
"""The verdict of a row; 0 is none."""

LAST = (1 << 63) - 1
"""Stands for a date that is not known: it is never older than another."""

UNKNOWN = -1
"""Stands for a size that is not known: it is never larger than another."""

ORDERS = ("name", "created", "pulled", "size", "frees")
"""The orders that are kept; by repository is that of the rows themselves."""

COLUMNS = ("verdict", "held", "created", "size")

TABLES = (
    "CREATE TABLE meta (name TEXT PRIMARY KEY, value) WITHOUT ROWID",
    # `rows`: how many tags it has; `first`: the row of the first one.
    "CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL, first INTEGER NOT NULL,"
    " rows INTEGER NOT NULL)",
    # Times are seconds since 1970, sizes bytes, `digest` and `chains` bytes; NULL: not known. `below`: the digests of
    # the children, with spaces between them.
    "CREATE TABLE image (id INTEGER PRIMARY KEY, repository INTEGER NOT NULL, tag TEXT NOT NULL, digest BLOB NOT NULL,"
    " created INTEGER, pulled INTEGER, size INTEGER, frees INTEGER, platforms INTEGER, verdict INTEGER NOT NULL,"
    " because INTEGER, held INTEGER NOT NULL, chains BLOB, below TEXT)",
    # Texts that many rows share: platforms, as JSON, and reasons.
    "CREATE TABLE shared (id INTEGER PRIMARY KEY, text TEXT NOT NULL)",
    # The tags of some rows in lower case, each after a newline.
    "CREATE TABLE names (first INTEGER PRIMARY KEY, rows INTEGER NOT NULL, lines BLOB NOT NULL)",
    "CREATE TABLE ordered (name TEXT PRIMARY KEY, known INTEGER NOT NULL, rows BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE valued (name TEXT PRIMARY KEY, data BLOB NOT NULL) WITHOUT ROWID",
    "CREATE TABLE platform (name TEXT PRIMARY KEY) WITHOUT ROWID",
    # The rows that have a property, in one of two forms.
    "CREATE TABLE posting (term INTEGER PRIMARY KEY, number INTEGER NOT NULL, rows BLOB NOT NULL)",
)
AFTERWARDS = ("CREATE INDEX image_digest ON image (digest)",)

_DENSE = 32  # of so many rows one has it: then a flag for each row is shorter than a list


class Terms:
    """The number of each property: 63 bits of a keyed hash, so that nobody can make two labels that share one. `salt`
    is the index's own key. What was hashed lately is not hashed again."""

    _MOST_KNOWN = 50_000

    def __init__(self, salt: bytes) -> None:
        self._salt = salt
        self._known: dict[bytes, int] = {}

    def label(self, key: str, value: str | None = None) -> int:
        """A label with a key; with a value, if one is given."""
        return self._of(b"k", key) if value is None else self._of(b"l", f"{len(key)}:{key}={value}")

    def platform(self, name: str) -> int:
        return self._of(b"p", name)

    def layer(self, digest: Digest) -> int:
        return self._of(b"d", digest)

    def child(self, digest: Digest) -> int:
        """A manifest in an index."""
        return self._of(b"i", digest)

    def chains(self, layers: Iterable[Digest]) -> list[int]:
        """Of layers from the base on: of the first, of the first two, and so on. The last stands for all of them."""
        found: list[int] = []
        for layer in layers:
            found.append(self._hash(b"c" + (found[-1] if found else 0).to_bytes(8, "big") + layer.key))
        return found

    def _of(self, kind: bytes, text: str) -> int:
        return self._hash(kind + text.encode("utf-8", "surrogatepass"))

    def _hash(self, raw: bytes) -> int:
        known = self._known.get(raw)
        if known is None:
            found = hashlib.blake2b(raw, digest_size=8, key=self._salt).digest()
            known = int.from_bytes(found, "big") >> 1
            if len(self._known) >= self._MOST_KNOWN:
                self._known.clear()
            if len(raw) < 300:
                self._known[raw] = known
        return known


def joined(texts: Sequence[str]) -> str:
    """Texts as one, that `listed` takes apart; empty for none."""
    return json.dumps(texts) if texts else ""


def listed(text: str | None) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


def packed_rows(rows: Sequence[int], number: int) -> bytes:
    """Rows of `number`, as they are kept: a list, or a flag for each of all rows."""
    if len(rows) * _DENSE < number:
        return b"L" + array("I", rows).tobytes()
    flags = bytearray(number)
    for row in rows:
        flags[row] = 1
    return b"F" + zlib.compress(flags, 1)


def unpacked_rows(packed: bytes, number: int) -> bytes:
    """A flag for each of `number` rows."""
    if packed[:1] == b"F":
        return zlib.decompress(packed[1:])
    rows = array("I")
    rows.frombytes(packed[1:])
    found = bytearray(number)
    for row in rows:
        found[row] = 1
    return bytes(found)

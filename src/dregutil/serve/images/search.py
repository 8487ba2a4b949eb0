"""A query → the rows of an index that it means, and a page of them.

Conditions are looked at one after another, those first that cost least; the flags of the last queries are kept, so
that another page or another order of the same query only reads an order.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import compress

from dregutil.errors import UsageError
from dregutil.oci.names import Digest, Reference, Tag
from dregutil.select.platforms import is_for
from dregutil.serve.images.flags import (
    at_rows,
    begun_by,
    both,
    containing,
    either,
    ended_by,
    greater,
    page,
    repeated,
    smaller,
)
from dregutil.serve.images.index import ImageIndex, ImageRow
from dregutil.serve.images.query import DigestPrefix, Query
from dregutil.serve.images.schema import KEEP, ORDERS, REMOVE

__all__ = ["SORTS", "Found", "Holders", "Searcher", "holders"]

SORTS = ("repository", *ORDERS)

_KEPT = 8  # queries
_MOST_MEANT = 200  # properties
_FRESH = 60  # seconds for which what is older stays the same
_LATEST = Tag("latest")
_LENGTHS = {"sha256": 32, "sha384": 48, "sha512": 64, "": None}  # bytes
_VERDICTS = {"remove": REMOVE, "keep": KEEP}


@dataclass(frozen=True, slots=True)
class Found:
    """How many rows were found, and some of them."""

    total: int
    rows: list[ImageRow]


class Searcher:
    """Searches one index. Used by one thread at a time. Every method raises CacheError."""

    def __init__(self, index: ImageIndex) -> None:
        self.index = index
        self._repositories: list[tuple[str, int]] | None = None
        self._kept: OrderedDict[tuple[Query, int], bytes] = OrderedDict()

    def search(
        self,
        query: Query,
        *,
        sort: str = "repository",
        is_descending: bool = False,
        offset: int = 0,
        limit: int = 100,
        now: datetime | None = None,
    ) -> Found:
        """The rows of a query from `offset` on, in the order of one of SORTS; what is not known comes last. `now` is
        the moment that ages count from. Raises UsageError for a base that is not there, and for a term that means too
        much."""
        flags = None if query.is_empty else self.flags(query, now)
        order = self.index.order("" if sort == "repository" else sort)
        total, rows = page(flags, order, offset, limit, is_descending=is_descending)
        return Found(total, self.index.images(rows))

    def flags(self, query: Query, now: datetime | None = None) -> bytes:
        """A flag for each row. `now` is the moment that ages count from."""
        now = now or datetime.now(UTC)
        key = query, int(now.timestamp()) // _FRESH if query.older else 0
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        found: bytes | None = None
        for flags in self._conditions(query, now):
            found = flags if found is None else both(found, flags)
            if not found.count(1):
                break
        found = b"\x01" * self.index.rows if found is None else found
        self._kept[key] = found
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return found

    def _conditions(self, query: Query, now: datetime) -> Iterator[bytes]:
        """The flags of each condition, one after another as they are asked for."""
        index, terms = self.index, self.index.terms
        yield from map(self._beginning, query.digests)
        for layer in query.layers:
            yield index.having(terms.layer(layer))
        for label in query.labels:
            yield index.having(terms.label(label.key, label.value))
        for base in query.bases:
            yield self._any(self._chains_of(base), f"base:{base}")
        for platform in query.platforms:
            named = [terms.platform(name) for name in index.platforms() if is_for(name, platform)]
            yield self._any(named, f"platform:{platform}")
        yield from map(self._in_state, query.states)
        yield from map(self._named, sorted(query.words, key=len, reverse=True))
        if query.larger:
            yield greater(index.numbers("size"), max(query.larger))
        if query.older:
            yield smaller(index.numbers("created"), int((now - max(query.older)).timestamp()))

    def _any(self, terms: list[int], asked: str) -> bytes:
        """The rows with any of these properties. Raises UsageError for more than can be looked at in time."""
        if len(terms) > _MOST_MEANT:
            raise UsageError(
                f"{asked[:200]} means {len(terms):,} things, and at most {_MOST_MEANT} are searched for",
                advice="write more of it, or leave it out",
            )
        found = bytes(self.index.rows)
        for term in terms:
            found = either(found, self.index.having(term))
        return found

    def _beginning(self, prefix: DigestPrefix) -> bytes:
        return at_rows(_rows_beginning(self.index, prefix), self.index.rows)

    def _in_state(self, state: str) -> bytes:
        if state == "held":
            return self.index.column("held")
        wanted = _VERDICTS[state]
        table = bytes(number == wanted for number in range(256))
        return self.index.column("verdict").translate(table)

    def _chains_of(self, base: Reference) -> list[int]:
        """What stands for the layers of a base. Raises UsageError if there are none to compare."""
        image = None if base.digest is not None else self.index.image(base.repository, base.tag or _LATEST)
        digest = base.digest or (None if image is None else image.digest)
        if digest is None:
            raise UsageError(f"base:{base}: there is no such image", advice="name a tag that the registry has")
        found = self.index.chains(digest)
        if not found:
            raise UsageError(
                f"base:{base}: its layers are not known", advice="it has none, it was not read, or no tag is on it"
            )
        return found

    def _named(self, word: str) -> bytes:
        """The rows that have a word (in lower case) in `repository:tag`."""
        if not word.isascii() or word.count(":") > 1:
            return bytes(self.index.rows)
        raw = word.encode()
        if ":" not in word:
            places = self._places(containing, raw)
            return self._tags(lambda lines, rows: containing(lines, raw, rows), places, is_either=True)
        end, _, beginning = raw.partition(b":")
        places = self._places(ended_by, end)
        return self._tags(lambda lines, rows: begun_by(lines, beginning, rows), places, is_either=False)

    def _places(self, how: Callable[[bytes, bytes, int], bytes], word: bytes) -> bytes:
        """A flag for each row, by its repository."""
        if self._repositories is None:
            self._repositories = self.index.repositories()
        names = "".join(f"\n{name}" for name, _ in self._repositories).encode()
        flags = how(names, word, len(self._repositories))
        return repeated(flags, [rows for _, rows in self._repositories])

    def _tags(self, how: Callable[[bytes, int], bytes], places: bytes, *, is_either: bool) -> bytes:
        """A flag for each row: by its tag or its repository, or by both."""
        found = []
        for first, rows, lines in self.index.names():
            here = places[first : first + rows]
            decided = b"\x01" if is_either else b"\x00"
            if here.count(decided) == rows:  # the tags change nothing
                found.append(here)
            else:
                found.append((either if is_either else both)(here, how(lines, rows)))
        return b"".join(found)


@dataclass(frozen=True, slots=True)
class Holders:
    """The tags that lead to a digest: those on it, then those on what has it as a child or layer. `rows` are at most
    as many as were asked for, `more` counts the others. `is_layer`: only as a layer."""

    rows: list[ImageRow]
    more: int
    is_layer: bool


def holders(index: ImageIndex, digest: Digest, most: int) -> Holders:
    """The tags that lead to a digest: a manifest, or a layer."""
    on_it = _rows_beginning(index, DigestPrefix(digest.hex, digest.algorithm))
    child, layer = index.having(index.terms.child(digest)), index.having(index.terms.layer(digest))
    above = [*compress(range(index.rows), either(child, layer))]
    rows = [*dict.fromkeys((*sorted(on_it), *above))]
    is_layer = not on_it and not child.count(1) and bool(above)
    return Holders(index.images(rows[:most]), len(rows[most:]), is_layer)


def _rows_beginning(index: ImageIndex, prefix: DigestPrefix) -> list[int]:
    odd = len(prefix.hex) % 2
    low = bytes.fromhex(prefix.hex + "0" * odd)
    high = bytes.fromhex(prefix.hex + "f" * odd) + b"\xff" * 64
    return index.rows_between(low, high, _LENGTHS[prefix.algorithm])

"""What an index that is replaced says of tags that are still on the same digest: contents never change, so they are not
read again. A million images take minutes to read, and seconds to take over."""

from __future__ import annotations

from array import array
from collections.abc import Generator, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from heapq import merge
from itertools import chain, compress, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

from dregutil.errors import CacheError
from dregutil.oci.names import Digest, Repository, Tag, registry_key
from dregutil.serve.images.facts import ImageFacts
from dregutil.serve.images.index import ImageIndex
from dregutil.serve.images.schema import listed, packed_rows, unpacked_rows

__all__ = ["Former"]

_GONE = -1
_TAKEN_OVER_FOR = timedelta(days=7)


class Former:
    """The rows of the former index, which are walked through in their order. `index` is None if there is none."""

    def __init__(self, index: ImageIndex | None) -> None:
        self._index = index
        self._rows = _nothing() if index is None else index.stored()
        self._next: tuple[Any, ...] | None = next(self._rows, None)
        self._moved = array("i", [_GONE]) * (0 if index is None else index.rows)
        self._taken = 0

    @classmethod
    def open(cls, path: Path, registry: str, now: datetime) -> Former:
        """That in a file, if it can be used, is of this registry (its identity), and not taken over for too long: what
        a disk has damaged in it would stay."""
        with suppress(CacheError):
            index = ImageIndex.open(path)
            if index is not None:
                is_of_it = registry_key(index.registry) == registry_key(registry)
                if is_of_it and abs(now - index.whole) < _TAKEN_OVER_FOR:
                    return cls(index)
                index.close()
        return cls(None)

    @property
    def salt(self) -> bytes | None:
        """The key of the former index; None if there is none."""
        return None if self._index is None else self._index.salt

    @property
    def whole(self) -> datetime | None:
        """When the contents of all images were last read for an index; None if there is none."""
        return None if self._index is None else self._index.whole

    def close(self) -> None:
        self._rows.close()
        if self._index is not None:
            self._index.close()

    def take(self, repository: Repository, tag: Tag, digest: Digest, row: int) -> ImageFacts | None:
        """What is known of a tag, which is now in a row; None if it was not there, was on another digest, or was not
        read. Tags are asked for in the order of the rows."""
        while self._next is not None and (self._next[1], self._next[2]) < (repository, tag):
            self._next = next(self._rows, None)
        if self._next is None or (self._next[1], self._next[2], self._next[3]) != (repository, tag, digest.key):
            return None
        former, _, _, _, created, size, platforms, chains, below = self._next
        if created is None or size is None:  # a date in the future may have passed
            return None
        self._moved[former] = row
        self._taken += 1
        return ImageFacts(
            created,
            size,
            listed(platforms),
            chains={int.from_bytes(chains[at : at + 8], "big"): True for at in range(0, len(chains or b""), 8)},
            below=tuple(map(Digest, (below or "").split())),
        )

    def postings(self, added: Iterator[tuple[int, int]], number: int) -> Iterator[tuple[int, int, bytes]]:
        """The properties of all `number` rows: of those that were taken over, and those that are `added` (a property
        and a row, sorted). Each with how many rows have it, and these as they are kept."""
        new = ((term, array("I", map(itemgetter(1), rows))) for term, rows in groupby(added, key=itemgetter(0)))
        if self._index is None or not self._taken:
            yield from ((term, len(rows), packed_rows(rows, number)) for term, rows in new)
            return
        if self._taken == len(self._moved) == number:  # then nothing is new, and each row is where it was
            yield from self._index.postings()
            return
        former = ((term, self._now(packed)) for term, _, packed in self._index.postings())
        for term, parts in groupby(merge(new, former, key=itemgetter(0)), key=itemgetter(0)):
            found = [some for _, some in parts]  # no row is in two of them
            rows = found[0] if len(found) == 1 else array("I", sorted(chain(*found)))
            if rows:
                yield term, len(rows), packed_rows(rows, number)

    def _now(self, packed: bytes) -> array[int]:
        """The rows where those of the former index are now, of those that were taken over."""
        flags = unpacked_rows(packed, len(self._moved)) if packed[:1] == b"F" else None
        if flags is not None:
            return array("I", (row for row in compress(self._moved, flags) if row != _GONE))
        rows = array("I")
        rows.frombytes(packed[1:])
        return array("I", (row for row in map(self._moved.__getitem__, rows) if row != _GONE))


def _nothing() -> Generator[tuple[Any, ...], None, None]:
    yield from ()

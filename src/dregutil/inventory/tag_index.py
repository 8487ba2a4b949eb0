"""The tags of a large cache file by digest, in a file beside the content database: `find` need not read them all.

It is made from the cache file, and is good for that file alone, as it was then: `fingerprint` says which. It is safe to
delete. Each part has a checksum; if one does not match, the index is not used.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import sys
import time
import zlib
from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import suppress
from itertools import chain
from pathlib import Path
from struct import Struct
from typing import Self

from dregutil.files import make_private_folder, write_atomically
from dregutil.inventory.packed_tags import PackedTags
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["DamagedIndexError", "TagIndex", "fingerprint", "write_tag_index"]

_MAGIC = f"dregutil tags 1 {sys.byteorder}".encode().ljust(32)
_HEAD = Struct("=32s32s16sII")  # magic, fingerprint, token, number of repositories, checksum of the tables
_BUCKETS = 1 << 16  # by the first two bytes of a digest
_RECORD = Struct("=8sI")  # the first bytes of a digest or of a repository's own key, and the repository's number
_TEXT = Struct("=I")  # the bytes of text in a repository's segment, before its digests
_SETTLED_NS = 2_000_000_000  # a file that is younger may be written again without another time


class DamagedIndexError(Exception):
    """A part of an index does not match its checksum."""


def fingerprint(path: Path) -> bytes | None:
    """What changes when a file is written or replaced; None if there is none, or it was written in the last seconds."""
    try:
        found = path.stat()
    except OSError:
        return None
    if abs(time.time_ns() - max(found.st_mtime_ns, found.st_ctime_ns)) < _SETTLED_NS:
        return None
    values = (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    return hashlib.sha256(repr(values).encode()).digest()


def write_tag_index(path: Path, inventory: Inventory, made_from: bytes, token: bytes) -> None:
    """Write the index of an inventory, private to its owner. `made_from` is the fingerprint of the cache file, `token`
    16 bytes. Raises OSError."""
    held = inventory.packed()
    buckets: defaultdict[bytes, bytearray] = defaultdict(bytearray)
    for number, (name, tags) in enumerate(held.items()):
        for key in {_name_key(name), *tags.keys_of_digests()}:
            buckets[key[:2]] += _RECORD.pack(key[:8], number)

    def records() -> Iterator[bytes]:
        return (bytes(buckets.get(number.to_bytes(2, "big"), b"")) for number in range(_BUCKETS))

    def segments() -> Iterator[bytes]:
        return (_segment(name, tags) for name, tags in held.items())

    tables = _table(records()) + _table(segments())
    head = _HEAD.pack(_MAGIC, made_from, token, len(held), zlib.crc32(tables))
    make_private_folder(path.parent)
    write_atomically(path, chain((head, tables), records(), segments()), durable=False)


class TagIndex:
    """The tags of a cache file, of which only those are read that are asked for. Every method raises DamagedIndexError.

    `token` is what it was written with.
    """

    def __init__(self, raw: mmap.mmap) -> None:
        if len(raw) < _HEAD.size:
            raise DamagedIndexError
        magic, self.made_from, self.token, repositories, checksum = _HEAD.unpack_from(raw)
        view, at = memoryview(raw), _HEAD.size
        end = at + _table_size(_BUCKETS) + _table_size(repositories)
        if magic != _MAGIC or zlib.crc32(view[at:end]) != checksum:
            raise DamagedIndexError
        self._records = _Parts(view, at, end, _BUCKETS)
        at += _table_size(_BUCKETS)
        self._segments = _Parts(view, at, end + self._records.size, repositories)

    @classmethod
    def open(cls, path: Path, made_from: bytes) -> Self | None:
        """The index, if it was made from the cache file with this fingerprint; None if not, or it cannot be used."""
        with suppress(OSError, ValueError, DamagedIndexError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                if os.fstat(descriptor).st_uid != os.geteuid():
                    return None
                found = cls(mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ))
            finally:
                os.close(descriptor)
            return found if found.made_from == made_from else None
        return None

    def tags(self, repository: Repository) -> Mapping[Tag, Digest]:
        """The tags of a repository; empty if it is not known."""
        return self._holding([_name_key(repository)]).tags(repository)

    def beginning_with(self, value: str) -> Set[Digest]:
        """The digests with tags on them whose hexadecimal digits begin with `value`: four or more."""
        first, numbers = bytes.fromhex(value[:4]), set[int]()
        for key, number in _RECORD.iter_unpack(self._records[int.from_bytes(first, "big")]):
            if key.hex().startswith(value[:16]):
                numbers.add(number)
        return self._inventory(numbers).beginning_with(value)

    def holders(self, digest: Digest) -> Sequence[tuple[Repository, Tag]]:
        """Every tag, in every repository, that names `digest`."""
        return self._holding([digest.key]).holders(digest)

    def holders_of(self, digests: Collection[Digest]) -> Mapping[Digest, Sequence[tuple[Repository, Tag]]]:
        """Every tag, in every repository, on each of `digests` that has any."""
        return self._holding(digest.key for digest in digests).holders_of(digests)

    def _holding(self, keys: Iterable[bytes]) -> Inventory:
        """The repositories that may have tags on digests with these keys, or have this own key."""
        numbers, wanted = set[int](), defaultdict[bytes, set[bytes]](set)
        for key in keys:
            wanted[key[:2]].add(key[:8])
        for first, some in wanted.items():
            found = _RECORD.iter_unpack(self._records[int.from_bytes(first, "big")])
            numbers.update(number for key, number in found if key in some)
        return self._inventory(numbers)

    def _inventory(self, numbers: Iterable[int]) -> Inventory:
        return Inventory(dict(_parsed(self._segments[number]) for number in sorted(numbers)))


class _Parts:
    """The parts of a file that a table describes: where each ends, and its checksum. The first begins at `start`."""

    def __init__(self, view: memoryview, table: int, start: int, number: int) -> None:
        middle = table + 8 * number
        self._ends, self._sums = array("Q"), array("I")
        self._ends.frombytes(view[table:middle])
        self._sums.frombytes(view[middle : middle + 4 * number])
        self._view, self._start = view, start
        self.size = self._ends[-1] if number else 0

    def __getitem__(self, number: int) -> bytes:
        if number >= len(self._ends):
            raise DamagedIndexError
        begin = self._start + (self._ends[number - 1] if number else 0)
        found = bytes(self._view[begin : self._start + self._ends[number]])
        if zlib.crc32(found) != self._sums[number]:
            raise DamagedIndexError
        return found


def _table(parts: Iterator[bytes]) -> bytes:
    ends, sums, end = array("Q"), array("I"), 0
    for part in parts:
        end += len(part)
        ends.append(end)
        sums.append(zlib.crc32(part))
    return ends.tobytes() + sums.tobytes()


def _table_size(number: int) -> int:
    return 12 * number


def _name_key(repository: Repository) -> bytes:
    return hashlib.sha256(repository.encode()).digest()


def _segment(name: Repository, tags: PackedTags) -> bytes:
    names, digests = tags.pack()
    text = name.encode() + b"\n" + names
    return _TEXT.pack(len(text)) + text + digests


def _parsed(segment: bytes) -> tuple[Repository, PackedTags]:
    (size,) = _TEXT.unpack_from(segment)
    name, _, names = segment[_TEXT.size : _TEXT.size + size].partition(b"\n")
    return Repository(name.decode()), PackedTags.unpack(names, segment[_TEXT.size + size :])

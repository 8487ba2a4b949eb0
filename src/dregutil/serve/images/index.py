"""The index of images as it is read: opened, its columns, the rows of a page. Nothing is written."""

from __future__ import annotations

import os
import sqlite3
from array import array
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

from dregutil.errors import CacheError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.serve.images.flags import Order
from dregutil.serve.images.schema import KEEP, ORDERS, REMOVE, VERSION, Terms, listed, unpacked_rows

__all__ = ["ImageIndex", "ImageRow"]

_VERDICTS = {REMOVE: "REMOVE", KEEP: "KEEP"}
_ROWS = (
    "SELECT image.id, repository.name, tag, digest, created, pulled, size, frees, platforms.text, verdict, reason.text,"
    " held, below FROM image JOIN repository ON repository.id = image.repository"
    " LEFT JOIN shared AS platforms ON platforms.id = image.platforms"
    " LEFT JOIN shared AS reason ON reason.id = image.because WHERE image.id IN ({})"
)
_MOST = 500  # rows read at once


@dataclass(frozen=True, slots=True)
class ImageRow:
    """A tag. Times are in UTC, sizes in bytes; None: not known. `verdict` is REMOVE or KEEP, `below` are the children
    of an index."""

    repository: Repository
    tag: Tag
    digest: Digest
    created: datetime | None
    pulled: datetime | None
    size: int | None
    frees: int | None
    platforms: tuple[str, ...]
    verdict: str | None
    because: str | None
    held: bool
    below: tuple[Digest, ...] = ()


class ImageIndex:
    """One index. It stays readable when another has taken its place. Used by one thread at a time.

    `rows` counts the tags, `unread` those of which the contents are not known; `read` is when the tags were read,
    `made` when the index was, `whole` when the contents of all images were last read for it. Every method raises
    CacheError if the file is damaged.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._connection = connection
        self._path = path
        with self._guarded():
            meta: dict[str, Any] = dict(connection.execute("SELECT name, value FROM meta"))
            if meta.get("version") != VERSION:
                raise self._unusable("another version of this program made it")
            self.registry: str = meta["registry"]
            self.rows: int = meta["rows"]
            self.unread: int = meta["unread"]
            self.made = _moment(meta["made"])
            self.whole = _moment(meta["whole"])
            self.read = None if meta["read"] is None else _moment(meta["read"])
            self.salt: bytes = meta["salt"]
            self.terms = Terms(self.salt)

    @classmethod
    def open(cls, path: Path) -> Self | None:
        """The index; None if there is none. Raises CacheError if it is damaged, of another version or of another
        user."""
        try:
            found = path.stat()
        except OSError:
            return None
        if found.st_uid != os.geteuid():
            raise CacheError(f"the index of images {path} is owned by another user")
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(path.absolute()))}?mode=ro&immutable=1", uri=True, check_same_thread=False
            )
        except sqlite3.Error as error:
            raise CacheError(f"the index of images {path} cannot be read: {error}") from error
        try:
            connection.execute("PRAGMA cache_size = -1024")
            return cls(connection, path)
        except (CacheError, sqlite3.Error, KeyError) as error:
            connection.close()
            if isinstance(error, CacheError):
                raise
            raise CacheError(f"the index of images {path} cannot be read: {error}") from error

    def close(self) -> None:
        self._connection.close()

    def repositories(self) -> list[tuple[str, int]]:
        """The repositories with the numbers of their tags, in the order of their rows."""
        with self._guarded():
            return self._connection.execute("SELECT name, rows FROM repository ORDER BY id").fetchall()

    def names(self) -> Iterator[tuple[int, int, bytes]]:
        """The tags in lower case, each after a newline: some rows at a time, with the first and how many they are."""
        with self._guarded():
            yield from self._connection.execute("SELECT first, rows, lines FROM names ORDER BY first")

    def order(self, name: str) -> Order:
        """The rows by one of ORDERS, or as they are: by repository and tag."""
        if name not in ORDERS:
            return Order(range(self.rows), self.rows)
        with self._guarded():
            known, data = self._one("SELECT known, rows FROM ordered WHERE name = ?", name)
        return Order(_array("I", data), known)

    def column(self, name: str) -> bytes:
        """One byte for each row: `verdict` or `held`."""
        with self._guarded():
            found: bytes = self._one("SELECT data FROM valued WHERE name = ?", name)[0]
            return found

    def numbers(self, name: str) -> Sequence[int]:
        """One number for each row: `created` (seconds since 1970) or `size`."""
        return _array("q", self.column(name))

    def having(self, term: int) -> bytes:
        """A flag for each row: whether it has a property."""
        with self._guarded():
            found = self._connection.execute("SELECT rows FROM posting WHERE term = ?", (term,)).fetchone()
        return bytes(self.rows) if found is None else unpacked_rows(found[0], self.rows)

    def rows_between(self, low: bytes, high: bytes, length: int | None) -> list[int]:
        """The rows whose digests, as bytes, lie between two others, and have this length if one is given."""
        query = "SELECT id FROM image WHERE digest BETWEEN ?1 AND ?2 AND (?3 IS NULL OR length(digest) = ?3)"
        with self._guarded():
            return [row for (row,) in self._connection.execute(query, (low, high, length))]

    def chains(self, digest: Digest) -> list[int]:
        """What stands for the layers of an image that a tag is on; of an index, for those of each of its images. Empty
        if no tag is on it, or it was not read."""
        with self._guarded():
            found = self._connection.execute(
                "SELECT chains FROM image WHERE digest = ? LIMIT 1", (digest.key,)
            ).fetchone()
        raw = b"" if found is None or found[0] is None else found[0]
        return [int.from_bytes(raw[at : at + 8], "big") for at in range(0, len(raw), 8)]

    def image(self, repository: Repository, tag: Tag) -> ImageRow | None:
        """What is known of a tag; None if it is not in the index."""
        with self._guarded():
            place = self._connection.execute(
                "SELECT first, rows FROM repository WHERE name = ?", (repository,)
            ).fetchone()
            if place is None:
                return None
            low, end = place[0], sum(place)
            high = end
            while low < high:  # a repository may have a million tags, in their order
                middle = (low + high) // 2
                if self._one("SELECT tag FROM image WHERE id = ?", middle)[0] < tag:
                    low = middle + 1
                else:
                    high = middle
        found = self.images([low])[0] if low < end else None
        return found if found is not None and found.tag == tag else None

    def platforms(self) -> list[str]:
        """The platforms that any image has."""
        with self._guarded():
            return [name for (name,) in self._connection.execute("SELECT name FROM platform")]

    def images(self, rows: Sequence[int]) -> list[ImageRow]:
        """What is known of these rows, in their order."""
        found: dict[int, ImageRow] = {}
        with self._guarded():
            for at in range(0, len(rows), _MOST):
                some = rows[at : at + _MOST]
                query = _ROWS.format(", ".join("?" * len(some)))
                found.update((row[0], _image(row)) for row in self._connection.execute(query, some))
        if len(found) < len({*rows}):
            raise self._unusable("rows are missing")
        return [found[row] for row in rows]

    def stored(self) -> Generator[tuple[Any, ...], None, None]:
        """All rows in their order, for an index that takes them over: the number, repository, tag, key of the digest,
        date, size, platforms, layers and children of each."""
        with self._guarded():
            yield from self._connection.execute(
                "SELECT image.id, name, tag, digest, created, size, text, chains, below FROM image"
                " JOIN repository ON repository.id = image.repository LEFT JOIN shared ON shared.id = platforms"
                " ORDER BY image.id"
            )

    def postings(self) -> Iterator[tuple[int, int, bytes]]:
        """All properties in order, each with the number of its rows, and these as they are kept."""
        with self._guarded():
            yield from self._connection.execute("SELECT term, number, rows FROM posting ORDER BY term")

    def _one(self, query: str, value: object) -> tuple[Any, ...]:
        found: tuple[Any, ...] | None = self._connection.execute(query, (value,)).fetchone()
        if found is None:
            raise self._unusable("something is missing in it")
        return found

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._unusable(str(error)) from error

    def _unusable(self, why: str) -> CacheError:
        return CacheError(f"the index of images {self._path} cannot be used: {why}", advice="it is built again")


def _image(row: tuple[Any, ...]) -> ImageRow:
    _, name, tag, key, created, pulled, size, frees, platforms, verdict, because, held, below = row
    return ImageRow(
        Repository(name),
        Tag(tag),
        Digest.of_key(key),
        None if created is None else _moment(created),
        None if pulled is None else _moment(pulled),
        size,
        frees,
        listed(platforms),
        _VERDICTS.get(verdict),
        because,
        bool(held),
        tuple(map(Digest, (below or "").split())),
    )


def _array(kind: str, data: bytes) -> array[int]:
    found = array(kind)
    found.frombytes(data)
    return found


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

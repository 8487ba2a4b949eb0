"""When our records saw a tag come to the digest that it names: one durable database a registry, in the state folder.

STATE/sightings/<sum of the registry's key>.sqlite

They begin with the first complete crawl, whose tags were there before us: no moment is known of those. Whatever a
later crawl finds new, or on another digest, came then, or since the crawl before, whose moment is noted with it. A tag
that goes is remembered as missing; if it comes back on the same digest, since when it had been known before is noted.
If it comes back on another, it is new. A digest that loses its last tag in a repository is remembered as untagged since
then, until it has a tag again: no registry lists such manifests. A million tags take about 80 MB.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dregutil.errors import JournalError
from dregutil.files import file_of
from dregutil.inventory.tag_history_tables import (
    FORMER_LENGTH,
    VERSION,
    digest_of,
    has_begun,
    images,
    is_among,
    key_of,
    lay_out,
    same,
    version_of,
)
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag, registry_spellings

__all__ = ["Missing", "Sighting", "SightingStore"]

_MOST_UNTAGGED = 200_000  # digests that are remembered, the newest; and so many missing tags: about 12 MB each
_FORGET = (
    "DELETE FROM untagged WHERE since < (SELECT since FROM untagged ORDER BY since DESC LIMIT 1 OFFSET ?)",
    "DELETE FROM missing WHERE since < (SELECT since FROM missing ORDER BY since DESC LIMIT 1 OFFSET ?)",
)
_ADVICE = (
    "it holds when tags came, which no crawl can find again: put back a copy of it; without one, move it away, and the "
    "records begin anew, with every tag younger than min_age"
)
_FREE_SPACE = "free space on its file system; the records are as they were"
_NO_SPACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # a file that may not grow is an I/O error to SQLite


@dataclass(frozen=True, slots=True)
class Sighting:
    """`known_since`: since when we know this tag on this digest. `came`: whether we saw it come (else it was there
    when the records began). `unseen`: when the crawl before began, which did not find it so; the same as `known_since`
    where the records knew its image before it came, None where that crawl is not known. `former`: of a tag that came
    back on the digest that it had, since when it had been known before, when it had been seen to come, and the crawl
    before that."""

    known_since: datetime
    came: bool
    unseen: datetime | None = None
    former: tuple[datetime, datetime | None, datetime | None] | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A tag that a complete crawl no longer found: what it named, and when that crawl was."""

    digest: Digest
    since: datetime


@dataclass(frozen=True, slots=True)
class _Crawl:
    """When it began and ended, in seconds, and the images known before it. `first`: the records begin with it."""

    began: int
    ended: int
    first: bool
    known: Set[bytes]

    def after(self, former: int | None) -> int | None:
        """The moment of the crawl before, where the clock has gone on since."""
        return None if former is None or former > self.began else former

    def stamp(self, former: int | None) -> int | None:
        """When this one began, to be noted; None where the clock has been set back, so that neither is believed."""
        return self.began if former is None or former <= self.began else None


class SightingStore:
    """The records of one registry, by its identity."""

    def __init__(self, state: Path, registry: str) -> None:
        self.path = file_of(state / "sightings", registry_spellings(registry), ".sqlite")

    def of(self, repository: Repository, tags: Mapping[Tag, Digest]) -> Mapping[Tag, Sighting]:
        """What is known of those of `tags` that are still on the digest that was recorded. Raises JournalError."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            found = self._tags(database, repository)
        return {tag: _sighting(row) for tag, row in found.items() if tag in tags and same(row["digest"], tags[tag])}

    def repositories(self) -> tuple[Repository, ...]:
        """Those of which the last complete crawl found tags. Raises JournalError."""
        return tuple(
            Repository(name)
            for (name,) in self._rows(
                "SELECT name FROM repository WHERE EXISTS (SELECT 1 FROM tag WHERE tag.repository = repository.id)", ()
            )
        )

    def tags(self, repository: Repository) -> Mapping[Tag, Digest]:
        """The tags that the last complete crawl found in a repository. Raises JournalError."""
        rows = self._rows(
            "SELECT tag.name, digest FROM tag JOIN repository ON repository.id = tag.repository "
            "WHERE repository.name = ? AND length(digest) > ?",
            (repository, FORMER_LENGTH),
        )
        return {Tag(name): digest_of(key) for name, key in rows}

    def missing(self, repository: Repository) -> Mapping[Tag, Missing]:
        """The tags that were there once and that the last complete crawl did not find. Raises JournalError."""
        rows = self._rows(
            "SELECT missing.name, digest, since FROM missing JOIN repository ON repository.id = missing.repository "
            "WHERE repository.name = ?",
            (repository,),
            since_version=4,
        )
        return {Tag(name): Missing(digest_of(key), _moment(since)) for name, key, since in rows}

    def last_crawl(self) -> datetime | None:
        """When the last crawl was recorded; None where none was, or by a version that did not note it. Raises
        JournalError."""
        return self._state("last")

    def lost_since(self) -> datetime | None:
        """When these records began in the place of others that were lost; None where they did not. Raises
        JournalError."""
        return self._state("lost")

    def have_begun(self) -> bool:
        """Raises JournalError."""
        if not self.path.exists():
            return False
        with self._open() as database:
            return has_begun(database)

    def untagged(self, repository: Repository) -> Mapping[Digest, datetime]:
        """The digests that lost their last tag in a repository, each with the crawl that first found it so. They may
        have been deleted since. Raises JournalError."""
        rows = self._rows(
            "SELECT digest, since FROM untagged JOIN repository ON repository.id = untagged.repository "
            "WHERE repository.name = ?",
            (repository,),
            since_version=2,
        )
        return {digest_of(key): _moment(since) for key, since in rows}

    def forget_untagged(self, repository: Repository, digests: Iterable[Digest]) -> None:
        """Forget digests that are no longer there. Raises JournalError."""
        with self._open() as database:
            database.executemany(
                "DELETE FROM untagged WHERE digest = ? AND repository = (SELECT id FROM repository WHERE name = ?)",
                [(key_of(digest), repository) for digest in digests],
            )

    def record(
        self,
        inventory: Inventory,
        *,
        now: datetime,
        began: datetime | None = None,
        unread: Collection[Repository] = (),
        unasked: Collection[Repository] = (),
        lost: bool = False,
    ) -> None:
        """Note what a crawl of the whole registry found, all at once or not at all. Raises JournalError.

        `began`: when the crawl did, where that is not `now`. `unread`: repositories that it could not read; they stay
        as they were, and records do not begin with it. `unasked`: those that it was not to read; they stay, too.
        `lost`: there were records of later crawls, or any at all, that are not here.
        """
        self._make_file()
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            first = not has_begun(database)
            if first and unread:
                database.execute("ROLLBACK")
                return
            lay_out(database, int(now.timestamp()), first=first)
            known = set() if first else images(database)
            crawl = _Crawl(int((began or now).timestamp()), int(now.timestamp()), first, known)
            self._record(database, inventory, crawl, {*unread, *unasked})
            if not unread:
                (whole,) = database.execute("SELECT whole FROM state").fetchone()
                database.execute("UPDATE state SET whole = ?", (crawl.stamp(whole),))
            database.execute("UPDATE state SET last = ?", (crawl.ended,))
            if lost:
                database.execute("UPDATE state SET lost = ?", (crawl.ended,))
            database.execute("COMMIT")

    def _make_file(self) -> None:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            elsewhere = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"
            raise JournalError(
                f"{self.path} cannot be written: {error.strerror or error}",
                advice=_FREE_SPACE if full else elsewhere,
            ) from error

    def _record(
        self, database: sqlite3.Connection, inventory: Inventory, crawl: _Crawl, passed_over: Set[Repository]
    ) -> None:
        (whole,) = database.execute("SELECT whole FROM state").fetchone()
        known = {
            name: (number, read) for name, number, read in database.execute("SELECT name, id, read FROM repository")
        }
        for name in known.keys() - inventory.as_mapping().keys() - passed_over:
            self._record_repository(database, *known[name], {}, crawl)
        for repository, tags in inventory.as_mapping().items():
            if repository in passed_over:
                continue
            number, read = known.get(repository, (None, whole))
            if number is None:
                number = database.execute("INSERT INTO repository (name) VALUES (?)", (repository,)).lastrowid
            self._record_repository(database, number, read, tags, crawl)
        for forget in _FORGET:
            database.execute(forget, (_MOST_UNTAGGED - 1,))
        database.execute(
            "DELETE FROM repository WHERE NOT EXISTS (SELECT 1 FROM tag WHERE tag.repository = repository.id)"
            " AND NOT EXISTS (SELECT 1 FROM untagged WHERE untagged.repository = repository.id)"
            " AND NOT EXISTS (SELECT 1 FROM missing WHERE missing.repository = repository.id)"
        )

    def _record_repository(
        self,
        database: sqlite3.Connection,
        number: int | None,
        read: int | None,
        tags: Mapping[Tag, Digest],
        crawl: _Crawl,
    ) -> None:
        """Note the tags of a repository, which the crawl before read at `read`."""
        rows = database.execute("SELECT name, digest FROM tag WHERE repository = ?", (number,)).fetchall()
        before: dict[str, bytes] = dict(rows)
        gone = before.keys() - tags.keys()
        returned = self._returned(database, number, tags.keys() - before.keys(), tags)
        self._record_missing(database, number, gone, tags, crawl.ended)
        unseen = None if crawl.first else crawl.after(read)
        database.executemany(
            "INSERT OR REPLACE INTO tag (repository, name, digest, since, came, unseen,"
            " former, former_seen, former_unseen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    tag,
                    key_of(digest),
                    crawl.ended,
                    int(not crawl.first),
                    crawl.ended if crawl.known and is_among(digest, crawl.known) else unseen,
                    *returned.get(tag, (None, None, None)),
                )
                for tag, digest in tags.items()
                if tag not in before or not same(before[tag], digest)
            ],
        )
        database.executemany(
            "UPDATE tag SET digest = ? WHERE repository = ? AND name = ?",
            [
                (key_of(digest), number, tag)
                for tag, digest in tags.items()
                if len(before.get(tag, b"")) == FORMER_LENGTH and same(before[tag], digest)
            ],
        )
        database.execute("UPDATE repository SET read = ? WHERE id = ?", (crawl.stamp(read), number))
        self._record_untagged(database, number, before, tags, crawl.ended)

    def _returned(
        self, database: sqlite3.Connection, number: int | None, came: Collection[Tag], tags: Mapping[Tag, Digest]
    ) -> Mapping[Tag, tuple[int | None, ...]]:
        """Of the tags that came, those that were missing and are on their former digest: since when they were known."""
        if not came:
            return {}
        rows = database.execute("SELECT name, digest, known, seen, unseen FROM missing WHERE repository = ?", (number,))
        return {Tag(name): tuple(was) for name, key, *was in rows if name in came and same(key, tags[Tag(name)])}

    def _record_missing(
        self,
        database: sqlite3.Connection,
        number: int | None,
        gone: Collection[str],
        tags: Mapping[Tag, Digest],
        now: int,
    ) -> None:
        rows = [(now, number, name) for name in gone]
        database.executemany(
            "INSERT OR REPLACE INTO missing (repository, name, digest, known, seen, unseen, since)"
            " SELECT repository, name, digest, coalesce(former, since),"
            " CASE WHEN former IS NOT NULL THEN former_seen WHEN came THEN since END,"
            " CASE WHEN former IS NOT NULL THEN former_unseen ELSE unseen END,"
            " ? FROM tag WHERE repository = ? AND name = ? AND length(digest) > ?",
            [(*row, FORMER_LENGTH) for row in rows],
        )
        database.executemany(
            "DELETE FROM tag WHERE repository = ? AND name = ?", [(number, name) for _, number, name in rows]
        )
        found = {name for (name,) in database.execute("SELECT name FROM missing WHERE repository = ?", (number,))}
        database.executemany(
            "DELETE FROM missing WHERE repository = ? AND name = ?", [(number, name) for name in found & tags.keys()]
        )

    def _record_untagged(
        self,
        database: sqlite3.Connection,
        number: int | None,
        before: Mapping[str, bytes],
        tags: Mapping[Tag, Digest],
        now: int,
    ) -> None:
        tagged = {key_of(digest) for digest in tags.values()}
        lost = {key for key in before.values() if len(key) > FORMER_LENGTH} - tagged
        database.executemany("INSERT OR IGNORE INTO untagged VALUES (?, ?, ?)", [(number, key, now) for key in lost])
        again = {key for (key,) in database.execute("SELECT digest FROM untagged WHERE repository = ?", (number,))}
        database.executemany(
            "DELETE FROM untagged WHERE repository = ? AND digest = ?", [(number, key) for key in again & tagged]
        )

    def _tags(self, database: sqlite3.Connection, repository: Repository) -> Mapping[Tag, Mapping[str, Any]]:
        """The rows of a repository's tags, by column."""
        if not has_begun(database):
            return {}
        rows = database.execute(
            "SELECT tag.* FROM tag JOIN repository ON repository.id = tag.repository WHERE repository.name = ?",
            (repository,),
        )
        columns = [column[0] for column in rows.description]
        found = (dict(zip(columns, row, strict=True)) for row in rows)
        return {Tag(row["name"]): row for row in found}

    def _state(self, column: str) -> datetime | None:
        rows = self._rows("SELECT last, lost FROM state", (), since_version=4)
        return _moment_or_none(rows[0][("last", "lost").index(column)]) if rows else None

    def _rows(self, query: str, values: tuple[object, ...], since_version: int = 1) -> list[tuple[Any, ...]]:
        """The answer to a query; nothing where the records have not begun, or are of a version that did not note it."""
        if not self.path.exists():
            return []
        with self._open() as database:
            if not has_begun(database) or version_of(database) < since_version:
                return []
            return database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                if version_of(database) not in range(VERSION + 1):
                    raise JournalError(f"{self.path} is of a later version of this program", advice="use that one")
                yield database
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_SPACE
            advice = _FREE_SPACE if full else _ADVICE
            raise JournalError(f"the records {self.path} cannot be used: {error}", advice=advice) from error


def _sighting(row: Mapping[str, Any]) -> Sighting:
    """Of a row of the table of tags; one of an earlier version lacks columns."""
    former = row.get("former")
    return Sighting(
        _moment(row["since"]),
        bool(row["came"]),
        _moment_or_none(row.get("unseen")),
        None
        if former is None
        else (_moment(former), _moment_or_none(row["former_seen"]), _moment_or_none(row["former_unseen"])),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_or_none(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)

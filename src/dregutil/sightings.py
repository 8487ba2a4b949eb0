"""When our records saw a tag come to the digest that it names: one durable database a registry, in the state folder.

STATE/sightings/<sum of the registry's name>.sqlite

They begin with the first complete crawl, whose tags were there before us: no moment is known of those. Whatever a
later crawl finds new, or on another digest, came then, or since the crawl before, whose moment is noted with it. A tag
that goes is forgotten; if it returns, it is new. A digest that loses its last tag in a repository is remembered as
untagged since then, until it has a tag again: no registry lists such manifests. A million tags take about 80 MB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import JournalError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Repository, Tag

__all__ = ["Sighting", "SightingStore"]

_VERSION = 3
_MOST_UNTAGGED = 200_000  # digests that are remembered, the newest: about 12 MB
_SCHEMA = """
CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, read INTEGER);
CREATE TABLE tag (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    since INTEGER NOT NULL, came INTEGER NOT NULL, unseen INTEGER,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE TABLE state (began INTEGER NOT NULL, whole INTEGER);
"""
# `read`: when the last crawl that could read a repository began; `whole`: one that could read them all. NULL: unknown.
_SINCE_VERSION_3 = (
    "ALTER TABLE repository ADD COLUMN read INTEGER",
    "ALTER TABLE tag ADD COLUMN unseen INTEGER",
    "ALTER TABLE state ADD COLUMN whole INTEGER",
)
_UNTAGGED = """
CREATE TABLE IF NOT EXISTS untagged (
    repository INTEGER NOT NULL, digest BLOB NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID
"""
_ADVICE = (
    "it holds when tags came, which no crawl can find again; put back a copy of it, or move it away: "
    "the records then begin anew, and promotions before that look as old as their images"
)


@dataclass(frozen=True, slots=True)
class Sighting:
    """`known_since`: since when we know this tag on this digest. `came`: whether we saw it come (else it was there
    when the records began). `unseen`: when the crawl before began, which did not find it so; the same as `known_since`
    where the records knew its image before it came, None where that crawl is not known."""

    known_since: datetime
    came: bool
    unseen: datetime | None = None


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
        self.path = state / "sightings" / f"{hashlib.sha256(registry.encode()).hexdigest()[:24]}.sqlite"

    def of(self, repository: Repository, tags: Mapping[Tag, Digest]) -> Mapping[Tag, Sighting]:
        """What is known of those of `tags` that are still on the digest that was recorded. Raises JournalError."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            found = self._rows(database, repository)
        return {
            tag: Sighting(
                datetime.fromtimestamp(since, UTC),
                bool(came),
                None if unseen is None else datetime.fromtimestamp(unseen, UTC),
            )
            for tag, (digest, since, came, unseen) in found.items()
            if tag in tags and _same(digest, tags[tag])
        }

    def untagged(self, repository: Repository) -> Mapping[Digest, datetime]:
        """The digests that lost their last tag in a repository, each with the crawl that first found it so. They may
        have been deleted since. Raises JournalError."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'untagged'").fetchone():
                return {}
            rows = database.execute(
                "SELECT digest, since FROM untagged JOIN repository ON repository.id = untagged.repository "
                "WHERE repository.name = ?",
                (repository,),
            )
            return {_digest(key): datetime.fromtimestamp(since, UTC) for key, since in rows}

    def forget_untagged(self, repository: Repository, digests: Iterable[Digest]) -> None:
        """Forget digests that are no longer there. Raises JournalError."""
        with self._open() as database:
            database.executemany(
                "DELETE FROM untagged WHERE digest = ? AND repository = (SELECT id FROM repository WHERE name = ?)",
                [(_key(digest), repository) for digest in digests],
            )

    def record(
        self,
        inventory: Inventory,
        *,
        now: datetime,
        began: datetime | None = None,
        unread: Collection[Repository] = (),
    ) -> None:
        """Note what a crawl of the whole registry found, all at once or not at all. Raises JournalError.

        `began`: when the crawl did, where that is not `now`. `unread`: repositories that it could not read; they stay
        as they were, and records do not begin with it.
        """
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        except OSError as error:
            raise JournalError(
                f"{self.path} cannot be written: {error.strerror or error}",
                advice="name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)",
            ) from error
        with self._open() as database:
            database.execute("BEGIN IMMEDIATE")
            first = not _has_begun(database)
            if first and unread:
                database.execute("ROLLBACK")
                return
            self._lay_out(database, int(now.timestamp()), first=first)
            known = set() if first else _images(database)
            crawl = _Crawl(int((began or now).timestamp()), int(now.timestamp()), first, known)
            self._record(database, inventory, crawl, unread)
            database.execute("COMMIT")

    def _lay_out(self, database: sqlite3.Connection, now: int, *, first: bool) -> None:
        """Make the tables, or what those of an earlier version lack."""
        if first:
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
            database.execute("INSERT INTO state (began) VALUES (?)", (now,))
        elif _version(database) < 3:
            for statement in _SINCE_VERSION_3:
                database.execute(statement)
        database.execute(_UNTAGGED)
        database.execute(f"PRAGMA user_version = {_VERSION}")

    def _record(
        self, database: sqlite3.Connection, inventory: Inventory, crawl: _Crawl, unread: Collection[Repository]
    ) -> None:
        (whole,) = database.execute("SELECT whole FROM state").fetchone()
        known = {
            name: (number, read) for name, number, read in database.execute("SELECT name, id, read FROM repository")
        }
        for name in known.keys() - inventory.as_mapping().keys() - set(unread):
            self._record_repository(database, *known[name], {}, crawl)
        for repository, tags in inventory.as_mapping().items():
            number, read = known.get(repository, (None, whole))
            if number is None:
                number = database.execute("INSERT INTO repository (name) VALUES (?)", (repository,)).lastrowid
            self._record_repository(database, number, read, tags, crawl)
        if not unread:
            database.execute("UPDATE state SET whole = ?", (crawl.stamp(whole),))
        database.execute(
            "DELETE FROM untagged WHERE since < (SELECT since FROM untagged ORDER BY since DESC LIMIT 1 OFFSET ?)",
            (_MOST_UNTAGGED - 1,),
        )
        database.execute(
            "DELETE FROM repository WHERE NOT EXISTS (SELECT 1 FROM tag WHERE tag.repository = repository.id)"
            " AND NOT EXISTS (SELECT 1 FROM untagged WHERE untagged.repository = repository.id)"
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
        database.executemany(
            "DELETE FROM tag WHERE repository = ? AND name = ?",
            [(number, name) for name in before.keys() - tags.keys()],
        )
        unseen = None if crawl.first else crawl.after(read)
        database.executemany(
            "INSERT OR REPLACE INTO tag (repository, name, digest, since, came, unseen) VALUES (?, ?, ?, ?, ?, ?)",
            [
                (
                    number,
                    tag,
                    _key(digest),
                    crawl.ended,
                    int(not crawl.first),
                    crawl.ended if crawl.known and _is_among(digest, crawl.known) else unseen,
                )
                for tag, digest in tags.items()
                if tag not in before or not _same(before[tag], digest)
            ],
        )
        database.executemany(
            "UPDATE tag SET digest = ? WHERE repository = ? AND name = ?",
            [
                (_key(digest), number, tag)
                for tag, digest in tags.items()
                if len(before.get(tag, b"")) == _FORMER_LENGTH and _same(before[tag], digest)
            ],
        )
        database.execute("UPDATE repository SET read = ? WHERE id = ?", (crawl.stamp(read), number))
        self._record_untagged(database, number, before, tags, crawl.ended)

    def _record_untagged(
        self,
        database: sqlite3.Connection,
        number: int | None,
        before: Mapping[str, bytes],
        tags: Mapping[Tag, Digest],
        now: int,
    ) -> None:
        tagged = {_key(digest) for digest in tags.values()}
        lost = {key for key in before.values() if len(key) > _FORMER_LENGTH} - tagged
        database.executemany("INSERT OR IGNORE INTO untagged VALUES (?, ?, ?)", [(number, key, now) for key in lost])
        again = {key for (key,) in database.execute("SELECT digest FROM untagged WHERE repository = ?", (number,))}
        database.executemany(
            "DELETE FROM untagged WHERE repository = ? AND digest = ?", [(number, key) for key in again & tagged]
        )

    def _rows(
        self, database: sqlite3.Connection, repository: Repository
    ) -> Mapping[Tag, tuple[bytes, int, int, int | None]]:
        if not _has_begun(database):
            return {}
        rows = database.execute(
            "SELECT tag.* FROM tag JOIN repository ON repository.id = tag.repository WHERE repository.name = ?",
            (repository,),
        )
        return {
            Tag(name): (digest, since, came, unseen[0] if unseen else None)
            for _, name, digest, since, came, *unseen in rows
        }

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                if _version(database) not in range(_VERSION + 1):
                    raise JournalError(f"{self.path} is of a later version of this program", advice="use that one")
                yield database
        except sqlite3.Error as error:
            raise JournalError(f"the records {self.path} cannot be used: {error}", advice=_ADVICE) from error


_FORMER_LENGTH = 16  # bytes of a digest that the first version kept


def _version(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def _has_begun(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone() is not None


def _images(database: sqlite3.Connection) -> Set[bytes]:
    """Every digest that is known, of any repository, with a tag or without."""
    return {key for (key,) in database.execute("SELECT digest FROM tag UNION ALL SELECT digest FROM untagged")}


def _is_among(digest: Digest, known: Set[bytes]) -> bool:
    key = _key(digest)
    return key in known or key[:_FORMER_LENGTH] in known


def _key(digest: Digest) -> bytes:
    """A digest's bytes; how many tells the algorithm."""
    return bytes.fromhex(digest.hex)


def _digest(key: bytes) -> Digest:
    return Digest(f"sha{len(key) * 8}:{key.hex()}")


def _same(key: bytes, digest: Digest) -> bool:
    return key == (_key(digest)[:_FORMER_LENGTH] if len(key) == _FORMER_LENGTH else _key(digest))

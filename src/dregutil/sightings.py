"""When our records saw a tag come to the digest that it names: one durable database a registry, in the state folder.

STATE/sightings/<sum of the registry's name>.sqlite

They begin with the first complete crawl, whose tags were there before us: no moment is known of those. Whatever a
later crawl finds new, or on another digest, came then. A tag that goes is forgotten; if it returns, it is new. A digest
that loses its last tag in a repository is remembered as untagged since then, until it has a tag again: no registry
lists such manifests. A million tags take about 80 MB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import JournalError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Repository, Tag

__all__ = ["Sighting", "SightingStore"]

_VERSION = 2
_MOST_UNTAGGED = 200_000  # digests that are remembered, the newest: about 12 MB
_SCHEMA = """
CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tag (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    since INTEGER NOT NULL, came INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE TABLE state (began INTEGER NOT NULL);
"""
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
    when the records began)."""

    known_since: datetime
    came: bool


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
            tag: Sighting(datetime.fromtimestamp(since, UTC), bool(came))
            for tag, (digest, since, came) in found.items()
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

    def record(self, inventory: Inventory, *, now: datetime, unread: Collection[Repository] = ()) -> None:
        """Note what a crawl of the whole registry found, all at once or not at all. Raises JournalError.

        `unread`: repositories that it could not read; they stay as they were, and records do not begin with it.
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
            self._record(database, inventory, int(now.timestamp()), unread)

    def _record(
        self, database: sqlite3.Connection, inventory: Inventory, now: int, unread: Collection[Repository]
    ) -> None:
        database.execute("BEGIN IMMEDIATE")
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
            if unread:
                database.execute("ROLLBACK")
                return
            for statement in filter(str.strip, _SCHEMA.split(";")):
                database.execute(statement)
            database.execute("INSERT INTO state VALUES (?)", (now,))
            first = True
        else:
            first = False
        database.execute(_UNTAGGED)
        database.execute(f"PRAGMA user_version = {_VERSION}")
        known = dict(database.execute("SELECT name, id FROM repository").fetchall())
        for name in known.keys() - inventory.as_mapping().keys() - set(unread):
            self._record_repository(database, known[name], {}, now, came=True)
        for repository, tags in inventory.as_mapping().items():
            number = known.get(repository)
            if number is None:
                number = database.execute("INSERT INTO repository (name) VALUES (?)", (repository,)).lastrowid
            self._record_repository(database, number, tags, now, came=not first)
        database.execute(
            "DELETE FROM untagged WHERE since < (SELECT since FROM untagged ORDER BY since DESC LIMIT 1 OFFSET ?)",
            (_MOST_UNTAGGED - 1,),
        )
        database.execute(
            "DELETE FROM repository WHERE NOT EXISTS (SELECT 1 FROM tag WHERE tag.repository = repository.id)"
            " AND NOT EXISTS (SELECT 1 FROM untagged WHERE untagged.repository = repository.id)"
        )
        database.execute("COMMIT")

    def _record_repository(
        self, database: sqlite3.Connection, number: int | None, tags: Mapping[Tag, Digest], now: int, *, came: bool
    ) -> None:
        rows = database.execute("SELECT name, digest FROM tag WHERE repository = ?", (number,)).fetchall()
        before: dict[str, bytes] = dict(rows)
        database.executemany(
            "DELETE FROM tag WHERE repository = ? AND name = ?",
            [(number, name) for name in before.keys() - tags.keys()],
        )
        database.executemany(
            "INSERT OR REPLACE INTO tag VALUES (?, ?, ?, ?, ?)",
            [
                (number, tag, _key(digest), now, int(came))
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
        tagged = {_key(digest) for digest in tags.values()}
        lost = {key for key in before.values() if len(key) > _FORMER_LENGTH} - tagged
        database.executemany("INSERT OR IGNORE INTO untagged VALUES (?, ?, ?)", [(number, key, now) for key in lost])
        again = {key for (key,) in database.execute("SELECT digest FROM untagged WHERE repository = ?", (number,))}
        database.executemany(
            "DELETE FROM untagged WHERE repository = ? AND digest = ?", [(number, key) for key in again & tagged]
        )

    def _rows(self, database: sqlite3.Connection, repository: Repository) -> Mapping[Tag, tuple[bytes, int, int]]:
        if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone():
            return {}
        rows = database.execute(
            "SELECT tag.name, digest, since, came FROM tag JOIN repository ON repository.id = tag.repository "
            "WHERE repository.name = ?",
            (repository,),
        )
        return {Tag(name): (digest, since, came) for name, digest, since, came in rows}

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                version = database.execute("PRAGMA user_version").fetchone()[0]
                if version not in range(_VERSION + 1):
                    raise JournalError(f"{self.path} is of a later version of this program", advice="use that one")
                yield database
        except sqlite3.Error as error:
            raise JournalError(f"the records {self.path} cannot be used: {error}", advice=_ADVICE) from error


_FORMER_LENGTH = 16  # bytes of a digest that the first version kept


def _key(digest: Digest) -> bytes:
    """A digest's bytes; how many tells the algorithm."""
    return bytes.fromhex(digest.hex)


def _digest(key: bytes) -> Digest:
    return Digest(f"sha{len(key) * 8}:{key.hex()}")


def _same(key: bytes, digest: Digest) -> bool:
    return key == (_key(digest)[:_FORMER_LENGTH] if len(key) == _FORMER_LENGTH else _key(digest))

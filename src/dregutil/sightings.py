"""When our records saw a tag come to the digest that it names: one durable database a registry, in the state folder.

STATE/sightings/<sum of the registry's name>.sqlite

They begin with the first complete crawl, whose tags were there before us: no moment is known of those. Whatever a
later crawl finds new, or on another digest, came then. A tag that goes is forgotten; if it returns, it is new. Of a
digest 16 bytes are kept, enough to see that it is another: a million tags take about 60 MB.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import sqlite3
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dregutil.errors import JournalError
from dregutil.inventory import Inventory
from dregutil.reference import Digest, Repository, Tag

__all__ = ["Sighting", "SightingStore"]

_VERSION = 1
_SCHEMA = """
CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE tag (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    since INTEGER NOT NULL, came INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE TABLE state (began INTEGER NOT NULL);
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
            if tag in tags and digest == _short(tags[tag])
        }

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
            database.execute(f"PRAGMA user_version = {_VERSION}")
            database.execute("INSERT INTO state VALUES (?)", (now,))
            first = True
        else:
            first = False
        known = dict(database.execute("SELECT name, id FROM repository").fetchall())
        for name in known.keys() - inventory.as_mapping().keys() - set(unread):
            database.execute("DELETE FROM tag WHERE repository = ?", (known[name],))
            database.execute("DELETE FROM repository WHERE id = ?", (known[name],))
        for repository, tags in inventory.as_mapping().items():
            number = known.get(repository)
            if number is None:
                number = database.execute("INSERT INTO repository (name) VALUES (?)", (repository,)).lastrowid
            self._record_repository(database, number, tags, now, came=not first)
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
                (number, tag, short, now, int(came))
                for tag, digest in tags.items()
                if before.get(tag) != (short := _short(digest))
            ],
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
                if version not in (0, _VERSION):
                    raise JournalError(f"{self.path} is of a later version of this program", advice="use that one")
                yield database
        except sqlite3.Error as error:
            raise JournalError(f"the records {self.path} cannot be used: {error}", advice=_ADVICE) from error


def _short(digest: Digest) -> bytes:
    return bytes.fromhex(digest.hex[:32])

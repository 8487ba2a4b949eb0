"""The tables of the tag history, and how those of an earlier version are brought up to date."""

from __future__ import annotations

import sqlite3
from collections.abc import Set

from dregutil.oci.names import Digest

__all__ = [
    "FORMER_LENGTH",
    "VERSION",
    "has_begun",
    "is_among",
    "known_images",
    "lay_out",
    "same",
    "version_of",
]

VERSION = 4
FORMER_LENGTH = 16  # bytes of a digest that the first version kept
_SCHEMA = """
CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, read INTEGER);
CREATE TABLE tag (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    since INTEGER NOT NULL, came INTEGER NOT NULL, unseen INTEGER,
    former INTEGER, former_seen INTEGER, former_unseen INTEGER,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID;
CREATE TABLE state (began INTEGER NOT NULL, whole INTEGER, last INTEGER, lost INTEGER);
"""
# `read`: when the last crawl that could read the repository began; `whole`: the last one that could read them all.
# `former`: since when a tag that came back was known before; `former_seen`: when it appeared then. NULL: not known.
# `last`: when the last crawl was recorded; `lost`: when this history began in place of one that was lost.
_LATER_COLUMNS = {
    "repository": ("read",),
    "tag": ("unseen", "former", "former_seen", "former_unseen"),
    "state": ("whole", "last", "lost"),
}
_LATER_TABLES = (
    """CREATE TABLE IF NOT EXISTS untagged (
    repository INTEGER NOT NULL, digest BLOB NOT NULL, since INTEGER NOT NULL,
    PRIMARY KEY (repository, digest)
) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS missing (
    repository INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL,
    known INTEGER NOT NULL, seen INTEGER, unseen INTEGER, since INTEGER NOT NULL,
    PRIMARY KEY (repository, name)
) WITHOUT ROWID""",
)


def lay_out(database: sqlite3.Connection, now: int, *, first: bool) -> None:
    """Create the tables, or add what those of an earlier version lack."""
    for statement in filter(str.strip, _SCHEMA.split(";") if first else ()):
        database.execute(statement)
    if first:
        database.execute("INSERT INTO state (began) VALUES (?)", (now,))
    for table, columns in _LATER_COLUMNS.items():
        there = {row[1] for row in database.execute(f"PRAGMA table_info({table})")}
        for column in columns:
            if column not in there:
                database.execute(f"ALTER TABLE {table} ADD COLUMN {column} INTEGER")
    for statement in _LATER_TABLES:
        database.execute(statement)
    database.execute(f"PRAGMA user_version = {VERSION}")


def version_of(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def has_begun(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'state'").fetchone() is not None


def known_images(database: sqlite3.Connection, wanted: Set[bytes]) -> Set[bytes]:
    """Those of `wanted` (keys) that are known, in any repository, with or without a tag; see `is_among`."""
    if not wanted:
        return set()
    short = {key[:FORMER_LENGTH] for key in wanted}
    known = database.execute("SELECT digest FROM tag UNION ALL SELECT digest FROM untagged")
    return {key for (key,) in known if key in wanted or key in short}


def is_among(digest: Digest, known: Set[bytes]) -> bool:
    key = digest.key
    return key in known or key[:FORMER_LENGTH] in known


def same(key: bytes, digest: Digest) -> bool:
    return key == (digest.key[:FORMER_LENGTH] if len(key) == FORMER_LENGTH else digest.key)

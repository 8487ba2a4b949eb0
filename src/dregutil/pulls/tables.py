"""The tables of recorded pulls.

STATE/pulls/<sum of the registry's key>.sqlite

A row for each tag or digest of a repository, with its last pull: 10,000 of them take less than 1 MB, however often they
are pulled. Times are in seconds since 1970. Not pure: it changes the file.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from dregutil.files import file_of
from dregutil.oci.names import registry_spellings

__all__ = ["VERSION", "has_begun", "lay_out", "pulls_file", "version_of"]

VERSION = 1
_SCHEMA = (
    "CREATE TABLE repository (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE agent (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE)",
    "CREATE TABLE source (id INTEGER PRIMARY KEY, kind TEXT NOT NULL, name TEXT NOT NULL, UNIQUE (kind, name))",
    # `reference` is the bytes of a digest, or the text of a tag: SQLite does not take one for the other.
    "CREATE TABLE pull (repository INTEGER NOT NULL, reference NOT NULL, at INTEGER NOT NULL, agent INTEGER NOT NULL,"
    " source INTEGER NOT NULL, PRIMARY KEY (repository, reference)) WITHOUT ROWID",
    "CREATE TABLE span (source INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL,"
    " PRIMARY KEY (source, since)) WITHOUT ROWID",
    "CREATE TABLE gap (source INTEGER NOT NULL, since INTEGER NOT NULL, until INTEGER NOT NULL, why TEXT NOT NULL,"
    " PRIMARY KEY (source, since)) WITHOUT ROWID",
    # A tag that was pushed or deleted, or, with an empty name, a repository of which something else changed. `number`
    # grows with each notification that says so; those up to `forgotten` were dropped.
    "CREATE TABLE change (repository INTEGER NOT NULL, tag TEXT NOT NULL, number INTEGER NOT NULL,"
    " PRIMARY KEY (repository, tag)) WITHOUT ROWID",
    "CREATE INDEX change_number ON change (number)",
    "CREATE TABLE marked (id INTEGER PRIMARY KEY, agent TEXT NOT NULL UNIQUE)",
    "CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    # A process of the registry that sends events; `replaced`: another one took its place.
    "CREATE TABLE instance (source INTEGER NOT NULL, name TEXT NOT NULL, address TEXT NOT NULL,"
    " last INTEGER NOT NULL, replaced INTEGER NOT NULL, PRIMARY KEY (source, name)) WITHOUT ROWID",
    # A log file, by the sum of its first line, whatever it is called after a rotation. `offset`: bytes that were read,
    # of the text that is in it; `before` is the sum of the last of them; `until` the time of the last line.
    "CREATE TABLE log_file (head BLOB PRIMARY KEY, offset INTEGER NOT NULL, before BLOB NOT NULL, until INTEGER,"
    " read INTEGER NOT NULL) WITHOUT ROWID",
)


def pulls_file(state: Path, registry: str) -> Path:
    """The file of a registry's recorded pulls. `state` is the state folder, `registry` the registry's identity."""
    return file_of(state / "pulls", registry_spellings(registry), ".sqlite")


def lay_out(database: sqlite3.Connection) -> None:
    """Create the tables, unless they are there. To be called within a transaction."""
    if not has_begun(database):
        for statement in _SCHEMA:
            database.execute(statement)
        database.execute(f"PRAGMA user_version = {VERSION}")


def version_of(database: sqlite3.Connection) -> int:
    return int(database.execute("PRAGMA user_version").fetchone()[0])


def has_begun(database: sqlite3.Connection) -> bool:
    return database.execute("SELECT 1 FROM sqlite_master WHERE name = 'source'").fetchone() is not None

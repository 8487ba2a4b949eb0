"""The tables of the content database, and the named steps that bring them up to date."""

from __future__ import annotations

import sqlite3

from dregutil.errors import CacheError
from dregutil.inventory.contents.sums import SUM_USERS, SUMS

__all__ = ["ADVICE", "migrate"]

ADVICE = "it may be deleted, everything in it can be read again; `-c None` works without it"

# Named and recorded, all in one transaction. A released one never changes; new ones are added.
_MIGRATIONS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "contents",
        (
            # `digest` is its bytes without the algorithm, which their number implies. `size` is in bytes: exact if the
            # blob itself was read, else the largest that a manifest states.
            "CREATE TABLE blob (id INTEGER PRIMARY KEY, digest BLOB NOT NULL UNIQUE, size INTEGER NOT NULL)",
            # `whole`: everything below it was read as well.
            "CREATE TABLE manifest (id INTEGER PRIMARY KEY REFERENCES blob, media_type TEXT NOT NULL,"
            " kind TEXT NOT NULL, whole INTEGER NOT NULL DEFAULT 0)",
            "CREATE TABLE part (manifest INTEGER NOT NULL REFERENCES manifest, blob INTEGER NOT NULL REFERENCES blob,"
            " role INTEGER NOT NULL, PRIMARY KEY (manifest, blob)) WITHOUT ROWID",
            "CREATE INDEX part_blob ON part (blob)",
            "CREATE TABLE content (id INTEGER PRIMARY KEY REFERENCES blob, deflated BLOB NOT NULL)",
        ),
    ),
    ("sums", SUMS),
    (
        "referrer lists",
        (
            # What the referrers API of a registry listed for a subject (bytes as in `blob`): digests, separated by
            # spaces. `read_at` is in seconds since 1970. A row without repository and subject: there was no such API.
            "CREATE TABLE referrer_list (registry TEXT NOT NULL, repository TEXT NOT NULL, subject BLOB NOT NULL,"
            " read_at INTEGER NOT NULL, referrers TEXT NOT NULL, sum INTEGER,"
            " PRIMARY KEY (registry, repository, subject)) WITHOUT ROWID",
        ),
    ),
    (
        "user sums",
        (
            # The sum of the ids of the manifests that have a blob as a part: a lost row of `part` is found without
            # looking at the others. `all_read` has the token of each index of tags whose contents were all read; a row
            # that is dropped takes them with it.
            "CREATE TABLE user_sum (blob INTEGER PRIMARY KEY, sum INTEGER NOT NULL)",
            SUM_USERS,
            "CREATE TABLE all_read (tags TEXT PRIMARY KEY, token BLOB NOT NULL) WITHOUT ROWID",
        ),
    ),
)

_NAMES = (
    "SELECT id, digest, size, sum FROM blob LIMIT 0",
    "SELECT id, media_type, kind, whole, sum FROM manifest LIMIT 0",
    "SELECT manifest, blob, role FROM part LIMIT 0",
    "SELECT id, deflated, sum FROM content LIMIT 0",
    "SELECT registry, repository, subject, read_at, referrers, sum FROM referrer_list LIMIT 0",
    "SELECT blob, sum FROM user_sum LIMIT 0",
    "SELECT tags, token FROM all_read LIMIT 0",
)


def migrate(connection: sqlite3.Connection) -> None:
    """Bring the tables up to date. Raises CacheError if a newer version made them, and sqlite3.Error if they are not as
    they were made."""
    _bring_up_to_date(connection)
    for query in _NAMES:
        connection.execute(query)  # SQLite's own checks do not find a damaged name


def _bring_up_to_date(connection: sqlite3.Connection) -> None:
    done = _recorded(connection)
    names = {name for name, _ in _MIGRATIONS}
    if done - names:
        raise CacheError(
            f"the content database was made by a newer version ({', '.join(sorted(done - names))})", advice=ADVICE
        )
    if done == names:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        connection.execute("CREATE TABLE IF NOT EXISTS migration (name TEXT PRIMARY KEY) WITHOUT ROWID")
        done = _recorded(connection)  # another process may have done it meanwhile
        for name, statements in _MIGRATIONS:
            if name not in done:
                for statement in statements:
                    connection.execute(statement)
                connection.execute("INSERT INTO migration VALUES (?)", (name,))
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _recorded(connection: sqlite3.Connection) -> set[str]:
    if not connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'migration'").fetchone():
        return set()
    return {name for (name,) in connection.execute("SELECT name FROM migration")}

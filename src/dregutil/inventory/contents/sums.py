"""Checksums of the rows of the content database: what is damaged on the disk is found, dropped, and read again.

A checksum is a CRC-32, against accidents; bytes are also checked against their digest when they are read. The checksum
of a manifest's row covers its parts, so a lost part is found as well.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection, Sequence

from dregutil.oci.image import DEEPEST

__all__ = [
    "BLOB_SUM",
    "CONTENT_SUM",
    "MANIFEST_SUM",
    "SUMS",
    "SUM_USERS",
    "begin_check",
    "checksum",
    "drop",
    "install",
    "unsound",
    "without_config",
]

_CHILD, _CONFIG = 1, 2  # roles of parts


def checksum(*values: str) -> str:
    """SQL for the checksum of values: the CRC-32 of all of them, each as bytes after their number and a colon.

    Damaged text may not decode, so every value is cast to bytes.
    """
    parts = " || ".join(f"length(CAST({value} AS BLOB)) || ':' || ({value})" for value in values)
    return f"crc32(coalesce(CAST({parts} AS BLOB), x''))"


BLOB_SUM = checksum("blob.digest", "blob.size")
CONTENT_SUM = checksum("content.deflated")
_PART_SUM = checksum("named.digest", "part.role")
_TYPE = ("manifest.media_type", "manifest.kind")
_OWN_SUM = checksum("(SELECT digest FROM blob WHERE blob.id = manifest.id)", *_TYPE)
MANIFEST_SUM = (
    f"({_OWN_SUM} + manifest.whole + coalesce((SELECT sum({_PART_SUM}) FROM part"
    " JOIN blob AS named ON named.id = part.blob WHERE part.manifest = manifest.id), 0))"
)

# A migration: the rows that are there are trusted.
SUMS = (
    "ALTER TABLE blob ADD COLUMN sum INTEGER",
    "ALTER TABLE manifest ADD COLUMN sum INTEGER",
    "ALTER TABLE content ADD COLUMN sum INTEGER",
    f"UPDATE blob SET sum = {BLOB_SUM}",
    f"UPDATE content SET sum = {CONTENT_SUM}",
    f"UPDATE manifest SET sum = {MANIFEST_SUM}",
)

# A migration as well: what `user_sum` holds is the sum of the ids of the manifests that have a blob as a part.
SUM_USERS = "INSERT INTO user_sum SELECT blob, CAST(total(manifest) AS INTEGER) FROM part GROUP BY blob"

# What a check looks at. Many manifests have the same parts, and each is looked at once. `pair` is a blob and its role
# in one number; its checksum goes into that of a manifest.
_CHECKED = (
    "CREATE TEMP TABLE IF NOT EXISTS sought (id INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE IF NOT EXISTS pair (id INTEGER PRIMARY KEY)",
    "CREATE TEMP TABLE IF NOT EXISTS pair_sum (id INTEGER PRIMARY KEY, sum INTEGER NOT NULL)",
    "DELETE FROM sought",
    "DELETE FROM pair",
    "DELETE FROM pair_sum",
)
_PAIR = "part.blob * 8 + part.role"


def install(connection: sqlite3.Connection) -> None:
    """Give a connection the function `crc32`."""
    connection.create_function("crc32", 1, zlib.crc32, deterministic=True)


def begin_check(connection: sqlite3.Connection, rows: str, values: Sequence[bytes] = ()) -> None:
    """Gather what `unsound` and `without_config` look at: the manifests that the query `rows` names, and those below.

    The caller holds a transaction.
    """
    for statement in _CHECKED:
        connection.execute(statement)
    connection.execute(f"INSERT OR IGNORE INTO sought {rows}", values)
    for _ in range(DEEPEST):
        connection.execute(
            # A damaged part may not be a number.
            f"INSERT OR IGNORE INTO pair SELECT CAST({_PAIR} AS INTEGER) FROM sought"
            " CROSS JOIN part ON part.manifest = sought.id"
        )
        children = f"SELECT id / 8 FROM pair WHERE id % 8 = {_CHILD}"
        if not connection.execute(f"INSERT OR IGNORE INTO sought {children}").rowcount:
            break
    connection.execute(
        f"INSERT INTO pair_sum SELECT pair.id, {checksum('named.digest', 'pair.id % 8')} FROM pair"
        " CROSS JOIN blob AS named ON named.id = pair.id / 8"
    )


def unsound(connection: sqlite3.Connection) -> set[int]:
    """The rows of the manifests that are damaged or incomplete: the row, a part, a size, or the bytes of the manifest
    or its config."""
    queries = (
        # Its own row, its bytes.
        "SELECT sought.id FROM sought LEFT JOIN manifest USING (id) LEFT JOIN content USING (id)"
        f" LEFT JOIN blob USING (id) WHERE content.id IS NULL OR manifest.id IS NULL OR manifest.sum IS NOT"
        f" ({checksum('blob.digest', *_TYPE)}"
        " + manifest.whole + coalesce((SELECT sum(pair_sum.sum) FROM part CROSS JOIN pair_sum"
        f" ON pair_sum.id = {_PAIR} WHERE part.manifest = manifest.id), 0))"
        f" OR content.sum IS NOT {CONTENT_SUM} OR blob.sum IS NOT {BLOB_SUM}",
        # What it names: sizes, and the bytes of a config that was read.
        "SELECT part.manifest FROM part JOIN sought ON sought.id = part.manifest WHERE part.blob IN"
        " (SELECT pair.id / 8 FROM pair LEFT JOIN blob ON blob.id = pair.id / 8"
        f" LEFT JOIN content ON content.id = pair.id / 8 WHERE blob.sum IS NOT {BLOB_SUM}"
        f" OR (content.id IS NOT NULL AND content.sum IS NOT {CONTENT_SUM}))",
    )
    return {identity for query in queries for (identity,) in connection.execute(query)}


def without_config(connection: sqlite3.Connection) -> dict[int, bytes]:
    """The sought manifests whose config is not stored: row id to digest. The configs of some kinds are never read."""
    query = (
        "SELECT sought.id, blob.digest FROM part JOIN sought ON sought.id = part.manifest JOIN blob USING (id)"
        f" WHERE part.role = {_CONFIG} AND part.blob IN (SELECT pair.id / 8 FROM pair"
        f" LEFT JOIN content ON content.id = pair.id / 8 WHERE pair.id % 8 = {_CONFIG} AND content.id IS NULL)"
    )
    return dict(connection.execute(query).fetchall())


def drop(connection: sqlite3.Connection, identities: Collection[int]) -> None:
    """Delete manifests, damaged rows of their parts, the mark `whole` of all manifests above them, and every mark that
    all tags were read."""
    connection.execute("DELETE FROM all_read")
    for identity in identities:
        parts = [blob for (blob,) in connection.execute("SELECT blob FROM part WHERE manifest = ?", (identity,))]
        for blob in (identity, *parts):
            connection.execute(f"DELETE FROM content WHERE id = ? AND sum IS NOT {CONTENT_SUM}", (blob,))
        connection.execute(
            "WITH RECURSIVE above (id, floor) AS (SELECT ?, 0 UNION SELECT part.manifest, floor + 1 FROM above"
            " JOIN part ON part.blob = above.id WHERE floor < ?)"
            " UPDATE manifest SET whole = 0, sum = sum - 1 WHERE whole AND id IN (SELECT id FROM above)",
            (identity, DEEPEST),
        )
        connection.execute(
            "UPDATE user_sum SET sum = sum - ?1 WHERE blob IN (SELECT blob FROM part WHERE manifest = ?1)", (identity,)
        )
        connection.execute("DELETE FROM part WHERE manifest = ?", (identity,))
        connection.execute("DELETE FROM content WHERE id = ?", (identity,))
        connection.execute("DELETE FROM manifest WHERE id = ?", (identity,))
        for blob in (identity, *parts):
            connection.execute(f"DELETE FROM blob WHERE id = ? AND sum IS NOT {BLOB_SUM}", (blob,))

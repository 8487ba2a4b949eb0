"""Sums over the rows of the content database: what a disk has changed is found, dropped, and read again.

A sum is a CRC-32, for accidents; bytes that are read out are checked against their digest besides. The sum of a
manifest's row covers its parts, so a part that vanished is found too.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Collection

from dregutil.oci.image import DEEPEST

__all__ = ["BLOB_SUM", "CONTENT_SUM", "MANIFEST_SUM", "SUMS", "drop", "install", "unsound", "without_config"]

_CHILD, _CONFIG = 1, 2  # roles of parts
BLOB_SUM = "row_sum(CAST(blob.digest AS BLOB), CAST(blob.size AS BLOB))"
CONTENT_SUM = "row_sum(CAST(content.deflated AS BLOB))"
MANIFEST_SUM = (
    "(row_sum((SELECT CAST(digest AS BLOB) FROM blob WHERE blob.id = manifest.id), CAST(manifest.media_type AS BLOB),"
    " CAST(manifest.kind AS BLOB)) + manifest.whole + coalesce((SELECT sum(row_sum(CAST(named.digest AS BLOB),"
    " CAST(part.role AS BLOB))) FROM part JOIN blob AS named ON named.id = part.blob"
    " WHERE part.manifest = manifest.id), 0))"
)

# A migration: what is there is trusted once.
SUMS = (
    "ALTER TABLE blob ADD COLUMN sum INTEGER",
    "ALTER TABLE manifest ADD COLUMN sum INTEGER",
    "ALTER TABLE content ADD COLUMN sum INTEGER",
    f"UPDATE blob SET sum = {BLOB_SUM}",
    f"UPDATE content SET sum = {CONTENT_SUM}",
    f"UPDATE manifest SET sum = {MANIFEST_SUM}",
)


def install(connection: sqlite3.Connection) -> None:
    """Give a connection the function `row_sum`."""
    connection.create_function("row_sum", -1, _row_sum, deterministic=True)


def _row_sum(*values: bytes | None) -> int:
    """All values come as bytes: text that is damaged is not even text."""
    found = 0
    for value in values:
        part = value or b""
        found = zlib.crc32(b"%d:" % len(part) + part, found)
    return found


def unsound(connection: sqlite3.Connection, keys: Collection[bytes]) -> set[int]:
    """The rows of manifests, at or below those of `keys` (digests), of which something is missing or changed: their
    own row, a part, a size, or bytes of theirs or of their config."""
    queries = (
        # Its own row, its bytes.
        "SELECT reached.id FROM reached LEFT JOIN manifest USING (id) LEFT JOIN content USING (id)"
        f" LEFT JOIN blob USING (id) WHERE manifest.sum IS NOT {MANIFEST_SUM} OR content.sum IS NOT {CONTENT_SUM}"
        f" OR content.id IS NULL OR manifest.id IS NULL OR blob.sum IS NOT {BLOB_SUM}",
        # What it names: sizes, and the bytes of a config that was read.
        "SELECT reached.id FROM reached JOIN part ON part.manifest = reached.id LEFT JOIN blob ON blob.id = part.blob"
        f" LEFT JOIN content ON content.id = part.blob WHERE blob.sum IS NOT {BLOB_SUM}"
        f" OR (content.id IS NOT NULL AND content.sum IS NOT {CONTENT_SUM})",
    )
    return {identity for query in queries for (identity,) in _below(connection, keys, query)}


def without_config(connection: sqlite3.Connection, keys: Collection[bytes]) -> dict[int, bytes]:
    """The rows of manifests, at or below those of `keys`, whose config is not here, with their digests: not of every
    kind is it read."""
    query = (
        "SELECT reached.id, blob.digest FROM reached JOIN blob USING (id)"
        f" JOIN part ON part.manifest = reached.id AND part.role = {_CONFIG}"
        " LEFT JOIN content ON content.id = part.blob WHERE content.id IS NULL"
    )
    return dict(_below(connection, keys, query))


def _below(connection: sqlite3.Connection, keys: Collection[bytes], query: str) -> sqlite3.Cursor:
    """`query` on what is `reached` from `keys` down through indexes."""
    reached = (
        "WITH RECURSIVE below (id, floor) AS ("
        f" SELECT id, 0 FROM blob WHERE digest IN ({','.join('?' * len(keys))})"
        " UNION SELECT part.blob, floor + 1 FROM below JOIN part ON part.manifest = below.id AND role = ?"
        " WHERE floor < ?), reached (id) AS (SELECT DISTINCT id FROM below) "
    )
    return connection.execute(reached + query, [*keys, _CHILD, DEEPEST])


def drop(connection: sqlite3.Connection, identities: Collection[int]) -> None:
    """Forget manifests with all that only damage can have left of them, and that what is above them was read whole."""
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
        connection.execute("DELETE FROM part WHERE manifest = ?", (identity,))
        connection.execute("DELETE FROM content WHERE id = ?", (identity,))
        connection.execute("DELETE FROM manifest WHERE id = ?", (identity,))
        for blob in (identity, *parts):
            connection.execute(f"DELETE FROM blob WHERE id = ? AND sum IS NOT {BLOB_SUM}", (blob,))

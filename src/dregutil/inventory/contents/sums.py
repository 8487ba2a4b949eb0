"""Checksums of the rows of the content database: what is damaged on the disk is found, dropped, and read again.

A checksum is a CRC-32, against accidents; bytes are also checked against their digest when they are read. The checksum
of a manifest's row covers its parts, so a lost part is found as well.
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

# A migration: the rows that are there are trusted.
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
    """All values are bytes: damaged text may not decode."""
    found = 0
    for value in values:
        part = value or b""
        found = zlib.crc32(b"%d:" % len(part) + part, found)
    return found


def unsound(connection: sqlite3.Connection, keys: Collection[bytes]) -> set[int]:
    """The rows of the manifests, at or below `keys` (digests), that are damaged or incomplete: the row, a part, a size,
    or the bytes of the manifest or its config."""
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
    """The rows of the manifests, at or below `keys`, whose config is not here, with their digests. It is not read for
    every kind of manifest."""
    query = (
        "SELECT reached.id, blob.digest FROM reached JOIN blob USING (id)"
        f" JOIN part ON part.manifest = reached.id AND part.role = {_CONFIG}"
        " LEFT JOIN content ON content.id = part.blob WHERE content.id IS NULL"
    )
    return dict(_below(connection, keys, query))


def _below(connection: sqlite3.Connection, keys: Collection[bytes], query: str) -> sqlite3.Cursor:
    """Runs `query`, in which `reached` has the manifests at or below `keys`."""
    reached = (
        "WITH RECURSIVE below (id, floor) AS ("
        f" SELECT id, 0 FROM blob WHERE digest IN ({','.join('?' * len(keys))})"
        " UNION SELECT part.blob, floor + 1 FROM below JOIN part ON part.manifest = below.id AND role = ?"
        " WHERE floor < ?), reached (id) AS (SELECT DISTINCT id FROM below) "
    )
    return connection.execute(reached + query, [*keys, _CHILD, DEEPEST])


def drop(connection: sqlite3.Connection, identities: Collection[int]) -> None:
    """Delete manifests, damaged rows of their parts, and the mark `whole` of all manifests above them."""
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

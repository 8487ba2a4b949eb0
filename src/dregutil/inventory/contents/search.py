"""Questions to the content database: which digests begin so, what has a blob as a part, which digests are images.

Answers are about what was ever read, from whatever registry. Every function raises CacheError.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from dregutil.inventory.contents.database import (
    CHILD,
    FOREIGN,
    ContentDatabase,
    in_batches,
)
from dregutil.inventory.contents.sums import BLOB_SUM, MANIFEST_SUM, SUM_USERS
from dregutil.oci.image import DEEPEST
from dregutil.oci.manifest import Kind
from dregutil.oci.names import Digest

__all__ = ["Use", "digests_beginning_with", "everything_above", "find_images", "find_users", "holders_above"]

_EVERYTHING_ABOVE = (
    "WITH RECURSIVE above (id, floor) AS (SELECT id, 0 FROM blob WHERE digest = ?"
    " UNION SELECT part.manifest, floor + 1 FROM above JOIN part ON part.blob = above.id WHERE floor < ?)"
    f" SELECT seen.id, digest, blob.sum IS {BLOB_SUM}, coalesce(user_sum.sum, 0) IS"
    " (SELECT CAST(total(manifest) AS INTEGER) FROM part WHERE part.blob = seen.id)"
    " FROM (SELECT DISTINCT id FROM above) AS seen LEFT JOIN blob ON blob.id = seen.id"
    " LEFT JOIN user_sum ON user_sum.blob = seen.id"
)


@dataclass(frozen=True, slots=True)
class Use:
    """How a manifest uses a blob or another manifest.

    `role` is CHILD, CONFIG, LAYER or FOREIGN. `depth` is 1 where it is a part of the manifest itself, and one more for
    each index in between.
    """

    role: int
    depth: int


def digests_beginning_with(database: ContentDatabase, value: str, algorithm: str | None = None) -> list[Digest]:
    """The digests of blobs of any kind whose hexadecimal digits begin with `value`; at most 50."""
    low = bytes.fromhex(value.ljust(len(value) + len(value) % 2, "0"))
    high = bytes.fromhex(value.ljust(len(value) + len(value) % 2, "f")) + b"\xff" * 64
    with database.guarded():
        found = database.connection.execute(
            "SELECT digest FROM blob WHERE digest BETWEEN ? AND ? LIMIT 50", (low, high)
        ).fetchall()
    digests = [Digest.of_key(key) for (key,) in found]
    return [digest for digest in digests if algorithm in (None, digest.algorithm)]


def find_users(database: ContentDatabase, blob: Digest) -> dict[Digest, Use]:
    """The manifests that have a blob or manifest as a part, and the indexes above those, each with how it uses it."""
    _repair_users(database, blob)
    query = (
        "WITH RECURSIVE above (id, role, floor) AS ("
        " SELECT manifest, role, 1 FROM part JOIN blob ON blob.id = part.blob WHERE digest = ?"
        " UNION SELECT part.manifest, above.role, floor + 1 FROM above"
        " JOIN part ON part.blob = above.id AND part.role = ? WHERE floor < ?)"
        " SELECT digest, role, min(floor) FROM above JOIN blob USING (id) GROUP BY blob.id"
    )
    with database.guarded():
        found = database.connection.execute(query, (blob.key, CHILD, DEEPEST)).fetchall()
    return {Digest.of_key(key): Use(role, depth) for key, role, depth in found}


def everything_above(database: ContentDatabase, blob: Digest) -> frozenset[Digest] | None:
    """The manifests that have a blob as a part in any role, and those above them; None if some of these may be lost:
    the blob is not known, or a row does not match its checksum."""
    with database.guarded():
        found = database.connection.execute(_EVERYTHING_ABOVE, (blob.key, DEEPEST)).fetchall()
    if not found or not all(is_sound and is_complete for _, _, is_sound, is_complete in found):
        return None
    return frozenset(Digest.of_key(key) for _, key, _, _ in found) - {blob}


def _repair_users(database: ContentDatabase, blob: Digest) -> None:
    """Drop damaged manifests above a blob, which no tag reaches if the tags were checked; and rebuild the index of what
    uses what, and the sums of users, if those do not match."""
    with database.guarded():
        found = database.connection.execute(_EVERYTHING_ABOVE, (blob.key, DEEPEST)).fetchall()
    database.drop([identity for identity, key, is_sound, _ in found if not is_sound and key != blob.key])
    if not all(is_complete for _, _, _, is_complete in found):
        with database.writing() as connection:
            for statement in ("REINDEX part_blob", "DELETE FROM all_read", "DELETE FROM user_sum", SUM_USERS):
                connection.execute(statement)


def find_images(database: ContentDatabase, digests: Iterable[Digest]) -> dict[Digest, str]:
    """Those of `digests` whose bytes were read and are an image's, not an index's, with their media type."""
    found: dict[Digest, str] = {}
    kinds = (Kind.IMAGE.value, Kind.SCHEMA1.value)
    with database.guarded():
        for some in in_batches(dict.fromkeys(digests)):
            query = (
                "SELECT digest, media_type FROM manifest JOIN blob USING (id)"
                f" WHERE kind IN (?, ?) AND digest IN ({','.join('?' * len(some))})"
                f" AND manifest.sum IS {MANIFEST_SUM}"  # an index that a damaged row calls an image would hold nothing
            )
            rows = database.connection.execute(query, [*kinds, *(digest.key for digest in some)])
            found.update((Digest.of_key(key), media_type) for key, media_type in rows)
    return found


def holders_above(database: ContentDatabase, digests: Iterable[Digest]) -> frozenset[Digest]:
    """The manifests that have one of `digests` as a part, and the indexes above those.

    A part is a child of an index, or a layer of an image that is a manifest as well.
    """
    found: set[bytes] = set()
    with database.guarded():
        for some in in_batches(digests):
            query = (
                "WITH RECURSIVE above (id, floor) AS ("
                " SELECT manifest, 1 FROM blob JOIN part ON part.blob = blob.id"
                f" WHERE digest IN ({','.join('?' * len(some))}) AND role != ?"
                " UNION SELECT part.manifest, floor + 1 FROM above"
                " JOIN part ON part.blob = above.id AND part.role = ? WHERE floor < ?)"
                " SELECT DISTINCT digest FROM above JOIN blob USING (id)"
            )
            values = [*(digest.key for digest in some), FOREIGN, CHILD, DEEPEST]
            found.update(key for (key,) in database.connection.execute(query, values))
    return frozenset(map(Digest.of_key, found))

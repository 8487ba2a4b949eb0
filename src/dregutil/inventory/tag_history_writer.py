"""A crawl of the whole registry → the rows of its tag history."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Mapping, Set
from dataclasses import dataclass

from dregutil.inventory.packed_tags import PackedTags
from dregutil.inventory.tag_history_tables import FORMER_LENGTH, is_among, known_images, same
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Crawl", "write_crawl"]

_MOST_UNTAGGED = 200_000  # untagged digests that are kept, the newest; and as many missing tags: about 12 MB each
_FORGET = (
    "DELETE FROM untagged WHERE since < (SELECT since FROM untagged ORDER BY since DESC LIMIT 1 OFFSET ?)",
    "DELETE FROM missing WHERE since < (SELECT since FROM missing ORDER BY since DESC LIMIT 1 OFFSET ?)",
)
_FORGET_EMPTY = (
    "DELETE FROM repository WHERE NOT EXISTS (SELECT 1 FROM tag WHERE tag.repository = repository.id)"
    " AND NOT EXISTS (SELECT 1 FROM untagged WHERE untagged.repository = repository.id)"
    " AND NOT EXISTS (SELECT 1 FROM missing WHERE missing.repository = repository.id)"
)


@dataclass(frozen=True, slots=True)
class Crawl:
    """When a crawl began and ended, in seconds. `first`: the history begins with it; `overtaken`: another machine
    recorded one since this one began, and what that one found new is newer."""

    began: int
    ended: int
    first: bool
    overtaken: bool = False

    def after(self, former: int | None) -> int | None:
        """The moment of the crawl before; None if it is not known, or the clock was set back since."""
        return None if former is None or former > self.began else former

    def stamp(self, former: int | None) -> int | None:
        """The moment of this crawl to record; None if the clock was set back, so that neither moment is trusted."""
        return self.began if former is None or former <= self.began else None


def write_crawl(database: sqlite3.Connection, inventory: Inventory, crawl: Crawl, passed_over: Set[Repository]) -> None:
    """Record what a crawl found, within the caller's transaction. Repositories that are `passed_over` stay as they are.

    Raises sqlite3.Error.
    """
    (whole,) = database.execute("SELECT whole FROM state").fetchone()
    known = {name: (number, read) for name, number, read in database.execute("SELECT name, id, read FROM repository")}
    images = set[bytes]() if crawl.first else known_images(database, _came(database, inventory, known, passed_over))
    for name in known.keys() - inventory.as_mapping().keys() - passed_over:
        _RepositoryRows(database, known[name][0], crawl, images).write(known[name][1], {})
    for repository, tags in inventory.as_mapping().items():
        if repository in passed_over:
            continue
        number, read = known.get(repository, (None, whole))
        if number is None:
            number = database.execute("INSERT INTO repository (name) VALUES (?)", (repository,)).lastrowid
        _RepositoryRows(database, number, crawl, images).write(read, tags)
    for forget in _FORGET:
        database.execute(forget, (_MOST_UNTAGGED - 1,))
    database.execute(_FORGET_EMPTY)


def _came(
    database: sqlite3.Connection,
    inventory: Inventory,
    known: Mapping[str, tuple[int, int | None]],
    passed_over: Set[Repository],
) -> Set[bytes]:
    """The keys of the digests that tags were not on before."""
    return {
        digest.key
        for repository, tags in inventory.as_mapping().items()
        if repository not in passed_over
        for before in (_before(database, known.get(repository, (None, None))[0]),)
        if before != _keys(tags)
        for tag, digest in tags.items()
        if tag not in before or not same(before[tag], digest)
    }


def _before(database: sqlite3.Connection, number: int | None) -> dict[str, bytes]:
    return dict(database.execute("SELECT name, digest FROM tag WHERE repository = ?", (number,)).fetchall())


def _keys(tags: Mapping[Tag, Digest]) -> dict[Tag, bytes]:
    return dict(zip(tags, PackedTags.of(tags).keys_of_digests(), strict=True))


class _RepositoryRows:
    """The rows of one repository, which has the id `number`. `images`: those known before the crawl, of those that tags
    came on."""

    def __init__(self, database: sqlite3.Connection, number: int | None, crawl: Crawl, images: Set[bytes]) -> None:
        self._database = database
        self._number = number
        self._crawl = crawl
        self._images = images

    def write(self, read: int | None, tags: Mapping[Tag, Digest]) -> None:
        """Record the tags that the crawl found; the crawl before read the repository at `read`."""
        before = _before(self._database, self._number)
        tags = self._newest(tags) if self._crawl.overtaken else tags
        self._database.execute("UPDATE repository SET read = ? WHERE id = ?", (self._crawl.stamp(read), self._number))
        if before == _keys(tags):
            return
        gone = before.keys() - tags.keys()
        returned = self._returned(tags.keys() - before.keys(), tags)
        self._write_missing(gone, tags)
        self._write_changed(before, tags, returned, None if self._crawl.first else self._crawl.after(read))
        self._complete_digests(before, tags)
        self._write_untagged(before, tags)

    def _newest(self, tags: Mapping[Tag, Digest]) -> Mapping[Tag, Digest]:
        """The tags that the crawl found, but as a crawl that overtook it recorded them, where it did."""
        changed, gone = (
            self._database.execute(
                f"SELECT name, digest FROM {table} WHERE repository = ? AND since >= ? AND length(digest) > ?",  # noqa: S608
                (self._number, self._crawl.began, FORMER_LENGTH),
            ).fetchall()
            for table in ("tag", "missing")
        )
        if not changed and not gone:
            return tags
        taken = set(gone)
        known = {**tags, **{Tag(name): Digest.of_key(key) for name, key in changed}}
        return {tag: digest for tag, digest in known.items() if (tag, digest.key) not in taken}

    def _returned(self, came: Collection[Tag], tags: Mapping[Tag, Digest]) -> Mapping[Tag, tuple[int | None, ...]]:
        """Of the tags that came, those that were missing and are on their former digest: since when they were known."""
        if not came:
            return {}
        rows = self._database.execute(
            "SELECT name, digest, known, seen, unseen FROM missing WHERE repository = ?", (self._number,)
        )
        return {Tag(name): tuple(was) for name, key, *was in rows if name in came and same(key, tags[Tag(name)])}

    def _write_missing(self, gone: Collection[str], tags: Mapping[Tag, Digest]) -> None:
        number, now = self._number, self._crawl.ended
        self._database.executemany(
            "INSERT OR REPLACE INTO missing (repository, name, digest, known, seen, unseen, since)"
            " SELECT repository, name, digest, coalesce(former, since),"
            " CASE WHEN former IS NOT NULL THEN former_seen WHEN came THEN since END,"
            " CASE WHEN former IS NOT NULL THEN former_unseen ELSE unseen END,"
            " ? FROM tag WHERE repository = ? AND name = ? AND length(digest) > ?",
            [(now, number, name, FORMER_LENGTH) for name in gone],
        )
        self._database.executemany(
            "DELETE FROM tag WHERE repository = ? AND name = ?", [(number, name) for name in gone]
        )
        found = {name for (name,) in self._database.execute("SELECT name FROM missing WHERE repository = ?", (number,))}
        self._database.executemany(
            "DELETE FROM missing WHERE repository = ? AND name = ?", [(number, name) for name in found & tags.keys()]
        )

    def _write_changed(
        self,
        before: Mapping[str, bytes],
        tags: Mapping[Tag, Digest],
        returned: Mapping[Tag, tuple[int | None, ...]],
        unseen: int | None,
    ) -> None:
        """The tags that are new, or on another digest."""
        crawl = self._crawl
        self._database.executemany(
            "INSERT OR REPLACE INTO tag (repository, name, digest, since, came, unseen,"
            " former, former_seen, former_unseen) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
            [
                (
                    self._number,
                    tag,
                    digest.key,
                    crawl.ended,
                    int(not crawl.first),
                    crawl.ended if is_among(digest, self._images) else unseen,
                    *returned.get(tag, (None, None, None)),
                )
                for tag, digest in tags.items()
                if tag not in before or not same(before[tag], digest)
            ],
        )

    def _complete_digests(self, before: Mapping[str, bytes], tags: Mapping[Tag, Digest]) -> None:
        """The first version kept only the beginning of a digest."""
        self._database.executemany(
            "UPDATE tag SET digest = ? WHERE repository = ? AND name = ?",
            [
                (digest.key, self._number, tag)
                for tag, digest in tags.items()
                if len(before.get(tag, b"")) == FORMER_LENGTH and same(before[tag], digest)
            ],
        )

    def _write_untagged(self, before: Mapping[str, bytes], tags: Mapping[Tag, Digest]) -> None:
        number = self._number
        tagged = {digest.key for digest in tags.values()}
        lost = {key for key in before.values() if len(key) > FORMER_LENGTH} - tagged
        self._database.executemany(
            "INSERT OR IGNORE INTO untagged VALUES (?, ?, ?)", [(number, key, self._crawl.ended) for key in lost]
        )
        again = {
            key for (key,) in self._database.execute("SELECT digest FROM untagged WHERE repository = ?", (number,))
        }
        self._database.executemany(
            "DELETE FROM untagged WHERE repository = ? AND digest = ?", [(number, key) for key in again & tagged]
        )

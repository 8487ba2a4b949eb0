"""When each tag appeared on the digest that it names: one durable database for each registry, in the state folder.

STATE/sightings/<sum of the registry's key>.sqlite

The history begins with the first complete crawl. When its tags appeared is not known. A tag that a later crawl finds
new, or on another digest, appeared between that crawl and the one before, whose moment is kept with it. A tag that
disappears is kept as missing. If it comes back on the same digest, the history keeps since when it was known before; on
another digest it is new. A digest that loses its last tag in a repository is kept as untagged since then, until it has
a tag again: no registry lists such manifests. A million tags take about 80 MB.
"""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dregutil.errors import JournalError
from dregutil.files import create_private, file_of, make_private_folder
from dregutil.inventory.shared import SharedFiles
from dregutil.inventory.tag_history_tables import (
    FORMER_LENGTH,
    VERSION,
    has_begun,
    lay_out,
    same,
    version_of,
)
from dregutil.inventory.tag_history_writer import Crawl, write_crawl
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag, registry_spellings

__all__ = ["Missing", "Sighting", "TagHistory"]

_ADVICE = (
    "it holds when tags came, which no crawl can find out again: restore it from a copy; without one, move it away, "
    "and the records begin again, with every tag younger than min_age"
)
_FREE_SPACE = "free space on its file system; the records are unchanged"
_LONGEST_CRAWL = 24 * 3600  # seconds
_NO_SPACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # a file that may not grow is an I/O error to SQLite


@dataclass(frozen=True, slots=True)
class Sighting:
    """What the history knows of a tag on its digest.

    `known_since`: the crawl that first found it so. `came`: whether it appeared then; otherwise it was there when the
    history began. `unseen`: when the crawl before began, which did not find it; the same as `known_since` if the image
    was known before it got this tag; None if that crawl is not known. `former`: of a tag that came back on the same
    digest, since when it was known before, when it appeared then, and the crawl before that.
    """

    known_since: datetime
    came: bool
    unseen: datetime | None = None
    former: tuple[datetime, datetime | None, datetime | None] | None = None


@dataclass(frozen=True, slots=True)
class Missing:
    """A tag that a complete crawl no longer found: the digest that it named, and when that crawl was."""

    digest: Digest
    since: datetime


class TagHistory:
    """The tag history of one registry. Every method raises JournalError if its file cannot be used."""

    def __init__(self, state: Path, registry: str, shared: SharedFiles | None = None) -> None:
        """`state` is the state folder, `registry` the registry's identity. With `shared` the file is this machine's
        copy of what all machines have."""
        self.path = file_of(state / "sightings", registry_spellings(registry), ".sqlite")
        self._shared = None if shared is None else shared.file("sightings", self.path)

    def bring(self) -> None:
        """Bring the copy of a shared history up to date. What is recorded later is added to the newest one anyway."""
        if self._shared is not None:
            self._shared.bring()

    def of(self, repository: Repository, tags: Mapping[Tag, Digest]) -> Mapping[Tag, Sighting]:
        """What is known of those of `tags` that are still on the digest that was recorded."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            found = self._tags(database, repository)
        return {tag: _sighting(row) for tag, row in found.items() if tag in tags and same(row["digest"], tags[tag])}

    def named(self, repository: Repository) -> Mapping[Tag, tuple[Digest, datetime]]:
        """What each tag of a repository named at the last complete crawl, and since when it is known to."""
        if not self.path.exists():
            return {}
        with self._open() as database:
            found = self._tags(database, repository)
        return {
            tag: (Digest.of_key(row["digest"]), _moment(row["since"]))
            for tag, row in found.items()
            if len(row["digest"]) > FORMER_LENGTH
        }

    def repositories(self) -> tuple[Repository, ...]:
        """The repositories in which the last complete crawl found tags."""
        return tuple(
            Repository(name)
            for (name,) in self._rows(
                "SELECT name FROM repository WHERE EXISTS (SELECT 1 FROM tag WHERE tag.repository = repository.id)", ()
            )
        )

    def absent_from(self, inventory: Inventory) -> Iterator[tuple[Repository, Tag, Digest]]:
        """The tags that the last complete crawl found and `inventory` does not have, with what they named."""
        if not self.path.exists():
            return
        with self._open() as database:
            if not has_begun(database):
                return
            for number, name in database.execute("SELECT id, name FROM repository").fetchall():
                here = inventory.tags(Repository(name))
                rows = database.execute("SELECT name, digest FROM tag WHERE repository = ?", (number,))
                for tag, key in rows:
                    if tag not in here and len(key) > FORMER_LENGTH:
                        yield Repository(name), Tag(tag), Digest.of_key(key)

    def missing(self, repository: Repository) -> Mapping[Tag, Missing]:
        """The tags that an earlier crawl found in a repository, and the last complete one did not."""
        rows = self._rows(
            "SELECT missing.name, digest, since FROM missing JOIN repository ON repository.id = missing.repository "
            "WHERE repository.name = ?",
            (repository,),
            since_version=4,
        )
        return {Tag(name): Missing(Digest.of_key(key), _moment(since)) for name, key, since in rows}

    def last_crawl(self) -> datetime | None:
        """When the last crawl was recorded; None if none was, or by a version that did not record when."""
        return self._state("last")

    def lost_since(self) -> datetime | None:
        """When this history began in place of one that was lost; None if none was lost."""
        return self._state("lost")

    def has_begun(self) -> bool:
        if not self.path.exists():
            return False
        with self._open() as database:
            return has_begun(database)

    def create(self) -> None:
        """Make the file, empty: the history begins with the first complete crawl. Raises JournalError."""
        self._make_file()
        if self._shared is not None:
            with self._writing():
                pass  # for all machines

    def untagged(self, repository: Repository) -> Mapping[Digest, datetime]:
        """The digests that lost their last tag in a repository, each with the crawl that first found it so.

        They may have been deleted since.
        """
        rows = self._rows(
            "SELECT digest, since FROM untagged JOIN repository ON repository.id = untagged.repository "
            "WHERE repository.name = ?",
            (repository,),
            since_version=2,
        )
        return {Digest.of_key(key): _moment(since) for key, since in rows}

    def forget_untagged(self, repository: Repository, digests: Iterable[Digest]) -> None:
        """Forget digests that are no longer there."""
        with self._writing() as database:
            database.executemany(
                "DELETE FROM untagged WHERE digest = ? AND repository = (SELECT id FROM repository WHERE name = ?)",
                [(digest.key, repository) for digest in digests],
            )

    def record(
        self,
        inventory: Inventory,
        *,
        now: datetime,
        began: datetime | None = None,
        unread: Collection[Repository] = (),
        unasked: Collection[Repository] = (),
        lost: bool = False,
    ) -> None:
        """Record what a crawl of the whole registry found, all of it or nothing.

        `began`: when the crawl began, if not `now`. `unread`: repositories that it could not read; they stay as they
        are, and no history begins with such a crawl. `unasked`: repositories that it was not to read; they stay as
        well. `lost`: there was a history, or a newer one, that is not here.
        """
        self._make_file()
        with self._writing() as database:
            first = not has_begun(database)
            if first and unread:
                return
            lay_out(database, int(now.timestamp()), first=first)
            began_at = int((began or now).timestamp())
            crawl = Crawl(began_at, int(now.timestamp()), first, self._is_overtaken(database, began_at))
            write_crawl(database, inventory, crawl, {*unread, *unasked})
            if not unread:
                (whole,) = database.execute("SELECT whole FROM state").fetchone()
                database.execute("UPDATE state SET whole = ?", (crawl.stamp(whole),))
            # Clocks of machines differ; a mark of another one must not be later than this.
            (last,) = database.execute("SELECT last FROM state").fetchone()
            newest = crawl.ended if self._shared is None else max(crawl.ended, last or 0)
            database.execute("UPDATE state SET last = ?", (newest,))
            if lost:
                database.execute("UPDATE state SET lost = ?", (crawl.ended,))

    def _is_overtaken(self, database: sqlite3.Connection, began: int) -> bool:
        """Whether another machine recorded a crawl since this one `began`. A clock that is far off does not count."""
        (last,) = database.execute("SELECT last FROM state").fetchone()
        return self._shared is not None and last is not None and 0 <= last - began < _LONGEST_CRAWL

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction; with a shared history, on that of all machines."""
        with self._open() as database:
            if self._shared is not None:
                with self._shared.writing(database):
                    yield database
                return
            database.execute("BEGIN IMMEDIATE")
            try:
                yield database
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
            database.execute("COMMIT")

    def _make_file(self) -> None:
        try:
            make_private_folder(self.path.parent)
            create_private(self.path)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            elsewhere = "name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)"
            raise JournalError(
                f"{self.path} cannot be written: {error.strerror or error}",
                advice=_FREE_SPACE if full else elsewhere,
            ) from error

    def _tags(self, database: sqlite3.Connection, repository: Repository) -> Mapping[Tag, Mapping[str, Any]]:
        """The rows of a repository's tags, by column."""
        if not has_begun(database):
            return {}
        rows = database.execute(
            "SELECT tag.* FROM tag JOIN repository ON repository.id = tag.repository WHERE repository.name = ?",
            (repository,),
        )
        columns = [column[0] for column in rows.description]
        found = (dict(zip(columns, row, strict=True)) for row in rows)
        return {Tag(row["name"]): row for row in found}

    def _state(self, column: str) -> datetime | None:
        rows = self._rows("SELECT last, lost FROM state", (), since_version=4)
        return _moment_or_none(rows[0][("last", "lost").index(column)]) if rows else None

    def _rows(self, query: str, values: tuple[object, ...], since_version: int = 1) -> list[tuple[Any, ...]]:
        """The rows of a query; none if the history has not begun, or was made before `since_version`."""
        if not self.path.exists():
            return []
        with self._open() as database:
            if not has_begun(database) or version_of(database) < since_version:
                return []
            return database.execute(query, values).fetchall()

    @contextlib.contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        try:
            with contextlib.closing(sqlite3.connect(self.path, timeout=30, isolation_level=None)) as database:
                database.execute("PRAGMA synchronous = FULL")
                if version_of(database) not in range(VERSION + 1):
                    raise JournalError(f"{self.path} was made by a newer version", advice="use that version")
                yield database
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_SPACE
            advice = _FREE_SPACE if full else _ADVICE
            raise JournalError(f"the records {self.path} cannot be used: {error}", advice=advice) from error


def _sighting(row: Mapping[str, Any]) -> Sighting:
    """From a row of the table of tags. An earlier version lacks columns."""
    former = row.get("former")
    return Sighting(
        _moment(row["since"]),
        bool(row["came"]),
        _moment_or_none(row.get("unseen")),
        None
        if former is None
        else (_moment(former), _moment_or_none(row["former_seen"]), _moment_or_none(row["former_unseen"])),
    )


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _moment_or_none(seconds: int | None) -> datetime | None:
    return None if seconds is None else _moment(seconds)

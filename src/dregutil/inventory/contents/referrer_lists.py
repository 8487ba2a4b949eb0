"""What a registry's referrers API listed, kept in the content database: lists that were read are not read again.

A list may grow, unlike the content of a digest, so each has the time of its reading. A row that does not match its
checksum counts as never read.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.contents.sums import checksum
from dregutil.oci.names import Digest, Repository

__all__ = ["ROW_SUM", "ReferrerLists"]

Place = tuple[Repository, Digest]
_WRITTEN_AT_ONCE = 1000
_COLUMNS = "registry, repository, subject, read_at, referrers"
_NONE = ("", b"")  # the place that says that the registry had no referrers API
ROW_SUM = checksum("repository", "subject", "read_at", "referrers")


class ReferrerLists:
    """The lists of one registry. `oldest`: when the oldest of those was read that were recalled, in seconds since 1970;
    None if none was. Every method raises CacheError."""

    def __init__(self, database: ContentDatabase, registry: str, *, forget: bool = False) -> None:
        """`registry` is its identity. `forget`: recall nothing, and replace what is read again."""
        self.oldest: float | None = None
        self._database = database
        self._registry = registry
        self._forget = forget
        self._waiting: list[tuple[str, str, bytes, int, str]] = []
        with database.guarded():
            database.connection.execute(
                f"CREATE TEMP TABLE IF NOT EXISTS listed_now AS SELECT {_COLUMNS} FROM referrer_list LIMIT 0"
            )

    @property
    def has_no_api(self) -> bool:
        """Whether the registry had no referrers API when it was last asked."""
        return self._recall(*_NONE) is not None

    def recall(self, place: Place) -> Sequence[Digest] | None:
        """What refers to a digest in a repository; None if that was not read."""
        found = self._recall(place[0], place[1].key)
        if found is None:
            return None
        read_at, referrers = found
        self.oldest = read_at if self.oldest is None else min(self.oldest, read_at)
        return [Digest(name) for name in referrers.split()]

    def remember(self, place: Place, referrers: Sequence[Digest]) -> None:
        """Note a list that was read now; `write` keeps it."""
        self._note(place[0], place[1].key, " ".join(referrers))

    def write(self, *, has_api: bool | None) -> None:
        """Keep the lists that were read. `has_api`: whether the registry has the API; None if that is not known."""
        if has_api is False:
            self._note(*_NONE, "")
        self._spill()
        with self._database.writing() as connection:
            if has_api:
                connection.execute(
                    "DELETE FROM referrer_list WHERE (registry, repository) = (?, '')", (self._registry,)
                )
            connection.execute(
                f"INSERT OR REPLACE INTO referrer_list ({_COLUMNS}, sum) SELECT {_COLUMNS}, {ROW_SUM} FROM listed_now"
            )
            connection.execute("DELETE FROM listed_now")

    def _recall(self, repository: str, subject: bytes) -> tuple[int, str] | None:
        if self._forget:
            return None
        with self._database.guarded():
            found: tuple[int, str] | None = self._database.connection.execute(
                "SELECT read_at, referrers FROM referrer_list"
                f" WHERE (registry, repository, subject) = (?, ?, ?) AND sum IS {ROW_SUM}",
                (self._registry, repository, subject),
            ).fetchone()
        return found

    def _note(self, repository: str, subject: bytes, referrers: str) -> None:
        self._waiting.append((self._registry, repository, subject, int(time.time()), referrers))
        if len(self._waiting) >= _WRITTEN_AT_ONCE:
            self._spill()

    def _spill(self) -> None:
        """Move what waits into a temporary table: the file is not written while a query over it is open."""
        with self._database.guarded(), self._database.temporary():
            self._database.connection.executemany("INSERT INTO listed_now VALUES (?, ?, ?, ?, ?)", self._waiting)
        self._waiting = []

"""What tags weigh: apparent, unique and shared bytes of each repository, tag or layer, each blob once. In SQL.

    usage = DiskUsage(database, tags)
    missing = usage.missing()            # read these into the database
    measured = usage.measure("repo")
    rows, total = measured.rows(), measured.total

What tags reach is counted, and what refers to that. What no tag reaches is not, nor a foreign layer that the registry
does not have. Sizes are the real ones where they were added, else those that manifests state.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from dregutil.inventory.contents.checked import check_rows
from dregutil.inventory.contents.database import CHILD, FOREIGN, ContentDatabase
from dregutil.inventory.contents.measured import Measured, measure_lines
from dregutil.inventory.contents.space import MeasuredSpace, measure_space
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import is_placeholder

__all__ = ["DiskUsage"]

_LARGEST_PLACEHOLDER = 512  # bytes
_TABLES = (
    "PRAGMA temp.cache_size = -65536",  # KiB
    "PRAGMA cache_size = -65536",
    "CREATE TEMP TABLE place (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, shown INTEGER NOT NULL)",
    # The size that the registry or its storage says.
    "CREATE TEMP TABLE real_size (blob INTEGER PRIMARY KEY, size INTEGER NOT NULL)",
    "CREATE TEMP VIEW sized AS SELECT blob.id, blob.digest, coalesce(real_size.size, blob.size) AS size FROM blob"
    " LEFT JOIN real_size ON real_size.blob = blob.id",
    # `blob`: the row of its digest; NULL if nothing is known of it yet.
    "CREATE TEMP TABLE tag (id INTEGER PRIMARY KEY, place INTEGER NOT NULL, blob INTEGER, name TEXT NOT NULL,"
    " digest BLOB NOT NULL)",
    # What goes with its subject, as the referrers API says.
    "CREATE TEMP TABLE referrer (place INTEGER, subject INTEGER, manifest INTEGER,"
    " PRIMARY KEY (subject, place, manifest)) WITHOUT ROWID",
)
_NAMES = ("place", "real_size", "sized", "tag", "referrer", "owned", "held", "reach", "placed", "spread", "beside")
_ROW = "(SELECT blob.id FROM blob WHERE blob.digest = tag.digest)"
# Whose each tag is. What is not shown has an owner without a name, with whom the others may share blobs.
_OWNERS = (
    "DROP TABLE IF EXISTS temp.owned",
    "DROP TABLE IF EXISTS temp.owner_of",
    "CREATE TEMP TABLE owned (id INTEGER PRIMARY KEY, name TEXT NOT NULL, shown INTEGER NOT NULL)",
    "CREATE TEMP TABLE owner_of (tag INTEGER PRIMARY KEY, line INTEGER NOT NULL)",
)
# The manifests that tags reach, by repository.
_BELOW = (
    "WITH RECURSIVE below (place, id) AS ("
    " SELECT DISTINCT tag.place, tag.blob FROM tag WHERE tag.blob IS NOT NULL"
    " UNION SELECT below.place, part.blob FROM below JOIN part ON part.manifest = below.id AND role = :child"
    " UNION SELECT below.place, referrer.manifest FROM below"
    " JOIN referrer ON referrer.subject = below.id AND referrer.place = below.place)"
)


class DiskUsage:
    """The tags of a registry, and what is known about their contents; `measure` says what they weigh.

    A measurement counts what is in the database, and what was added, by then; there may be several. The tags lie in
    temporary tables of the database's connection: what was measured with an earlier DiskUsage of it can no longer be
    read. Every method raises CacheError.
    """

    def __init__(
        self,
        database: ContentDatabase,
        tags: Iterable[tuple[Repository, Iterable[tuple[str, bytes]]]],
        shown: Collection[Repository] | None = None,
    ) -> None:
        """`tags` are those of the whole registry: repositories, each with its tags and the keys of their digests.
        `shown`: only these get rows, though what they share with others counts as shared."""
        self.database = database
        self._connection = database.connection
        self._is_filtered = shown is not None
        self._measurements = 0
        self._dropped = database.dropped
        self._is_known = False
        with database.guarded():
            self._begin()
            with database.temporary():
                self._place(tags, shown)

    def _begin(self) -> None:
        """Make the temporary tables, in place of those of an earlier DiskUsage."""
        self.database.usages += 1
        former = self._connection.execute("SELECT type, name FROM temp.sqlite_master WHERE type IN ('table', 'view')")
        for kind, name in former.fetchall():
            if name in _NAMES or name.startswith(("weight_", "owner_")):
                self._connection.execute(f"DROP {kind} temp.{name}")
        for statement in _TABLES:
            self._connection.execute(statement)

    def measure(self, by: str) -> Measured:
        """What each line of `by` weighs: "repo", "tag", "layer", or "owner" after `own`."""
        self._measurements += 1
        self._find_rows()
        return measure_lines(self.database, by, number=self._measurements, is_filtered=self._is_filtered)

    def space(self) -> MeasuredSpace:
        """What each namespace, repository and tag reaches and alone frees."""
        return measure_space(self.database, self.measure("tag"))

    def own(self, owner_of: Callable[[Repository, Digest], str]) -> None:
        """Give each tag an owner, by its repository and digest; empty for none."""
        query = "SELECT tag.id, place.name, tag.digest, shown FROM tag JOIN place ON place.id = tag.place"
        owners: dict[tuple[str, int], int] = {}
        with self.database.guarded():
            lines = []
            for tag, name, key, shown in self._connection.execute(query):
                owner = owner_of(Repository(name), Digest.of_key(key)) if shown else ""
                lines.append((tag, owners.setdefault((owner, shown), len(owners) + 1)))
            for statement in _OWNERS:
                self._connection.execute(statement)
            with self.database.temporary():
                rows = ((line, name, shown) for (name, shown), line in owners.items())
                self._connection.executemany("INSERT INTO owned VALUES (?, ?, ?)", rows)
                self._connection.executemany("INSERT INTO owner_of VALUES (?, ?)", lines)

    def missing(self) -> list[tuple[Repository, Digest]]:
        """The digests that the content database does not have whole, with each repository that has a tag on it."""
        query = (
            "SELECT DISTINCT place.name, tag.digest FROM tag JOIN place ON place.id = tag.place"
            " LEFT JOIN manifest ON manifest.id = tag.blob WHERE whole IS NOT 1"
        )
        with self.database.guarded():
            (number,) = self._connection.execute("SELECT count(*) FROM tag").fetchone()
            whole = "SELECT tag.blob FROM tag CROSS JOIN manifest ON manifest.id = tag.blob WHERE whole"
            check_rows(self.database, whole, number)
            self._find_rows()
            found = [(Repository(name), Digest.of_key(key)) for name, key in self._connection.execute(query)]
        self._is_known = not found
        return found

    def on_placeholders(self) -> list[tuple[Repository, Tag, Digest]]:
        """The tags that an interrupted run left on a placeholder: they weigh nothing that anybody pushed."""
        query = (
            "SELECT place.name, tag.name, tag.digest FROM tag JOIN place ON place.id = tag.place"
            " JOIN blob ON blob.id = tag.blob JOIN manifest ON manifest.id = blob.id WHERE blob.size < ?"
        )
        self._find_rows()
        with self.database.guarded():
            small = self._connection.execute(query, (_LARGEST_PLACEHOLDER,)).fetchall()
        found = ((Repository(name), Tag(tag), Digest.of_key(key)) for name, tag, key in small)
        return [(name, tag, digest) for name, tag, digest in found if is_placeholder(self.database.manifest(digest))]

    def reached(self) -> Iterator[tuple[Repository, Digest]]:
        """The manifests that tags reach, in each repository: what they name, its children, and the referrers added."""
        self._find_rows()
        with self.database.guarded():
            named = "SELECT place.name, blob.digest FROM below JOIN blob USING (id) JOIN place ON place.id = place"
            for name, key in self._connection.execute(f"{_BELOW} {named}", {"child": CHILD}):
                yield Repository(name), Digest.of_key(key)

    def add_referrers(self, found: Iterable[tuple[Repository, Digest, Digest]]) -> None:
        """Count referrers with their subjects. Each is a repository, a subject, a referrer, both in the database."""
        with self.database.guarded(), self.database.temporary():
            self._connection.executemany(
                "INSERT OR IGNORE INTO referrer SELECT place.id, subject.id, blob.id FROM place, blob AS subject, blob"
                " WHERE place.name = ? AND subject.digest = ? AND blob.digest = ?",
                ((name, subject.key, referrer.key) for name, subject, referrer in found),
            )

    def foreign_layers(self) -> list[tuple[Repository, Digest]]:
        """The layers that tags reach and that a registry need not have, in each repository."""
        query = (
            f"{_BELOW} SELECT DISTINCT place.name, blob.digest FROM below"
            " JOIN part ON part.manifest = below.id AND role = :foreign"
            " JOIN blob ON blob.id = part.blob JOIN place ON place.id = below.place"
        )
        self._find_rows()
        with self.database.guarded():
            if not self._connection.execute("SELECT 1 FROM part WHERE role = ? LIMIT 1", (FOREIGN,)).fetchone():
                return []
            found = self._connection.execute(query, {"child": CHILD, "foreign": FOREIGN}).fetchall()
        return [(Repository(name), Digest.of_key(key)) for name, key in found]

    def add_sizes(self, sizes: Iterable[tuple[Digest, int]]) -> None:
        """Count blobs with their real size, in bytes, instead of the one that manifests state.

        A foreign layer counts if its size is added: then the registry has it.
        """
        with self.database.guarded(), self.database.temporary():
            self._connection.executemany(
                "INSERT OR REPLACE INTO real_size SELECT id, ? FROM blob WHERE digest = ?",
                ((size, digest.key) for digest, size in sizes),
            )

    def _place(
        self, tags: Iterable[tuple[Repository, Iterable[tuple[str, bytes]]]], shown: Collection[Repository] | None
    ) -> None:
        places: dict[Repository, int] = {}
        for repository, keyed in tags:
            place = places.get(repository)
            if place is None:
                place = places[repository] = len(places) + 1
                is_shown = shown is None or repository in shown
                self._connection.execute("INSERT INTO place VALUES (?, ?, ?)", (place, repository, is_shown))
            self._connection.executemany(
                f"INSERT INTO tag VALUES (NULL, {place}, (SELECT id FROM blob WHERE digest = ?2), ?1, ?2)", keyed
            )

    def _find_rows(self) -> None:
        """Find the rows of digests that were read, or dropped and read again, since they were last looked for."""
        was_dropped = self.database.dropped != self._dropped
        if not self._is_known or was_dropped:
            with self.database.guarded(), self.database.temporary():
                where = "" if was_dropped else " WHERE tag.blob IS NULL"
                self._connection.execute(f"UPDATE tag SET blob = {_ROW}{where}")
            self._dropped = self.database.dropped

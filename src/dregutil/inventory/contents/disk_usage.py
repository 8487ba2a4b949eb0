"""What tags weigh: apparent, unique and shared bytes of each repository, tag or layer, each blob once. In SQL.

Nothing here grows with the number of tags but SQLite's temporary file. Counted is what tags reach, and what refers to
that; what no tag reaches, and a foreign layer that nobody has pushed, is not. Sizes are those that manifests state,
where no real ones are known.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

from dregutil.inventory.contents.database import (
    CHILD,
    CONFIG,
    FOREIGN,
    LAYER,
    ContentDatabase,
    digest_key,
    digest_of_key,
)
from dregutil.oci.image import DEEPEST
from dregutil.oci.manifest import Kind
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.oci.placeholder import is_placeholder

__all__ = ["BY", "SORTS", "DiskUsage", "TotalUsage", "UsageRow"]

BY = ("repo", "tag", "layer")
SORTS: Mapping[str, str] = {
    "unique": "freed DESC, size DESC, name, tag",
    "size": "size DESC, freed DESC, name, tag",
    "shared": "size - freed DESC, size DESC, name, tag",
    "tags": "tags DESC, size DESC, name, tag",
    "name": "name, tag",
}

_LARGEST_PLACEHOLDER = 512  # bytes
_TABLES = (
    "PRAGMA temp.cache_size = -65536",  # KiB
    "PRAGMA cache_size = -65536",
    "CREATE TEMP TABLE place (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, shown INTEGER NOT NULL)",
    # The size that the registry or its storage says.
    "CREATE TEMP TABLE measured (blob INTEGER PRIMARY KEY, size INTEGER NOT NULL)",
    "CREATE TEMP VIEW sized AS SELECT blob.id, blob.digest, coalesce(measured.size, blob.size) AS size FROM blob"
    " LEFT JOIN measured ON measured.blob = blob.id",
    "CREATE TEMP TABLE tag (id INTEGER PRIMARY KEY, place INTEGER NOT NULL, name TEXT NOT NULL, digest BLOB NOT NULL)",
    # What goes with its subject, as the referrers API says.
    "CREATE TEMP TABLE referrer (place INTEGER, subject INTEGER, manifest INTEGER,"
    " PRIMARY KEY (subject, place, manifest)) WITHOUT ROWID",
)
# The manifests that tags reach, by repository.
_BELOW = (
    "WITH RECURSIVE below (place, id) AS ("
    " SELECT DISTINCT tag.place, blob.id FROM tag JOIN blob ON blob.digest = tag.digest"
    " UNION SELECT below.place, part.blob FROM below JOIN part ON part.manifest = below.id AND role = :child"
    " UNION SELECT below.place, referrer.manifest FROM below"
    " JOIN referrer ON referrer.subject = below.id AND referrer.place = below.place)"
)
# `line` is a line of the answer: a repository or a tag.
_MEASURED = (
    "CREATE TEMP TABLE held (line INTEGER, manifest INTEGER, PRIMARY KEY (line, manifest)) WITHOUT ROWID",
    "CREATE TEMP TABLE reach (line INTEGER, blob INTEGER, PRIMARY KEY (line, blob)) WITHOUT ROWID",
    # `line` is the only one that holds the blob, or 0; `lines` says how many do.
    "CREATE TEMP TABLE owner (blob INTEGER PRIMARY KEY, line INTEGER, size INTEGER, lines INTEGER)",
    "CREATE TEMP TABLE weight (line INTEGER PRIMARY KEY, size INTEGER, freed INTEGER, images INTEGER)",
)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Bytes of a repository, of a tag, or of a layer (then `digest` is its own).

    `size`: all that it reaches, each blob once. `unique`: what removing it alone would free; of a layer, its size where
    one image alone has it. `images` counts the digests that its tags stand for; of a layer, the images that have it.
    """

    repository: Repository | None
    tag: Tag | None
    digest: Digest | None
    repositories: int
    tags: int
    images: int
    size: int
    unique: int

    @property
    def shared(self) -> int:
        return self.size - self.unique


@dataclass(frozen=True, slots=True)
class TotalUsage:
    """`size`: all distinct blobs; `unique`: what the rows free one by one; `most`: the most that one does, or the
    largest layer; `other`: what is in no row, such as manifests and configs beside layers."""

    rows: int
    size: int
    unique: int
    most: int
    other: int = 0

    @property
    def shared(self) -> int:
        """What several rows share: no single one frees it."""
        return self.size - self.unique - self.other


class DiskUsage:
    """Load tags, see that their contents are there (`missing`), `measure`, then ask for `rows` and the `total`.

    The database's connection holds the temporary tables, so there is one DiskUsage for each. Raises CacheError.
    """

    def __init__(
        self,
        database: ContentDatabase,
        tags: Iterable[tuple[Repository, Tag, Digest]],
        shown: Collection[Repository] | None = None,
    ) -> None:
        """`tags` are those of the whole registry, a repository after the other; `shown`: only rows of these are wanted,
        though what others share is still shared."""
        self.database = database
        self._connection = database.connection
        self._by = "repo"
        self._is_filtered = shown is not None
        with database.guarded():
            for statement in _TABLES:
                self._connection.execute(statement)
            self._connection.execute("BEGIN")
            self._connection.executemany("INSERT INTO tag VALUES (NULL, ?, ?, ?)", self._placed(tags, shown))
            self._connection.execute("COMMIT")

    def missing(self) -> list[tuple[Repository, Digest]]:
        """The digests that the content database does not have whole, with each repository that has a tag on it."""
        query = (
            "SELECT DISTINCT place.name, tag.digest FROM tag JOIN place ON place.id = tag.place"
            " LEFT JOIN blob ON blob.digest = tag.digest LEFT JOIN manifest ON manifest.id = blob.id"
            " WHERE whole IS NOT 1"
        )
        with self.database.guarded():
            self.database.check(key for (key,) in self._connection.execute("SELECT DISTINCT digest FROM tag"))
            return [(Repository(name), digest_of_key(key)) for name, key in self._connection.execute(query)]

    def on_placeholders(self) -> list[tuple[Repository, Tag, Digest]]:
        """The tags that an interrupted run left on a placeholder: they weigh nothing that anybody pushed."""
        query = (
            "SELECT place.name, tag.name, tag.digest FROM tag JOIN place ON place.id = tag.place"
            " JOIN blob ON blob.digest = tag.digest JOIN manifest USING (id) WHERE blob.size < ?"
        )
        with self.database.guarded():
            small = self._connection.execute(query, (_LARGEST_PLACEHOLDER,)).fetchall()
        found = ((Repository(name), Tag(tag), digest_of_key(key)) for name, tag, key in small)
        return [(name, tag, digest) for name, tag, digest in found if is_placeholder(self.database.manifest(digest))]

    def reached(self) -> Iterator[tuple[Repository, Digest]]:
        """The manifests that tags reach, in each repository: those that have a tag, children, and what refers to them
        (as far as `refer` was told)."""
        with self.database.guarded():
            named = "SELECT place.name, blob.digest FROM below JOIN blob USING (id) JOIN place ON place.id = place"
            for name, key in self._connection.execute(f"{_BELOW} {named}", {"child": CHILD}):
                yield Repository(name), digest_of_key(key)

    def refer(self, found: Iterable[tuple[Repository, Digest, Digest]]) -> None:
        """Take in what refers to what: repository, subject and referrer. Both contents must be in the database."""
        with self.database.guarded():
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR IGNORE INTO referrer SELECT place.id, subject.id, blob.id FROM place, blob AS subject, blob"
                " WHERE place.name = ? AND subject.digest = ? AND blob.digest = ?",
                ((name, digest_key(subject), digest_key(referrer)) for name, subject, referrer in found),
            )
            self._connection.execute("COMMIT")

    def foreign(self) -> list[tuple[Repository, Digest]]:
        """The layers that tags reach and that a registry need not have, in each repository."""
        query = (
            f"{_BELOW} SELECT DISTINCT place.name, blob.digest FROM below"
            " JOIN part ON part.manifest = below.id AND role = :foreign"
            " JOIN blob ON blob.id = part.blob JOIN place ON place.id = below.place"
        )
        with self.database.guarded():
            if not self._connection.execute("SELECT 1 FROM part WHERE role = ? LIMIT 1", (FOREIGN,)).fetchone():
                return []
            found = self._connection.execute(query, {"child": CHILD, "foreign": FOREIGN}).fetchall()
        return [(Repository(name), digest_of_key(key)) for name, key in found]

    def know(self, sizes: Iterable[tuple[Digest, int]]) -> None:
        """Take real sizes of blobs, in bytes, for those that manifests state; a foreign layer among them is there."""
        with self.database.guarded():
            self._connection.execute("BEGIN")
            self._connection.executemany(
                "INSERT OR REPLACE INTO measured SELECT id, ? FROM blob WHERE digest = ?",
                ((size, digest_key(digest)) for digest, size in sizes),
            )
            self._connection.execute("COMMIT")

    def measure(self, by: str) -> None:
        """Sum up for each line of `by`, one of BY."""
        self._by = by
        line = "tag.id" if by == "tag" else "tag.place"
        with self.database.guarded():
            for statement in _MEASURED:
                self._connection.execute(statement)
            self._connection.execute("BEGIN")
            self._connection.execute(
                f"INSERT OR IGNORE INTO held SELECT {line}, blob.id FROM tag"
                " CROSS JOIN blob ON blob.digest = tag.digest CROSS JOIN manifest ON manifest.id = blob.id"
            )
            self._hold_more()
            self._connection.execute("INSERT INTO reach SELECT line, manifest FROM held")
            self._connection.execute(
                "INSERT OR IGNORE INTO reach SELECT line, part.blob FROM held"
                " CROSS JOIN part ON part.manifest = held.manifest WHERE role IN (?, ?)"
                " OR (role = ? AND part.blob IN (SELECT blob FROM measured))",
                (CONFIG, LAYER, FOREIGN),
            )
            self._connection.execute(
                "INSERT INTO owner SELECT reach.blob, CASE WHEN count(*) = 1 THEN min(line) ELSE 0 END, size, count(*)"
                " FROM reach JOIN sized ON sized.id = reach.blob GROUP BY reach.blob"
            )
            self._weigh()
            self._connection.execute("COMMIT")

    def rows(self, sort: str = "unique", top: int | None = None) -> Iterator[UsageRow]:
        """The lines, as `sort` (one of SORTS) orders them; `top`: no more than so many."""
        with self.database.guarded():
            found = self._connection.execute(
                f"SELECT name, tag, digest, repositories, tags, images, size, freed FROM ({self._lines()})"
                f" ORDER BY {SORTS[sort]} LIMIT ?",
                (-1 if top is None else top,),
            )
            for name, tag, key, *numbers in found:
                yield UsageRow(
                    None if self._by == "layer" else Repository(name),
                    Tag(tag) if tag else None,
                    None if key is None else digest_of_key(key),
                    *numbers,
                )

    def total(self) -> TotalUsage:
        where = f" WHERE blob IN (SELECT blob FROM reach WHERE {self._shown()})" if self._is_filtered else ""
        with self.database.guarded():
            (size,) = self._connection.execute(f"SELECT total(size) FROM owner{where}").fetchone()
            rows, weight, unique, most = self._connection.execute(
                f"SELECT count(*), total(size), total(freed), max({'size' if self._by == 'layer' else 'freed'})"
                " FROM weight"
            ).fetchone()
        other = int(size - weight) if self._by == "layer" else 0
        return TotalUsage(rows, int(size), int(unique), most or 0, other)

    def longest_name(self) -> int:
        """How many characters the longest name of a line has."""
        query = {
            "repo": "SELECT max(length(name)) FROM place WHERE shown",
            "tag": "SELECT max(length(place.name) + 1 + length(tag.name)) FROM tag"
            " JOIN place ON place.id = place AND shown",
            "layer": "SELECT max(7 + 2 * length(digest)) FROM weight JOIN blob ON blob.id = weight.line",
        }[self._by]
        with self.database.guarded():
            (longest,) = self._connection.execute(query).fetchone()
        return longest or 0

    def _placed(
        self, tags: Iterable[tuple[Repository, Tag, Digest]], shown: Collection[Repository] | None
    ) -> Iterator[tuple[int, Tag, bytes]]:
        places: dict[Repository, int] = {}
        for repository, tag, digest in tags:
            place = places.get(repository)
            if place is None:
                place = places[repository] = len(places) + 1
                is_shown = shown is None or repository in shown
                self._connection.execute("INSERT INTO place VALUES (?, ?, ?)", (place, repository, is_shown))
            yield place, tag, digest_key(digest)

    def _hold_more(self) -> None:
        """What an index holds, its line holds, and what refers to it; as deep as that goes."""
        place = "(SELECT place FROM tag WHERE tag.id = line)" if self._by == "tag" else "line"
        for _ in range(DEEPEST):
            children = self._connection.execute(
                "INSERT OR IGNORE INTO held SELECT line, part.blob FROM held"
                " CROSS JOIN manifest ON manifest.id = held.manifest AND kind IN (?, ?)"
                " CROSS JOIN part ON part.manifest = held.manifest AND role = ?",
                (Kind.INDEX.value, Kind.UNKNOWN.value, CHILD),
            )
            referrers = self._connection.execute(
                "INSERT OR IGNORE INTO held SELECT line, referrer.manifest FROM referrer"
                f" CROSS JOIN held ON held.manifest = referrer.subject WHERE referrer.place = {place}"
            )
            if children.rowcount == referrers.rowcount == 0:
                return

    def _weigh(self) -> None:
        if self._by == "layer":
            self._connection.execute(
                "INSERT INTO weight"
                " SELECT blob.id, blob.size, CASE WHEN count(*) = 1 THEN blob.size ELSE 0 END, count(*)"
                " FROM (SELECT DISTINCT manifest FROM held) AS image"
                " CROSS JOIN part ON part.manifest = image.manifest"
                " AND (role = ? OR (role = ? AND part.blob IN (SELECT blob FROM measured)))"
                " CROSS JOIN sized AS blob ON blob.id = part.blob"
                f" WHERE {self._shown_layer()} GROUP BY blob.id",
                (LAYER, FOREIGN),
            )
            return
        where = f" WHERE {self._shown('reach.line')}" if self._is_filtered else ""
        self._connection.execute(
            "INSERT INTO weight SELECT reach.line, sum(owner.size),"
            " sum(CASE WHEN owner.line = reach.line THEN owner.size ELSE 0 END), 0"
            f" FROM reach CROSS JOIN owner ON owner.blob = reach.blob{where} GROUP BY reach.line"
        )

    def _shown(self, column: str = "line") -> str:
        shown = "SELECT id FROM place WHERE shown"
        return (
            f"{column} IN (SELECT id FROM tag WHERE place IN ({shown}))"
            if self._by == "tag"
            else f"{column} IN ({shown})"
        )

    def _shown_layer(self) -> str:
        return f"blob.id IN (SELECT blob FROM reach WHERE {self._shown()})" if self._is_filtered else "1"

    def _lines(self) -> str:
        if self._by == "repo":
            return (
                "SELECT place.name, '' AS tag, NULL AS digest, 1 AS repositories, counted.tags, counted.images,"
                " size, freed FROM weight JOIN place ON place.id = weight.line JOIN (SELECT place, count(*) AS tags,"
                " count(DISTINCT digest) AS images FROM tag GROUP BY place) AS counted ON counted.place = weight.line"
            )
        if self._by == "tag":
            return (
                "SELECT place.name, tag.name AS tag, tag.digest, 1 AS repositories, 1 AS tags, 1 AS images,"
                " size, freed FROM weight JOIN tag ON tag.id = weight.line JOIN place ON place.id = tag.place"
            )
        return (
            "SELECT lower(hex(digest)) AS name, '' AS tag, digest, owner.lines AS repositories, images AS tags, images,"
            " weight.size, freed FROM weight JOIN blob ON blob.id = weight.line JOIN owner ON owner.blob = blob.id"
        )

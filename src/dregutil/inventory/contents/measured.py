"""What was gathered about tags → what each repository, tag or layer weighs. In SQL.

`line` is a line of the answer: a repository or a tag. Nothing here grows with the number of tags but SQLite's temporary
file.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from dregutil.errors import CacheError
from dregutil.inventory.contents.database import CHILD, CONFIG, FOREIGN, LAYER, ContentDatabase
from dregutil.oci.image import DEEPEST
from dregutil.oci.manifest import Kind
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["BY", "SORTS", "Measured", "TotalUsage", "UsageRow", "measure_lines"]

BY = ("repo", "tag", "layer", "owner")
SORTS: Mapping[str, str] = {
    "unique": "freed DESC, size DESC, name, tag",
    "size": "size DESC, freed DESC, name, tag",
    "shared": "size - freed DESC, size DESC, name, tag",
    "tags": "tags DESC, size DESC, name, tag",
    "name": "name, tag",
}

# Dropped by the next measurement.
_WORKING = (
    "CREATE TEMP TABLE held (line INTEGER, manifest INTEGER, PRIMARY KEY (line, manifest)) WITHOUT ROWID",
    "CREATE TEMP TABLE reach (line INTEGER, blob INTEGER, PRIMARY KEY (line, blob)) WITHOUT ROWID",
)


@dataclass(frozen=True, slots=True)
class UsageRow:
    """Bytes of a repository, of a tag, of a layer (then `digest` is its own), or of an owner: a namespace, or the value
    of a label (empty: tags without it).

    `size`: all that it reaches, each blob once. `unique`: what removing it alone would free; of a layer, its size if
    only one image has it. `images` counts the digests that its tags name; of a layer, the images that have it.
    """

    repository: Repository | None
    tag: Tag | None
    digest: Digest | None
    repositories: int
    tags: int
    images: int
    size: int
    unique: int
    owner: str | None = None

    @property
    def shared(self) -> int:
        return self.size - self.unique


@dataclass(frozen=True, slots=True)
class TotalUsage:
    """All rows together, in bytes.

    `size`: all distinct blobs; `unique`: what the rows free one by one; `most`: the most that one row frees, or the
    largest layer; `other`: what is in no row, such as manifests and configs beside layers.
    """

    rows: int
    size: int
    unique: int
    most: int
    other: int = 0

    @property
    def shared(self) -> int:
        """What several rows share: removing one of them does not free it."""
        return self.size - self.unique - self.other


@dataclass(frozen=True, slots=True)
class Measured:
    """What each line of `by` (one of BY) weighs, and `total` all together.

    The rows stay in the temporary tables of the content database, so they can be read as long as it is open and takes
    no other DiskUsage. A later measurement of the same one does not change them.
    """

    by: str
    total: TotalUsage
    _database: ContentDatabase = field(repr=False)
    _weight: str = field(repr=False)
    _owner: str = field(repr=False)
    _usage: int = field(repr=False)

    @property
    def weights(self) -> str:
        """The table with the size of each line, and what removing it frees."""
        return self._weight

    @property
    def owners(self) -> str:
        """The table with the size of each blob, and how many lines have it."""
        return self._owner

    @contextmanager
    def readable(self) -> Iterator[None]:
        """Raises CacheError if the tables are those of a later DiskUsage, or cannot be read."""
        if self._database.usages != self._usage:
            raise CacheError(
                "these sizes can no longer be read: others were measured since", advice="read all of them before"
            )
        with self._database.guarded():
            yield

    def rows(self, sort: str = "unique", top: int | None = None) -> Iterator[UsageRow]:
        """The lines in the order `sort` (one of SORTS); at most `top` of them. Raises CacheError."""
        with self.readable():
            found = self._database.connection.execute(
                f"SELECT name, tag, digest, repositories, tags, images, size, freed FROM ({self._lines()})"
                f" ORDER BY {SORTS[sort]} LIMIT ?",
                (-1 if top is None else top,),
            )
            for name, tag, key, repositories, tags, images, size, freed in found:
                yield UsageRow(
                    Repository(name) if self.by in ("repo", "tag") else None,
                    Tag(tag) if tag else None,
                    None if key is None else Digest.of_key(key),
                    repositories,
                    tags,
                    images,
                    size,
                    freed,
                    name if self.by == "owner" else None,
                )

    def held_alone(self, manifests: Collection[Digest], others: Collection[Digest]) -> int:
        """The bytes of the blobs that `manifests` have, and neither a line nor `others` have: each blob once, with the
        manifests themselves. All are in the database. Raises CacheError."""
        execute = self._database.connection.execute
        with self.readable(), self._database.temporary():
            execute("DROP TABLE IF EXISTS temp.beside")
            execute("CREATE TEMP TABLE beside (manifest INTEGER PRIMARY KEY, goes INTEGER NOT NULL)")
            self._database.connection.executemany(
                "INSERT OR REPLACE INTO beside SELECT id, ? FROM blob WHERE digest = ?",
                ((goes, one.key) for goes, those in ((1, manifests), (0, others)) for one in those),
            )
            (size,) = execute(
                "WITH has (blob, goes) AS (SELECT manifest, goes FROM beside UNION ALL SELECT part.blob, goes"
                " FROM beside JOIN part USING (manifest) WHERE role IN (?, ?)"
                " OR (role = ? AND part.blob IN (SELECT blob FROM real_size)))"
                " SELECT total(size) FROM sized WHERE id IN (SELECT blob FROM has WHERE goes)"
                f" AND id NOT IN (SELECT blob FROM has WHERE NOT goes) AND id NOT IN (SELECT blob FROM {self._owner})",
                (CONFIG, LAYER, FOREIGN),
            ).fetchone()
        return int(size)

    def longest_name(self) -> int:
        """The characters of the longest name of a line. Raises CacheError."""
        query = {
            "repo": "SELECT max(length(name)) FROM place WHERE shown",
            "tag": "SELECT max(length(place.name) + 1 + length(tag.name)) FROM tag"
            " JOIN place ON place.id = place AND shown",
            "owner": "SELECT max(length(name)) FROM owned WHERE shown",
            "layer": f"SELECT max(7 + 2 * length(digest)) FROM {self._weight} JOIN blob ON blob.id = line",
        }[self.by]
        with self.readable():
            (longest,) = self._database.connection.execute(query).fetchone()
        return longest or 0

    def _lines(self) -> str:
        if self.by == "repo":
            return (
                "SELECT place.name, '' AS tag, NULL AS digest, 1 AS repositories, counted.tags, counted.images,"
                f" size, freed FROM {self._weight} JOIN place ON place.id = line JOIN (SELECT place, count(*) AS tags,"
                " count(DISTINCT digest) AS images FROM tag GROUP BY place) AS counted ON counted.place = line"
            )
        if self.by == "tag":
            return (
                "SELECT place.name, tag.name AS tag, tag.digest, 1 AS repositories, 1 AS tags, 1 AS images,"
                f" size, freed FROM {self._weight} JOIN tag ON tag.id = line JOIN place ON place.id = tag.place"
            )
        if self.by == "owner":
            return (
                "SELECT owned.name, '' AS tag, NULL AS digest, counted.repositories, counted.tags, counted.images,"
                f" size, freed FROM {self._weight} JOIN owned ON owned.id = line JOIN (SELECT line AS of,"
                " count(DISTINCT place) AS repositories, count(*) AS tags, count(DISTINCT digest) AS images"
                " FROM owner_of JOIN tag ON tag.id = owner_of.tag GROUP BY line) AS counted ON counted.of = line"
            )
        return (
            "SELECT lower(hex(digest)) AS name, '' AS tag, digest, owner.lines AS repositories, images AS tags, images,"
            f" weight.size, freed FROM {self._weight} AS weight JOIN blob ON blob.id = weight.line"
            f" JOIN {self._owner} AS owner ON owner.blob = blob.id"
        )


def measure_lines(database: ContentDatabase, by: str, *, number: int, is_filtered: bool) -> Measured:
    """Sum up what was gathered (see `disk_usage`) for each line of `by`. Raises CacheError.

    `number`: the measurement's, from 1. `is_filtered`: only the places that are `shown` get a line.
    """
    with database.guarded():
        measurement = _Measurement(database, by, number, is_filtered=is_filtered)
        measurement.begin(drop=number > 1)
        with database.temporary():
            measurement.hold()
            measurement.reach()
            measurement.weigh()
        return Measured(by, measurement.total(), database, measurement.weight, measurement.owner, database.usages)


class _Measurement:
    """The steps of a measurement, in their order."""

    def __init__(self, database: ContentDatabase, by: str, number: int, *, is_filtered: bool) -> None:
        self.by = by
        self.weight = f"weight_{number}"
        self.owner = f"owner_{number}"
        self._is_filtered = is_filtered
        self._execute = database.connection.execute

    def begin(self, *, drop: bool) -> None:
        for table in ("held", "reach") if drop else ():
            self._execute(f"DROP TABLE {table}")
        for statement in _WORKING:
            self._execute(statement)
        # `line` is the only one that holds the blob, or 0; `lines` says how many do.
        self._execute(
            f"CREATE TEMP TABLE {self.owner} (blob INTEGER PRIMARY KEY, line INTEGER, size INTEGER, lines INTEGER)"
        )
        self._execute(
            f"CREATE TEMP TABLE {self.weight} (line INTEGER PRIMARY KEY, size INTEGER, freed INTEGER, images INTEGER)"
        )

    def hold(self) -> None:
        """The manifests of each line: those that its tags name, their children, and what refers to any of these."""
        line = {"tag": "tag.id", "owner": "(SELECT line FROM owner_of WHERE owner_of.tag = tag.id)"}.get(
            self.by, "tag.place"
        )
        place = {
            "tag": "= (SELECT place FROM tag WHERE tag.id = line)",
            "owner": "IN (SELECT place FROM tag JOIN owner_of ON owner_of.tag = tag.id"
            " WHERE owner_of.line = held.line)",
        }.get(self.by, "= line")
        self._execute(
            f"INSERT OR IGNORE INTO held SELECT {line}, tag.blob FROM tag CROSS JOIN manifest ON manifest.id = tag.blob"
        )
        for _ in range(DEEPEST):
            children = self._execute(
                "INSERT OR IGNORE INTO held SELECT line, part.blob FROM held"
                " CROSS JOIN manifest ON manifest.id = held.manifest AND kind IN (?, ?)"
                " CROSS JOIN part ON part.manifest = held.manifest AND role = ?",
                (Kind.INDEX.value, Kind.UNKNOWN.value, CHILD),
            )
            referrers = self._execute(
                "INSERT OR IGNORE INTO held SELECT line, referrer.manifest FROM referrer"
                f" CROSS JOIN held ON held.manifest = referrer.subject WHERE referrer.place {place}"
            )
            if children.rowcount == referrers.rowcount == 0:
                return

    def reach(self) -> None:
        """The blobs of each line, and for each blob the line that alone has it, if one does."""
        self._execute("INSERT INTO reach SELECT line, manifest FROM held")
        self._execute(
            "INSERT OR IGNORE INTO reach SELECT line, part.blob FROM held"
            " CROSS JOIN part ON part.manifest = held.manifest WHERE role IN (?, ?)"
            " OR (role = ? AND part.blob IN (SELECT blob FROM real_size))",
            (CONFIG, LAYER, FOREIGN),
        )
        self._execute(
            # In the order of the lines: those of one line have blobs that were read together, and nothing is sorted.
            f"INSERT INTO {self.owner} SELECT reach.blob, line, size, 1 FROM reach CROSS JOIN sized"
            " ON sized.id = reach.blob WHERE true ON CONFLICT (blob) DO UPDATE SET line = 0, lines = lines + 1"
        )

    def weigh(self) -> None:
        if self.by == "layer":
            self._execute(
                f"INSERT INTO {self.weight}"
                " SELECT blob.id, blob.size, CASE WHEN count(*) = 1 THEN blob.size ELSE 0 END, count(*)"
                " FROM (SELECT DISTINCT manifest FROM held) AS image"
                " CROSS JOIN part ON part.manifest = image.manifest"
                " AND (role = ? OR (role = ? AND part.blob IN (SELECT blob FROM real_size)))"
                " CROSS JOIN sized AS blob ON blob.id = part.blob"
                f" WHERE {self._reached_by_shown('blob.id')} GROUP BY blob.id",
                (LAYER, FOREIGN),
            )
            return
        where = f" WHERE {self._is_shown('reach.line')}" if self._is_filtered else ""
        self._execute(
            f"INSERT INTO {self.weight} SELECT reach.line, sum(owner.size),"
            " sum(CASE WHEN owner.line = reach.line THEN owner.size ELSE 0 END), 0"
            f" FROM reach CROSS JOIN {self.owner} AS owner ON owner.blob = reach.blob{where} GROUP BY reach.line"
        )

    def total(self) -> TotalUsage:
        where = f" WHERE {self._reached_by_shown('blob')}" if self._is_filtered else ""
        (size,) = self._execute(f"SELECT total(size) FROM {self.owner}{where}").fetchone()
        most = "size" if self.by == "layer" else "freed"
        rows, weight, unique, largest = self._execute(
            f"SELECT count(*), total(size), total(freed), max({most}) FROM {self.weight}"
        ).fetchone()
        other = int(size - weight) if self.by == "layer" else 0
        return TotalUsage(rows, int(size), int(unique), largest or 0, other)

    def _is_shown(self, column: str) -> str:
        shown = "SELECT id FROM place WHERE shown"
        lines = {
            "tag": f"SELECT id FROM tag WHERE place IN ({shown})",
            "owner": "SELECT id FROM owned WHERE shown",
        }.get(self.by, shown)
        return f"{column} IN ({lines})"

    def _reached_by_shown(self, column: str) -> str:
        return f"{column} IN (SELECT blob FROM reach WHERE {self._is_shown('line')})" if self._is_filtered else "1"

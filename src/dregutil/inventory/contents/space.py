"""Where the bytes of a registry are: namespace → repository → tag → layer. In SQL.

A blob belongs to the lowest node that has all tags which reach it: a tag, a repository, a namespace or the registry. So
what removing a node alone frees is the sum of what its children free and of what only several of them share.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from dregutil.inventory.contents.database import FOREIGN, LAYER, ContentDatabase
from dregutil.inventory.contents.measured import Measured
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["LayerSpace", "MeasuredSpace", "NodeSpace", "TagSpace", "measure_space", "namespace_of"]

_MOST_KEYS = 500  # rows named in one query
_TABLES = (
    "DROP TABLE IF EXISTS temp.placed",
    "DROP TABLE IF EXISTS temp.spread",
    "CREATE TEMP TABLE placed (place INTEGER PRIMARY KEY, namespace INTEGER NOT NULL)",
    # The only repository and the only namespace that reach a blob; 0: several do.
    "CREATE TEMP TABLE spread (blob INTEGER PRIMARY KEY, place INTEGER NOT NULL, namespace INTEGER NOT NULL)",
)


@dataclass(frozen=True, slots=True)
class NodeSpace:
    """A namespace (its name may be empty) or a repository: all bytes that it reaches, those that removing it alone
    frees, and of these, those that its parts (repositories, or tags) free one by one."""

    name: str
    tags: int
    reaches: int
    frees: int
    parts: int = 0


@dataclass(frozen=True, slots=True)
class TagSpace:
    """A tag, with the bytes as for a node. `row` is its number in this measurement."""

    repository: Repository
    tag: Tag
    digest: Digest
    reaches: int
    frees: int
    row: int


@dataclass(frozen=True, slots=True)
class LayerSpace:
    """A layer that a tag reaches. `tags` counts those that do."""

    digest: Digest
    size: int
    tags: int


@dataclass(frozen=True, slots=True)
class MeasuredSpace:
    """What was measured, readable until the content database is closed or measured again. `total`: all distinct blobs,
    in bytes."""

    total: int
    namespaces: Sequence[NodeSpace]
    repositories: Sequence[NodeSpace]
    _measured: Measured = field(repr=False)
    _database: ContentDatabase = field(repr=False)

    def tags(self, most: int) -> Iterator[TagSpace]:
        """The tags that free the most, at most so many. Raises CacheError."""
        query = (
            f"SELECT place.name, tag.name, tag.digest, size, freed, tag.id FROM {self._measured.weights}"
            " JOIN tag ON tag.id = line JOIN place ON place.id = tag.place"
            " ORDER BY freed DESC, size DESC, place.name, tag.name LIMIT ?"
        )
        with self._measured.readable():
            for name, tag, key, size, freed, row in self._database.connection.execute(query, (most,)):
                yield TagSpace(Repository(name), Tag(tag), Digest.of_key(key), size, freed, row)

    def layers(self, tags: Iterable[TagSpace]) -> dict[int, list[LayerSpace]]:
        """The layers of tags, by the tag's row: those that only this tag has first, the largest of them at the
        beginning. Raises CacheError."""
        rows = [one.row for one in tags]
        found: dict[int, list[LayerSpace]] = {row: [] for row in rows}
        with self._measured.readable():
            for place in range(0, len(rows), _MOST_KEYS):
                some = rows[place : place + _MOST_KEYS]
                query = (
                    "SELECT DISTINCT held.line, blob.digest, owner.size, owner.lines FROM held"
                    " CROSS JOIN part ON part.manifest = held.manifest AND role IN (?, ?)"
                    f" CROSS JOIN {self._measured.owners} AS owner ON owner.blob = part.blob"
                    " CROSS JOIN blob ON blob.id = part.blob"
                    f" WHERE held.line IN ({', '.join('?' * len(some))}) "
                    " ORDER BY CASE owner.lines WHEN 1 THEN owner.size ELSE 0 END DESC, owner.size DESC, blob.digest"
                )
                for line, key, size, lines in self._database.connection.execute(query, (LAYER, FOREIGN, *some)):
                    found[line].append(LayerSpace(Digest.of_key(key), size, lines))
        return found


def namespace_of(repository: str) -> str:
    """The first part of a repository's name; empty if it has only one."""
    return repository.partition("/")[0] if "/" in repository else ""


def measure_space(database: ContentDatabase, measured: Measured) -> MeasuredSpace:
    """Sum up by repository and namespace what was `measured` by tag. Raises CacheError."""
    execute = database.connection.execute
    with database.guarded():
        for statement in _TABLES:
            execute(statement)
        names = execute("SELECT id, name FROM place").fetchall()
        numbers: dict[str, int] = {}
        placed = [(place, numbers.setdefault(namespace_of(name), len(numbers) + 1)) for place, name in names]
        with database.temporary():
            database.connection.executemany("INSERT INTO placed VALUES (?, ?)", placed)
            execute(
                "INSERT INTO spread SELECT reach.blob, tag.place, placed.namespace FROM reach"
                " CROSS JOIN tag ON tag.id = reach.line CROSS JOIN placed ON placed.place = tag.place"
                " WHERE true ON CONFLICT (blob) DO UPDATE SET"
                " place = CASE WHEN place = excluded.place THEN place ELSE 0 END,"
                " namespace = CASE WHEN namespace = excluded.namespace THEN namespace ELSE 0 END"
            )
        freed: dict[int, int] = dict(
            execute(f"SELECT place, sum(freed) FROM {measured.weights} JOIN tag ON tag.id = line GROUP BY place")
        )
        repositories = _nodes(database, measured, "placed.place", dict(names), freed)
        parts = Counter[int]()
        for one in repositories:
            parts[numbers[namespace_of(one.name)]] += one.frees
        spaces = {number: name for name, number in numbers.items()}
        namespaces = _nodes(database, measured, "placed.namespace", spaces, parts)
        return MeasuredSpace(measured.total.size, namespaces, repositories, measured, database)


def _nodes(
    database: ContentDatabase, measured: Measured, column: str, names: Mapping[int, str], parts: Mapping[int, int]
) -> list[NodeSpace]:
    """The nodes of one level, those that free the most first. `column` is their number in `placed`; `parts` is what the
    parts of each free."""
    execute = database.connection.execute
    own = column.partition(".")[2]
    counted: dict[int, int] = dict(
        execute(f"SELECT {column}, count(*) FROM tag JOIN placed USING (place) GROUP BY {column}")
    )
    reaches: dict[int, int] = dict(
        execute(
            f"SELECT node, sum(size) FROM (SELECT DISTINCT {column} AS node, reach.blob FROM reach"
            " CROSS JOIN tag ON tag.id = reach.line CROSS JOIN placed ON placed.place = tag.place) AS part"
            f" CROSS JOIN {measured.owners} AS owner ON owner.blob = part.blob GROUP BY node"
        )
    )
    frees: dict[int, int] = dict(
        execute(
            f"SELECT spread.{own}, sum(owner.size) FROM spread CROSS JOIN {measured.owners} AS owner"
            f" ON owner.blob = spread.blob WHERE spread.{own} GROUP BY spread.{own}"
        )
    )
    found = [
        NodeSpace(names[number], tags, reaches.get(number, 0), frees.get(number, 0), parts.get(number, 0))
        for number, tags in counted.items()
    ]
    return sorted(found, key=lambda one: (-one.frees, -one.reaches, one.name))

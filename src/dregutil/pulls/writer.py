"""Adds to the recorded pulls: each call is one transaction, durable when it returns."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.inventory.shared import SharedFile
from dregutil.oci.listing import Listing
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.agents import IgnoredAgents
from dregutil.pulls.event import Event
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.tables import lay_out

__all__ = ["Batch", "LogPosition", "PullWriter", "batch_of", "batch_of_listings"]

_MOST_AGENTS = 500  # names; those that no pull refers to any more are dropped beyond that
_MOST_INSTANCES = 200
_MOST_CHANGES = 200_000
_MOST_MARKED = 100
_COUNTED_EVERY = 1000  # numbers of changes
_CHANGE = "INSERT OR REPLACE INTO change VALUES (?, ?, ?)"
_MOST_LOG_FILES = 1000
_PULL = (
    "INSERT INTO pull VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE"
    " SET at = excluded.at, agent = excluded.agent, source = excluded.source WHERE excluded.at >= at"
)


@dataclass(slots=True)
class Batch:
    """What is recorded together. `pulls`: the last time and its agent; `changed`: tags that were pushed or deleted, and
    with None repositories of which something else changed; `instances`: processes of the registry by name and address,
    with their first and last time. `recorded`: a time that belongs to all that the source has recorded since it began.
    `marked`: the agents of requests that this program has marked. Times are in seconds since 1970."""

    pulls: dict[tuple[Repository, Tag | Digest], tuple[int, str]] = field(default_factory=dict)
    changed: set[tuple[Repository, Tag | None]] = field(default_factory=set)
    instances: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    recorded: tuple[int, int] | None = None
    marked: set[str] = field(default_factory=set)

    def add(self, repository: Repository, reference: Tag | Digest, at: int, agent: str) -> None:
        known = self.pulls.get((repository, reference))
        if known is None or known[0] <= at:
            self.pulls[repository, reference] = (at, agent)


@dataclass(frozen=True, slots=True)
class LogPosition:
    """How far a log file was read. `head`: the sum of its first line; `offset`: bytes, of the text that is in it;
    `before`: the sum of the last of them; `until`: the time of the last line, in seconds since 1970."""

    head: bytes
    offset: int
    before: bytes
    until: int | None


def batch_of_listings(listings: Mapping[Repository, Listing], now: datetime) -> Batch:
    """What a registry's service says of its manifests, with and without a tag."""
    batch, latest = Batch(), int(now.timestamp())
    for repository, listing in listings.items():
        for entry in listing.entries:
            if entry.pulled is not None and entry.pulled.timestamp() >= 0:
                batch.add(repository, entry.digest, min(int(entry.pulled.timestamp()), latest), "")
    return batch


def batch_of(events: Iterable[Event], ignored: IgnoredAgents, now: datetime) -> Batch:
    """What events say. A time after `now` is `now`: clocks differ. A pull counts for the digest that it got.

    Any pull of a manifest shows that pulls are recorded, whoever sent it; a push does not, as a registry can be told to
    leave pulls out.
    """
    batch, latest = Batch(), int(now.timestamp())
    for event in events:
        at = min(int(event.time.timestamp()), latest)
        key = (event.instance, event.address)
        first, last = batch.instances.get(key, (at, at))
        batch.instances[key] = (min(first, at), max(last, at))
        if event.action != "pull":
            batch.changed.add((event.repository, event.tag))
        elif event.digest is not None and event.is_of_manifest:
            since, until = batch.recorded or (at, at)
            batch.recorded = (min(since, at), max(until, at))
            if ignored.is_marked(event.agent):
                batch.marked.add(event.agent)
            if not ignored.ignores(event.agent):
                batch.add(event.repository, event.digest, at, event.agent)
    return batch


class PullWriter:
    """Writes what one source knows. Every method may raise sqlite3.Error, and has then changed nothing; with `shared`,
    JournalError if what is recorded cannot be recorded for all machines."""

    def __init__(
        self, database: sqlite3.Connection, kind: SourceKind, name: str, shared: SharedFile | None = None
    ) -> None:
        self._database = database
        self._shared = shared
        self._source = (kind.value, name)
        self._known: dict[tuple[str, str], int] = {}

    def prepare(self) -> None:
        """Make the tables, and the row of the source."""
        with self.transaction():
            self._source_id()

    def position(self, head: bytes) -> LogPosition | None:
        """How far a log file was read, by the sum of its first line; None if it is not known. After `prepare`."""
        row = self._database.execute(
            "SELECT head, offset, before, until FROM log_file WHERE head = ?", (head,)
        ).fetchone()
        return None if row is None else LogPosition(*row)

    def write(self, batch: Batch, span: tuple[int, int] | None = None, position: LogPosition | None = None) -> None:
        """Record a batch. `span`: a time that the source has recorded entirely; `position`: how far a log file is
        read with that."""
        with self.transaction():
            source = self._source_id()
            self._write_pulls(batch, source)
            if batch.changed:
                self._write_changes(batch)
            if batch.marked:
                self._write_marked(batch.marked)
            for (instance, address), (first, last) in sorted(batch.instances.items(), key=lambda one: one[1]):
                self._write_instance(source, instance, address, first, last)
            if batch.recorded is not None:
                self._extend(source, *batch.recorded)
            if span is not None:
                self._merge(source, *span)
            if position is not None:
                self._write_position(position)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """One transaction, with the tables in place."""
        if self._shared is not None:
            self._known.clear()  # another machine may have changed the numbers
            with self._shared.writing(self._database):
                lay_out(self._database)
                yield
            return
        self._database.execute("BEGIN IMMEDIATE")
        try:
            lay_out(self._database)
            yield
            self._database.execute("COMMIT")
        except BaseException:  # an interruption, too, must leave no transaction open
            self._known.clear()
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _write_pulls(self, batch: Batch, source: int) -> None:
        rows = [
            (
                self._id("repository", repository),
                reference.key if isinstance(reference, Digest) else reference,
                at,
                self._id("agent", agent),
                source,
            )
            for (repository, reference), (at, agent) in batch.pulls.items()
        ]
        rows.sort(key=lambda row: (row[0], isinstance(row[1], bytes), row[1]))  # pages of the table are filled better
        self._database.executemany(_PULL, rows)
        if self._database.execute("SELECT count(*) FROM agent").fetchone()[0] > _MOST_AGENTS:
            self._database.execute("DELETE FROM agent WHERE id NOT IN (SELECT agent FROM pull)")
            self._known.clear()

    def _write_changes(self, batch: Batch) -> None:
        number = self._count("change")
        rows = [(self._id("repository", name), tag or "", number) for name, tag in batch.changed]
        self._database.executemany(_CHANGE, rows)
        if number % _COUNTED_EVERY:
            return
        kept = self._database.execute("SELECT count(*) FROM change").fetchone()[0]
        if kept > _MOST_CHANGES:
            middle = self._database.execute(
                "SELECT number FROM change ORDER BY number LIMIT 1 OFFSET ?", (kept // 2,)
            ).fetchone()[0]
            self._database.execute("DELETE FROM change WHERE number <= ?", (middle,))
            self._database.execute("INSERT OR REPLACE INTO counter VALUES ('forgotten', ?)", (middle,))

    def _write_marked(self, agents: Iterable[str]) -> None:
        self._database.executemany("INSERT OR IGNORE INTO marked (agent) VALUES (?)", [(one,) for one in agents])
        self._database.execute("DELETE FROM marked WHERE id <= (SELECT max(id) FROM marked) - ?", (_MOST_MARKED,))

    def _count(self, name: str) -> int:
        """Count one more, and return the number."""
        found = self._database.execute(
            "INSERT INTO counter VALUES (?, 1) ON CONFLICT DO UPDATE SET value = value + 1 RETURNING value", (name,)
        )
        return int(found.fetchone()[0])

    def _write_instance(self, source: int, name: str, address: str, first: int, last: int) -> None:
        """Note that a process of the registry sent events. A new one may have replaced one whose last events are lost,
        as a registry keeps its queue in memory: that is a gap, of a second at least. At another address, in the same
        second, it is a replica."""
        is_known = self._database.execute(
            "UPDATE instance SET last = max(last, ?), replaced = 0 WHERE source = ? AND name = ?", (last, source, name)
        ).rowcount
        if is_known:
            return
        before = self._database.execute(
            "SELECT name, last, address FROM instance WHERE source = ? AND NOT replaced"
            " ORDER BY address <> ?, last LIMIT 1",
            (source, address),
        ).fetchone()
        if before is not None:
            self._count("instance")
            self._database.execute(
                "UPDATE instance SET replaced = 1 WHERE source = ? AND name = ?", (source, before[0])
            )
            if before[1] < first or (before[1], before[2]) == (first, address):
                self._database.execute(
                    "INSERT INTO gap VALUES (?, ?, ?, 'the registry was started again') ON CONFLICT DO UPDATE"
                    " SET until = max(until, excluded.until)",
                    (source, before[1], max(first, before[1] + 1)),
                )
        self._database.execute("INSERT INTO instance VALUES (?, ?, ?, ?, 0)", (source, name, address, last))
        self._database.execute(
            "DELETE FROM instance WHERE source = ?1 AND replaced AND name NOT IN"
            " (SELECT name FROM instance WHERE source = ?1 ORDER BY last DESC LIMIT ?2)",
            (source, _MOST_INSTANCES),
        )

    def _write_position(self, position: LogPosition) -> None:
        self._database.execute(
            "INSERT OR REPLACE INTO log_file VALUES (?, ?, ?, ?, CAST(strftime('%s') AS INTEGER))",
            (position.head, position.offset, position.before, position.until),
        )
        self._database.execute(
            "DELETE FROM log_file WHERE head NOT IN (SELECT head FROM log_file ORDER BY read DESC LIMIT ?)",
            (_MOST_LOG_FILES,),
        )

    def _extend(self, source: int, since: int, until: int) -> None:
        """Events are one span, whose gaps are noted."""
        known = self._database.execute("SELECT min(since), max(until) FROM span WHERE source = ?", (source,)).fetchone()
        if known[0] is not None:
            since, until = min(since, known[0]), max(until, known[1])
        self._merge(source, since, until)

    def _merge(self, source: int, since: int, until: int) -> None:
        """Add a span; those that it touches become one with it."""
        touched = self._database.execute(
            "SELECT min(since), max(until) FROM span WHERE source = ? AND since <= ? AND until >= ?",
            (source, until, since),
        ).fetchone()
        if touched[0] is not None:
            since, until = min(since, touched[0]), max(until, touched[1])
        self._database.execute(
            "DELETE FROM span WHERE source = ? AND since >= ? AND until <= ?", (source, since, until)
        )
        self._database.execute("INSERT INTO span VALUES (?, ?, ?)", (source, since, until))

    def _source_id(self) -> int:
        self._database.execute("INSERT INTO source (kind, name) VALUES (?, ?) ON CONFLICT DO NOTHING", self._source)
        found: int = self._database.execute(
            "SELECT id FROM source WHERE kind = ? AND name = ?", self._source
        ).fetchone()[0]
        return found

    def _id(self, table: str, name: str) -> int:
        """The row of a name in the table `repository` or `agent`, which gets one."""
        found = self._known.get((table, name))
        if found is None:
            insert, select = _NAMES[table]
            self._database.execute(insert, (name,))
            found = self._known[table, name] = int(self._database.execute(select, (name,)).fetchone()[0])
        return found


_NAMES = {
    "repository": (
        "INSERT INTO repository (name) VALUES (?) ON CONFLICT DO NOTHING",
        "SELECT id FROM repository WHERE name = ?",
    ),
    "agent": ("INSERT INTO agent (name) VALUES (?) ON CONFLICT DO NOTHING", "SELECT id FROM agent WHERE name = ?"),
}

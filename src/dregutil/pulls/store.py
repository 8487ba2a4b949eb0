"""The recorded pulls of one registry: a durable file in the state folder that one process writes while others read."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dregutil import clock
from dregutil.errors import JournalError
from dregutil.files import create_private, make_private_folder
from dregutil.inventory.shared import SharedFiles
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.forgotten import note_forgotten
from dregutil.pulls.pull import Gap, Pull, RepositoryPulls, Source, SourceKind, Span
from dregutil.pulls.tables import VERSION, has_begun, pulls_file, version_of
from dregutil.pulls.writer import PullWriter

__all__ = ["PullStore"]

_ADVICE = "move it away to record again from now on; what was pulled before is then not known"
_BROUGHT_EVERY = 0.2  # seconds
_NO_SPACE = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR)  # a file that may not grow is an I/O error to SQLite
_OF_REPOSITORY = (
    "SELECT reference, at, agent.name, source.kind FROM pull JOIN repository ON repository.id = pull.repository"
    " JOIN agent ON agent.id = pull.agent JOIN source ON source.id = pull.source WHERE repository.name = ?"
)


class PullStore:
    """The pulls of one registry. Every method raises JournalError if the file cannot be used."""

    def __init__(
        self,
        state: Path,
        registry: str,
        copy: sqlite3.Connection | None = None,
        shared: SharedFiles | None = None,
    ) -> None:
        """`state` is the state folder, `registry` the registry's identity. `copy` is used in place of the file. With
        `shared` the file is this machine's copy of what all machines record."""
        self._state, self._registry = state, registry
        self.path = pulls_file(state, registry)
        self._copy = copy
        self._shared = None if shared is None else shared.file("pulls", self.path, note_forgotten)
        self._brought = float("-inf")  # when the copy was last brought up to date

    def bring(self) -> None:
        """Bring the copy of shared pulls up to date, unless that was done just now."""
        if self._shared is not None and clock.now() - self._brought >= _BROUGHT_EVERY:
            self._shared.bring()
            self._brought = clock.now()

    def copy_in_memory(self) -> PullStore:
        """A copy of these pulls in memory: what is written to it is in no file."""
        self.bring()
        copied = sqlite3.connect(":memory:", isolation_level=None, check_same_thread=False)
        if self.path.exists():
            with self._open() as database:
                database.backup(copied)
        return PullStore(self._state, self._registry, copied)

    @contextmanager
    def writer(self, kind: SourceKind, name: str) -> Iterator[PullWriter]:
        """Writes for one source, from any thread, one call at a time."""
        try:
            if self._copy is None:
                make_private_folder(self.path.parent)
                create_private(self.path)
        except OSError as error:
            raise JournalError(
                f"{self.path} cannot be written: {error.strerror or error}",
                advice="name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)",
            ) from error
        with self._open() as database:
            yield PullWriter(database, kind, name, self._shared)

    def pulls(self, repository: Repository) -> RepositoryPulls:
        """The last pulls in a repository."""
        digests: dict[Digest, Pull] = {}
        tags: dict[Tag, Pull] = {}
        for reference, at, agent, kind in self._rows(_OF_REPOSITORY, (repository,)):
            source = SourceKind(kind)
            if isinstance(reference, bytes):
                digest = Digest.of_key(reference)
                digests[digest] = Pull(repository, digest, _moment(at), agent, source)
            else:
                tags[Tag(reference)] = Pull(repository, Tag(reference), _moment(at), agent, source)
        return RepositoryPulls(digests, tags)

    def sources(self) -> tuple[Source, ...]:
        """What has recorded pulls, and when."""
        spans, gaps = (
            self._rows("SELECT source, since, until, '' FROM span ORDER BY source, since"),
            self._rows("SELECT source, since, until, why FROM gap ORDER BY source, since"),
        )
        return tuple(
            Source(
                SourceKind(kind),
                name,
                tuple(Span(_moment(since), _moment(until)) for of, since, until, _ in spans if of == number),
                tuple(Gap(_moment(since), _moment(until), why) for of, since, until, why in gaps if of == number),
            )
            for number, kind, name in self._rows("SELECT id, kind, name FROM source ORDER BY id")
        )

    def counted(self, name: str) -> int:
        """A counter: of notifications with a `change`, and of the processes of a registry that came after another one
        (`instance`); also the last change that is `forgotten`."""
        found = self._rows("SELECT value FROM counter WHERE name = ?", (name,))
        return int(found[0][0]) if found else 0

    def last_event(self) -> datetime | None:
        """When the last notification was sent that was received; None if none was."""
        (found,) = self._rows("SELECT max(last) FROM instance") or [(None,)]
        return None if found[0] is None else _moment(found[0])

    def has_marked(self, agent: str) -> bool:
        """Whether a request with a `marked_agent` was notified, of the last hundred."""
        return bool(self._rows("SELECT 1 FROM marked WHERE agent = ?", (agent,)))

    def changed_since(self, number: int) -> Mapping[Repository, frozenset[Tag]]:
        """The repositories of which a change was notified after that with a number, each with the tags that were pushed
        or deleted. Changes may have been forgotten."""
        found: dict[Repository, set[Tag]] = {}
        for name, tag in self._rows(
            "SELECT name, tag FROM change JOIN repository ON repository.id = change.repository WHERE number > ?",
            (number,),
        ):
            found.setdefault(Repository(name), set()).update([Tag(tag)] if tag else [])
        return {name: frozenset(tags) for name, tags in found.items()}

    def _rows(self, query: str, values: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        """The rows of a query; none if nothing was recorded."""
        self.bring()
        if self._copy is None and not self.path.exists():
            return []
        with self._open() as database:
            return database.execute(query, values).fetchall() if has_begun(database) else []

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        if self._copy is not None:
            with self.guarded():
                yield self._copy
            return
        with (
            self.guarded(),
            closing(sqlite3.connect(self.path, timeout=30, isolation_level=None, check_same_thread=False)) as database,
        ):
            database.execute("PRAGMA synchronous = FULL")
            if version_of(database) > VERSION:
                raise JournalError(f"{self.path} was made by a newer version", advice="use that version")
            yield database

    @contextmanager
    def guarded(self) -> Iterator[None]:
        """Errors of SQLite become a JournalError that names the file."""
        try:
            yield
        except sqlite3.Error as error:
            full = getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_SPACE
            advice = "free space on its file system; the records are unchanged" if full else _ADVICE
            raise JournalError(f"the recorded pulls {self.path} cannot be used: {error}", advice=advice) from error


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)

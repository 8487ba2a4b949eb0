"""Builds the index: in a process of its own, from files alone.

    build_index(path, Known(registry, inventory, database, …))

It is written beside the file that it then replaces, so that a search has the old one or the new one. Memory grows with
the number of tags by some 40 bytes for each, beside the tags themselves: what is sorted is in SQLite's temporary file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from operator import itemgetter
from pathlib import Path

from dregutil.errors import CacheError
from dregutil.files import create_private, make_private_folder, others_link
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.evidence import last_pull
from dregutil.pulls.pull import RepositoryPulls
from dregutil.retention.holds import Holds
from dregutil.serve.images.facts import ImageFacts, Verdicts, facts_of, full_chains
from dregutil.serve.images.former import Former
from dregutil.serve.images.freed import freed_by_tags
from dregutil.serve.images.schema import AFTERWARDS, LAST, TABLES, UNKNOWN, VERSION, Terms, joined

__all__ = ["Known", "build_index"]

_CHUNK = 16_384  # tags in a row of `names`
_AT_ONCE = 2_000  # rows written at once
_MOST_SHARED = 50_000  # texts whose numbers are known
_PRAGMAS = (
    "page_size = 16384",
    "journal_mode = OFF",
    "synchronous = OFF",
    "cache_size = -32768",
    "temp_store = FILE",
)
_ORDERED = {
    "name": "SELECT id FROM image ORDER BY tag, id",
    "created": "SELECT id FROM image ORDER BY created IS NULL, created, id",
    "pulled": "SELECT id FROM image ORDER BY pulled IS NULL, pulled, id",
    "size": "SELECT id FROM image ORDER BY size IS NULL, size, id",
    "frees": "SELECT id FROM image ORDER BY frees IS NULL, frees, id",
}
_KNOWN = "SELECT count(tag), count(created), count(pulled), count(size), count(frees) FROM image"
_INSERT = {
    "meta": "INSERT INTO meta VALUES (?, ?)",
    "repository": "INSERT INTO repository VALUES (?, ?, ?, ?)",
    "image": "INSERT INTO image VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
    "shared": "INSERT INTO shared VALUES (?, ?)",
    "names": "INSERT INTO names VALUES (?, ?, ?)",
    "ordered": "INSERT INTO ordered VALUES (?, ?, ?)",
    "valued": "INSERT INTO valued VALUES (?, ?)",
    "platform": "INSERT INTO platform VALUES (?)",
    "property": "INSERT INTO temp.property VALUES (?, ?)",
    "posting": "INSERT INTO posting VALUES (?, ?, ?)",
}


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a registry, with its identity. `read`: when its tags were read."""

    registry: str
    inventory: Inventory
    database: ContentDatabase
    pulls: Callable[[Repository], RepositoryPulls] = lambda _: RepositoryPulls()
    holds: Holds = field(default_factory=Holds)
    verdicts: Verdicts = field(default_factory=Verdicts)
    read: datetime | None = None
    now: datetime = field(default_factory=lambda: datetime.now(UTC))


def build_index(path: Path, known: Known, on_progress: Callable[[int, int], None] = lambda *_: None) -> int:
    """Write the index, and put it in the place of the one that is there. Returns the number of its rows.

    `on_progress` gets how many tags are done, and of how many. Raises CacheError.
    """
    link = others_link(path.parent)
    if link is not None:
        raise CacheError(f"the index of images is not kept in {path.parent}: {link} is a link of another user")
    try:
        make_private_folder(path.parent)
        for left in path.parent.glob(f".{path.name}.*"):
            left.unlink()  # of one that was killed: there is one at a time
        with contextlib.closing(Former.open(path, known.registry, known.now)) as former:
            try:
                return _replace(path, known, former, on_progress)
            except CacheError:
                if former.salt is None:
                    raise
        return _replace(path, known, Former(None), on_progress)  # the former one is damaged
    except (OSError, sqlite3.Error) as error:
        why = getattr(error, "strerror", None) or error
        raise CacheError(f"the index of images {path} cannot be written: {why}") from error


def _replace(path: Path, known: Known, former: Former, on_progress: Callable[[int, int], None]) -> int:
    beside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    create_private(beside)
    try:
        with contextlib.closing(sqlite3.connect(beside, isolation_level=None)) as connection:
            number = _Builder(connection, known, former, on_progress).build()
        _sync(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
    return number


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)


class _Builder:
    def __init__(
        self,
        connection: sqlite3.Connection,
        known: Known,
        former: Former,
        on_progress: Callable[[int, int], None],
    ) -> None:
        self._connection = connection
        self._known = known
        self._on_progress = on_progress
        self._former = former
        self._salt = former.salt or secrets.token_bytes(16)
        self._terms = Terms(self._salt)
        self._shared: dict[str, int] = {}
        self._texts = 0
        self._platforms: set[str] = set()
        self._unread = 0
        self._number = known.inventory.tag_count
        self._verdicts, self._held = bytearray(), bytearray()
        self._created, self._sizes = array("q"), array("q")
        self._lines: list[str] = []

    def build(self) -> int:
        for pragma in _PRAGMAS:
            self._connection.execute(f"PRAGMA {pragma}")
        self._connection.execute("BEGIN")
        for statement in TABLES:
            self._connection.execute(statement)
        self._connection.execute("CREATE TEMP TABLE property (term INTEGER, row INTEGER)")
        self._write_rows()
        self._write_columns()
        self._write_postings()
        for statement in AFTERWARDS:
            self._connection.execute(statement)
        self._write_meta()
        self._connection.execute("COMMIT")
        return self._number

    def _write_rows(self) -> None:
        known = self._known
        freed = freed_by_tags(known.database, known.inventory, known.registry)
        row = 0
        for place, repository in enumerate(known.inventory.repositories):
            tags = sorted(known.inventory.tags(repository).items())
            self._insert("repository", [(place, repository, row, len(tags))])
            for at in range(0, len(tags), _AT_ONCE):
                some = tags[at : at + _AT_ONCE]
                self._write_some(place, repository, some, row + at, freed)
            row += len(tags)
        self._write_lines(last=True)

    def _write_some(
        self, place: int, repository: Repository, tags: Sequence[tuple[Tag, Digest]], first: int, freed: array[int]
    ) -> None:
        known, verdict_of = self._known, self._known.verdicts.of(repository)
        pulls = known.pulls(repository)
        facts: dict[Digest, ImageFacts] = {}
        rows, properties = [], []
        for row, (tag, digest) in enumerate(tags, first):
            former = self._former.take(repository, tag, digest, row)
            found = former or facts.get(digest) or facts.setdefault(digest, self._facts(digest))
            pull = last_pull(pulls, tag, digest, found.below)
            verdict, because = verdict_of(tag, digest)
            is_held = known.holds.on(repository, tag, digest) is not None
            rows.append(
                (
                    row,
                    place,
                    tag,
                    digest.key,
                    found.created,
                    None if pull is None else int(pull.at.timestamp()),
                    found.size,
                    None if freed[row] == UNKNOWN else freed[row],
                    self._text(joined(found.platforms)),
                    verdict,
                    self._text(because),
                    is_held,
                    _packed_chains(found),
                    " ".join(found.below) or None,
                )
            )
            properties += [] if former is not None else [(term, row) for term in (*found.terms, *found.chains)]
            self._note(tag, found, verdict, is_held=is_held)
        self._insert("image", rows)
        self._insert("property", properties)
        self._on_progress(first + len(tags), self._number)

    def _facts(self, digest: Digest) -> ImageFacts:
        return facts_of(self._known.database.details(digest), self._terms, self._known.now)

    def _note(self, tag: Tag, found: ImageFacts, verdict: int, *, is_held: bool) -> None:
        """Add a row to the columns that are looked at as a whole."""
        self._unread += found.size is None
        self._platforms.update(found.platforms)
        self._verdicts.append(verdict)
        self._held.append(is_held)
        self._created.append(LAST if found.created is None else found.created)
        self._sizes.append(UNKNOWN if found.size is None else found.size)
        self._lines.append(tag.lower())
        if len(self._lines) == _CHUNK:
            self._write_lines()

    def _write_lines(self, *, last: bool = False) -> None:
        if self._lines:
            lines = "".join(f"\n{line}" for line in self._lines).encode()
            first = len(self._verdicts) - len(self._lines)
            self._insert("names", [(first, len(self._lines), lines)])
        self._lines = []
        if last:
            self._insert("platform", ((name,) for name in sorted(self._platforms)))

    def _text(self, text: str | None) -> int | None:
        """The number of a text that many rows share."""
        if not text:
            return None
        if text not in self._shared:
            if len(self._shared) >= _MOST_SHARED:
                self._shared.clear()
            self._shared[text] = self._texts
            self._insert("shared", [(self._texts, text.encode(errors="backslashreplace").decode())])
            self._texts += 1
        return self._shared[text]

    def _write_columns(self) -> None:
        columns = {"verdict": self._verdicts, "held": self._held, "created": self._created, "size": self._sizes}
        self._insert("valued", ((name, bytes(values)) for name, values in columns.items()))
        known = dict(zip(_ORDERED, self._connection.execute(_KNOWN).fetchone(), strict=True))
        for name, query in _ORDERED.items():
            rows = array("I", map(itemgetter(0), self._connection.execute(query)))
            self._insert("ordered", [(name, known[name], rows.tobytes())])

    def _write_postings(self) -> None:
        added = self._connection.execute("SELECT term, row FROM temp.property ORDER BY term, row")
        self._insert("posting", self._former.postings(added, self._number))
        self._connection.execute("DROP TABLE temp.property")

    def _write_meta(self) -> None:
        known = self._known
        self._insert(
            "meta",
            [
                ("version", VERSION),
                ("registry", known.registry),
                ("salt", self._salt),
                ("rows", self._number),
                ("unread", self._unread),
                ("read", None if known.read is None else known.read.timestamp()),
                ("made", known.now.timestamp()),
                ("whole", (self._former.whole or known.now).timestamp()),
            ],
        )

    def _insert(self, table: str, rows: Iterable[tuple[object, ...]]) -> None:
        self._connection.executemany(_INSERT[table], rows)


def _packed_chains(found: ImageFacts) -> bytes | None:
    return b"".join(chain.to_bytes(8, "big") for chain in full_chains(found)) or None

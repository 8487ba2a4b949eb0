"""A SQLite file of which every machine has a copy: its rows are in the store, each with the version that changed it.

A change is made in a copy that is up to date, while nobody else changes the file. What it changed is found by triggers,
and written to the store; the store commits first, so that a copy never has what the store has not. A copy knows up to
which version it has the rows, and takes those that came later. A copy with other tables than the store's is made again,
and so is one of a version that the store does not have: it was restored from an older one, and may have got another
version of that number since. So each version has a mark, in a row of its own. What the store forgot may be noted for
everyone then.
"""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from dregutil.errors import ConflictError, JournalError, StoreAccessError, StoreError
from dregutil.files import create_private, make_private_folder
from dregutil.inventory.shared import Forgotten
from dregutil.store.copied import (
    Layout,
    apply_rows,
    changed_rows,
    every_row,
    known_version,
    make_again,
    note_version,
    unwatch,
    watch,
)
from dregutil.store.database import Database, Row, Transaction

__all__ = ["MirroredFile"]

_KEPT = 10_000  # versions for which deleted rows are kept; a copy that is older is made again
_TRIES = 20  # to get a number, beside other files that begin
_MARK = "#"  # the part of the rows with the marks of versions; no table is called so
_BUSY = 60.0  # seconds to wait for another process that writes to the copy


@dataclass(frozen=True, slots=True)
class _Head:
    """The newest state of a file in the store: its number, version and tables, and the version's mark. Deleted rows up
    to version `forgotten` are no longer known."""

    number: int
    version: int
    forgotten: int
    layout: str
    mark: bytes = b""


def _nothing(_copy: sqlite3.Connection) -> None:
    pass


def _key(version: int) -> bytes:
    return b"%d" % version


class _CopyError(Exception):
    """An error of the copy: not of the store, which may be a SQLite file as well."""

    def __init__(self, error: sqlite3.Error) -> None:
        super().__init__(str(error))
        self.error = error


@contextmanager
def _errors_of_copy() -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise _CopyError(error) from error


class MirroredFile:
    """One file of a registry. Every method raises StoreError if the store cannot be used, JournalError if the copy
    cannot."""

    def __init__(
        self, database: Database, registry: str, name: str, path: Path, forgotten: Forgotten | None = None
    ) -> None:
        """`registry` is its key, `name` that of the file, `path` this machine's copy. `forgotten`: see SharedFiles."""
        self.path = path
        self._forgotten = forgotten
        self._database = database
        self._values: dict[str, object] = {"registry": registry, "name": name}

    def bring(self) -> None:
        """Bring this machine's copy up to date. Where nobody has written anything yet, there is no file."""
        with self._database.transaction(durable=False) as transaction:
            head = self._head(transaction)
        if head is None:
            self.path.unlink(missing_ok=True)
            return
        with self._opened() as copy:
            if known_version(copy) == (head.version, head.mark):
                return
            if self._forgotten is not None and self._knows_more(copy):
                with suppress(StoreAccessError), self.writing(copy):
                    pass  # it is noted; who has no right to write cannot tell anybody
            with self._database.transaction(durable=False, pauses=True) as transaction:
                copy.execute("BEGIN IMMEDIATE")
                newest = self._head(transaction)
                if newest is not None:
                    self._catch_up(transaction, copy, newest)
                copy.execute("COMMIT")

    @contextmanager
    def writing(self, copy: sqlite3.Connection) -> Iterator[None]:
        """A transaction on the file of all machines. `copy` is open, and not in a transaction."""
        self._make_known()
        try:
            with self._database.transaction(pauses=True) as transaction:
                head = self._locked(transaction)
                copy.execute("BEGIN IMMEDIATE")
                note = self._catch_up(transaction, copy, head)
                before = Layout.of(copy)
                watch(copy, before)
                with _errors_of_copy():
                    note(copy)
                    yield
                version, mark = self._publish(transaction, copy, head, before)
                unwatch(copy)
                note_version(copy, version, mark)
            copy.execute("COMMIT")
        except _CopyError as error:
            if copy.in_transaction:
                copy.execute("ROLLBACK")
            raise error.error from error
        except BaseException:
            if copy.in_transaction:
                copy.execute("ROLLBACK")
            raise

    def _publish(
        self, transaction: Transaction, copy: sqlite3.Connection, head: _Head, before: Layout
    ) -> tuple[int, bytes]:
        """Write what was changed to the store; returns the version of the file now, and its mark."""
        after, version, mark = Layout.of(copy), head.version + 1, secrets.token_bytes(8)
        rows = changed_rows(copy, before) if after == before else [*changed_rows(copy, before), *every_row(copy, after)]
        if not rows and head.version:
            return head.version, head.mark
        rows.append((_MARK, _key(version), mark))
        newest = {(part, key): body for part, key, body in rows}
        transaction.put(
            "shared_row",
            ("file", "part", "key"),
            ("file", "part", "key", "version", "body"),
            ((head.number, part, key, version, body) for (part, key), body in newest.items()),
        )
        transaction.execute(
            "UPDATE shared_file SET version = :version, layout = :layout WHERE id = :number",
            {"version": version, "layout": after.text, "number": head.number},
        )
        if not version % _KEPT:
            self._forget(transaction, head.number, version - _KEPT)
        return version, mark

    def _forget(self, transaction: Transaction, number: int, until: int) -> None:
        values = {"number": number, "until": until, "mark": _MARK}
        transaction.execute(
            "DELETE FROM shared_row WHERE file = :number AND (body IS NULL OR part = :mark) AND version <= :until",
            values,
        )
        transaction.execute("UPDATE shared_file SET forgotten = :until WHERE id = :number", values)

    def _catch_up(
        self, transaction: Transaction, copy: sqlite3.Connection, head: _Head
    ) -> Callable[[sqlite3.Connection], None]:
        """Take what the copy does not have, within its transaction. What is returned notes what the store forgot."""
        known, mark = known_version(copy)
        if (known, mark) == (head.version, head.mark):
            return _nothing
        layout, has_more = Layout.parse(head.layout), self._has_more(transaction, copy, head)
        note = self._forgotten(copy) if has_more and self._forgotten is not None else _nothing
        if has_more or known <= head.forgotten or Layout.of(copy) != layout:
            make_again(copy, layout)
            known = 0
        rows = transaction.each(
            "SELECT part, key, body FROM shared_row WHERE file = :number AND version > :known AND part <> :mark",
            {"number": head.number, "known": known, "mark": _MARK},
        )
        apply_rows(copy, layout, ((str(part), bytes(key), body) for part, key, body in rows))
        note_version(copy, head.version, head.mark)
        return note

    def _knows_more(self, copy: sqlite3.Connection) -> bool:
        with self._database.transaction(durable=False) as transaction:
            head = self._head(transaction)
            return head is not None and self._has_more(transaction, copy, head)

    def _has_more(self, transaction: Transaction, copy: sqlite3.Connection, head: _Head) -> bool:
        """Whether the copy has a version that the store has not, as after an older backup of it was restored."""
        known, mark = known_version(copy)
        return known > head.version or (known > head.forgotten and mark != self._mark(transaction, head, known))

    def _mark(self, transaction: Transaction, head: _Head, version: int) -> bytes:
        """The mark of a version."""
        rows = transaction.rows(
            "SELECT body FROM shared_row WHERE file = :number AND part = :part AND key = :key",
            {"number": head.number, "part": _MARK, "key": _key(version)},
        )
        return bytes(rows[0][0]) if rows else b""

    def _of(self, transaction: Transaction, row: Row) -> _Head:
        head = _Head(*row)
        return replace(head, mark=self._mark(transaction, head, head.version))

    def _head(self, transaction: Transaction) -> _Head | None:
        """None if nobody has written the file."""
        rows = transaction.rows(
            "SELECT id, version, forgotten, layout FROM shared_file"
            " WHERE registry = :registry AND name = :name AND version > 0",
            self._values,
        )
        return self._of(transaction, rows[0]) if rows else None

    def _make_known(self) -> None:
        """Give the file a number."""
        for _ in range(_TRIES):
            with suppress(ConflictError), self._database.transaction() as transaction:
                if not transaction.rows(
                    "SELECT 1 FROM shared_file WHERE registry = :registry AND name = :name", self._values
                ):
                    transaction.execute(
                        "INSERT INTO shared_file (id, registry, name)"
                        " SELECT coalesce(max(id), 0) + 1, :registry, :name FROM shared_file",
                        self._values,
                    )
                return
        raise StoreError(f"{self._values['name']} did not get a number in the store")

    def _locked(self, transaction: Transaction) -> _Head:
        """The newest state; nobody else changes it until the transaction ends."""
        rows = transaction.rows(
            "UPDATE shared_file SET version = version WHERE registry = :registry AND name = :name"
            " RETURNING id, version, forgotten, layout",
            self._values,
        )
        return self._of(transaction, rows[0])

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        try:
            make_private_folder(self.path.parent)
            create_private(self.path)
            with closing(sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)) as copy:
                yield copy
        except (sqlite3.Error, OSError) as error:
            raise JournalError(
                f"the copy {self.path} of what the store has cannot be used: {error}",
                advice="remove it: it is made again from the store",
            ) from error

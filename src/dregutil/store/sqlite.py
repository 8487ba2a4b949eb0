"""A store in a SQLite file: for one machine, and for the tests of what both dialects do."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence

from dregutil.errors import ConflictError, StoreError
from dregutil.files import create_private, make_private_folder
from dregutil.store.address import StoreAddress
from dregutil.store.database import Row, Transaction, put_sql

__all__ = ["SqliteDatabase"]

_PATIENCE = 10  # seconds for another writer to end


class SqliteDatabase:
    """SQLite: as many connections as there are transactions at a time; they take turns."""

    is_postgresql = False
    is_pooled = False

    def __init__(self, address: StoreAddress) -> None:
        self.address = address
        self._idle: list[sqlite3.Connection] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def _connection(self) -> sqlite3.Connection:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        path = self.address.path
        make_private_folder(path.parent)
        create_private(path)
        found = sqlite3.connect(path, timeout=_PATIENCE, isolation_level=None, check_same_thread=False)
        found.execute("PRAGMA journal_mode = WAL")
        found.execute("PRAGMA foreign_keys = ON")
        return found

    def transaction(
        self,
        *,
        durable: bool = True,
        within: float | None = None,  # noqa: ARG002 - a file always answers
        pauses: bool = False,  # noqa: ARG002 - and waits for whoever has it
    ) -> contextlib.AbstractContextManager[Transaction]:
        return self._begun(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}", "BEGIN IMMEDIATE")

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        return self._begun("BEGIN")  # its first query fixes what it sees

    @contextlib.contextmanager
    def _begun(self, *statements: str) -> Iterator[Transaction]:
        try:
            connection = self._connection()
        except (sqlite3.Error, OSError) as error:
            raise StoreError(
                f"the store {self.address} cannot be used: {error}",
                advice="name a file in a folder that can be written: sqlite:///FOLDER/FILE",
            ) from error
        try:
            for statement in statements:
                connection.execute(statement)
            yield _SqliteTransaction(connection)
            connection.execute("COMMIT")
        except BaseException as error:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
            if isinstance(error, sqlite3.IntegrityError):
                raise ConflictError(f"the store {self.address} has it already: {error}") from error
            if isinstance(error, sqlite3.Error):
                raise StoreError(f"the store {self.address} cannot be used: {error}") from error
            raise
        finally:
            with self._lock:
                is_kept = not self._is_closed
                if is_kept:
                    self._idle.append(connection)
            if not is_kept:
                connection.close()

    def close(self) -> None:
        self._is_closed = True
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


_NOW = "((julianday('now') - 2440587.5) * 86400.0)"


class _SqliteTransaction:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, values: Mapping[str, object] | None = None) -> int:
        return self._connection.execute(_in_dialect(sql), values or {}).rowcount

    def execute_many(self, sql: str, values: Iterable[Mapping[str, object]]) -> None:
        self._connection.executemany(_in_dialect(sql), values)

    def rows(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        return self._connection.execute(_in_dialect(sql), values or {}).fetchall()

    def each(self, sql: str, values: Mapping[str, object] | None = None) -> Iterator[Row]:
        return iter(self._connection.execute(_in_dialect(sql), values or {}))

    def script(self, text: str) -> None:
        for statement in text.split(";\n"):
            self._connection.execute(statement)

    def put(self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> None:
        marks = ", ".join("?" * len(columns))
        self._connection.executemany(put_sql(table, keys, columns, f"VALUES ({marks})"), rows)


_ITEMS = "(SELECT value FROM json_each(:items))"
_texts: dict[str, str] = {}


def _in_dialect(sql: str) -> str:
    text = _texts.get(sql)
    if text is None:
        text = sql.replace("{now}", _NOW).replace("{skip_locked}", "").replace("{for_share}", "")
        text = _texts[sql] = text.replace("{bytes}", "BLOB").replace("{items}", _ITEMS)
    return text

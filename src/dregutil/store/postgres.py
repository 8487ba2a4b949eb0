"""A store in PostgreSQL."""

from __future__ import annotations

import contextlib
import logging
import math
import re
import threading
import time
from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, LiteralString, TypeVar

import psycopg

from dregutil.errors import ConflictError, StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Row, Transaction, put_sql

__all__ = ["PostgresDatabase"]

T = TypeVar("T")

logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what its error says as well

_PATIENCE = 10  # seconds to connect
_SETTINGS = {
    "search_path": "dregutil,public",
    "statement_timeout": 60_000,  # milliseconds
    "idle_in_transaction_session_timeout": 30_000,  # or a process that was stopped would keep its rows from all others
    "timezone": "UTC",
    "synchronous_commit": "on",  # whatever the server's default is: an intent is on its disk before the DELETE is sent
}
_MAY_PAUSE: LiteralString = "SET LOCAL idle_in_transaction_session_timeout = 0"
_LOST = (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
_HANGS = 90.0  # seconds without an answer, where a statement may take a minute
_UNANSWERED = 20_000  # milliseconds until a connection on which nothing is acknowledged counts as lost
_NOW = "(extract(epoch FROM clock_timestamp())::float8)"

_ITEMS = "(SELECT jsonb_array_elements_text(CAST(:items AS jsonb)))"
_AT_ONCE = 50_000  # rows: one statement takes seconds, however many there are
_FEW = 200  # rows that are sent one by one: a table for others takes time to make, and leaves something in the catalog

_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)\b")
_texts: dict[str, str] = {}


def _in_dialect(sql: str) -> str:
    text = _texts.get(sql)
    if text is None:
        text = sql.replace("{now}", _NOW).replace("{skip_locked}", "FOR UPDATE SKIP LOCKED")
        text = text.replace("{for_share}", "FOR SHARE").replace("{bytes}", "BYTEA").replace("{items}", _ITEMS)
        text = _texts[sql] = _NAMED.sub(r"%(\1)s", text)
    return text


class _Connection(psycopg.Connection[Row]):
    """A connection whose answers are waited for until a moment: a server that hangs acknowledges all it is sent, so the
    network never counts as lost."""

    _end: float | None = None

    def limit(self, end: float | None) -> None:
        """Wait until a moment of `time.monotonic`; None: for `_HANGS` seconds for each answer."""
        self._end = end

    def wait(self, gen: Generator[Any, Any, T], *others: Any, **named: Any) -> T:
        try:
            end = time.monotonic() + _HANGS if self._end is None else self._end
            found: T = super().wait(_until(gen, end), *others, **named)
        except _NoAnswerError:
            self.pgconn.finish()  # nothing more is asked on it, no rollback either
            raise
        return found


class _NoAnswerError(psycopg.OperationalError):
    """The server does not answer."""


def _until(waiting: Generator[Any, Any, T], end: float) -> Generator[Any, Any, T]:
    """The same, until a moment. Raises OperationalError. psycopg comes by ten times a second, without an answer too."""
    try:
        wanted = next(waiting)
        while True:
            ready = yield wanted
            if not ready and time.monotonic() > end:
                raise _NoAnswerError("no answer came in time")
            wanted = waiting.send(ready)
    except StopIteration as stopped:
        found: T = stopped.value
        return found


class PostgresDatabase:
    """PostgreSQL: as many connections as there are transactions at a time; one that was lost is made again."""

    is_postgresql = True

    def __init__(self, address: StoreAddress) -> None:
        self.address = address
        self._idle: list[_Connection] = []
        self._is_closed = False
        self._lock = threading.Lock()

    def _open(self, stack: contextlib.ExitStack, within: float | None) -> _Connection:
        """A connection in a transaction. Those that were lost while nobody used them are left, and another one made."""
        begun = time.monotonic()
        end = None if within is None else begun + within
        while (connection := self._taken()) is not None:
            try:
                connection.limit(begun + (_PATIENCE if within is None else min(_PATIENCE, within / 2)))
                stack.enter_context(connection.transaction())
            except psycopg.OperationalError as error:
                connection.close()
                if isinstance(error, _NoAnswerError):
                    self._close_idle()  # the others would not be answered either
            else:
                connection.limit(end)
                return connection
        left = _PATIENCE if end is None else end - time.monotonic()
        connection = self._connect(max(2, round(min(_PATIENCE, left))))  # libpq knows no shorter time
        connection.limit(end)
        stack.enter_context(connection.transaction())
        return connection

    def _taken(self) -> _Connection | None:
        with self._lock:
            return self._idle.pop() if self._idle else None

    def _put_back(self, connection: _Connection) -> None:
        with self._lock:
            if not self._is_closed:
                if not connection.closed:
                    self._idle.append(connection)
                return
        connection.close()  # who asks after the end keeps nothing open

    def _connect(self, patience: int) -> _Connection:
        options = " ".join(f"-c {name}={value}" for name, value in _SETTINGS.items())
        try:
            return _Connection.connect(
                self.address.url,
                password=self.address.password(),
                autocommit=True,
                connect_timeout=patience,
                options=options,
                application_name="dregutil",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=_UNANSWERED,
            )
        except psycopg.Error as error:
            failed = self._failed(error)
            failed.may_repeat = isinstance(error, psycopg.OperationalError)
            raise failed from error

    def _failed(self, error: Exception) -> StoreError:
        """libpq's messages name host, user and database, and no password."""
        said = " ".join(str(error).split()) or type(error).__name__
        if "does not exist" in said and ("relation" in said or "schema" in said):
            return StoreError(
                f"the store {self.address} has no tables yet: {said}", advice="`dregutil store migrate` makes them"
            )
        advice = None
        if isinstance(error, psycopg.errors.InsufficientPrivilege):
            advice = "`dregutil store grants` prints what each role may do, `dregutil store check` what this one may"
        elif isinstance(error, psycopg.OperationalError):
            advice = "check that the database runs, and its address and password (PGPASSWORD, PGPASSFILE)"
        return StoreError(f"the store {self.address} cannot be used: {said}", advice=advice)

    def transaction(
        self, *, durable: bool = True, within: float | None = None, pauses: bool = False
    ) -> contextlib.AbstractContextManager[Transaction]:
        relaxed: tuple[LiteralString, ...] = () if durable else ("SET LOCAL synchronous_commit = off",)
        return self._begun(*relaxed, *((_MAY_PAUSE,) if pauses else ()), within=within)

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        isolated = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
        return self._begun(isolated, "SET LOCAL statement_timeout = 0", _MAY_PAUSE, within=math.inf)

    @contextlib.contextmanager
    def _begun(self, *statements: LiteralString, within: float | None = None) -> Iterator[Transaction]:
        connection, is_open = None, True  # while it is open, nothing of it is done where it fails
        try:
            with contextlib.ExitStack() as stack:
                connection = self._open(stack, within)
                cursor = stack.enter_context(connection.cursor())
                for statement in statements:
                    cursor.execute(statement)
                yield _PostgresTransaction(cursor)
                is_open = False
        except psycopg.IntegrityError as error:
            raise ConflictError(f"the store {self.address} has it already: {error}") from error
        except psycopg.Error as error:
            failed = self._failed(error)
            if isinstance(error, _LOST):
                failed.may_repeat = is_open
                with contextlib.suppress(psycopg.Error):
                    if connection is not None:
                        connection.close()  # whatever state it is in, the next transaction has a new one
            raise failed from error
        finally:
            if connection is not None:
                self._put_back(connection)

    def close(self) -> None:
        self._is_closed = True
        self._close_idle()

    def _close_idle(self) -> None:
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()


class _PostgresTransaction:
    def __init__(self, cursor: psycopg.Cursor[Row]) -> None:
        self._cursor = cursor

    def execute(self, sql: str, values: Mapping[str, object] | None = None) -> int:
        return self._cursor.execute(_in_dialect(sql), values or {}).rowcount

    def execute_many(self, sql: str, values: Iterable[Mapping[str, object]]) -> None:
        self._cursor.executemany(_in_dialect(sql), values)

    def rows(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        return self._cursor.execute(_in_dialect(sql), values or {}).fetchall()

    def each(self, sql: str, values: Mapping[str, object] | None = None) -> Iterator[Row]:
        with self._cursor.connection.cursor(name="each") as cursor:
            cursor.itersize = 10_000
            yield from cursor.execute(_in_dialect(sql), values or {})

    def put(self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> None:
        waiting = iter(rows)
        few = list(islice(waiting, _FEW))
        if len(few) < _FEW:
            marks = ", ".join(["%s"] * len(columns))
            self._cursor.executemany(put_sql(table, keys, columns, f"VALUES ({marks})"), few)
            return
        names = ", ".join(columns)
        chosen = f"SELECT {names} FROM"  # table and columns are our own text
        self._cursor.execute(f"CREATE TEMP TABLE incoming ON COMMIT DROP AS {chosen} {table} WHERE FALSE")
        every = chain(few, waiting)
        while some := list(islice(every, _AT_ONCE)):
            with self._cursor.copy(f"COPY incoming ({names}) FROM STDIN") as copy:
                for row in some:
                    copy.write_row(row)
            self._cursor.execute(put_sql(table, keys, columns, f"{chosen} incoming"))
            self._cursor.execute("TRUNCATE incoming")
        self._cursor.execute("DROP TABLE incoming")

    def script(self, text: str) -> None:
        self._cursor.execute(text.encode())  # without values a percent sign is one

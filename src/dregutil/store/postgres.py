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
from typing import Any, Self, TypeVar

import psycopg

from dregutil.errors import ConflictError, StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Row, Transaction, put_sql
from dregutil.store.postgres_errors import store_error

__all__ = ["MOST", "PostgresDatabase"]

T = TypeVar("T")

logging.getLogger("psycopg").setLevel(logging.ERROR)  # it warns of what its error says as well

_PATIENCE = 10  # seconds to connect
MOST = 8  # connections of a process: a server has a hundred for everybody, unless it is told otherwise
_SETTINGS: dict[str, str | int] = {  # of each transaction
    "search_path": "dregutil,public",
    "statement_timeout": 60_000,  # milliseconds
    "idle_in_transaction_session_timeout": 30_000,  # or a process that was stopped would keep its rows from all others
    "timezone": "UTC",
    "synchronous_commit": "on",  # whatever the server's default is: an intent is on its disk before the DELETE is sent
}
_MAY_PAUSE = {"idle_in_transaction_session_timeout": 0}
_LOST = (  # errors after which another connection is made, perhaps to a server that took the place of this one
    psycopg.OperationalError,
    psycopg.errors.IdleInTransactionSessionTimeout,
    psycopg.errors.ReadOnlySqlTransaction,
)
_HANGS = 90.0  # seconds without an answer, where a statement may take a minute
_UNANSWERED = 20_000  # milliseconds until a connection on which nothing is acknowledged counts as lost
_NOW = "(extract(epoch FROM clock_timestamp())::float8)"

_ITEMS = "(SELECT jsonb_array_elements_text(CAST(:items AS jsonb)))"
_AT_ONCE = 50_000  # rows: one statement takes seconds, however many there are
_FEW = 200  # rows that are sent one by one: a table for others takes time to make, and leaves something in the catalog

_NAMED = re.compile(r"(?<![:\w]):([a-z_]+)\b")
_texts: dict[str, str] = {}


def _begin(how: str, changed: Mapping[str, str | int]) -> bytes:
    """What begins a transaction, in one message, with settings that end with it; the last column of its row is the
    number of the server's process.

    A pooler refuses settings in the request for a connection, or drops them; and what is set for a connection counts
    for whoever has it next.
    """
    values = (f"set_config('{name}', '{value}', true)" for name, value in {**_SETTINGS, **changed}.items())
    return f"BEGIN {how}; SELECT {', '.join(values)}, pg_backend_pid()".encode()


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
    is_pooled = False
    _warned = ""

    def heed(self) -> Self:
        """Keep warnings: a commit that no longer waits for its standby succeeds with one."""
        self.add_notice_handler(self._noticed)
        return self

    def _noticed(self, said: psycopg.errors.Diagnostic) -> None:
        if said.severity_nonlocalized == "WARNING":
            self._warned = f"{said.message_primary}: {said.message_detail or ''}"

    def limit(self, end: float | None) -> None:
        """Wait until a moment of `time.monotonic`; None: for `_HANGS` seconds for each answer."""
        self._end = end

    def begin(self, statement: bytes) -> None:
        """Begin a transaction. `statement`: see `_begin`. A connection on which that fails is closed."""
        try:
            cursor = self.execute(statement)
            cursor.nextset()
            row = cursor.fetchone()
            if row is None or row[-1] != self.info.backend_pid:
                # The process is not the one that the connection was made to, and may be another one each time: what is
                # prepared on one of them is not on the next, where its name may be another client's statement.
                self.is_pooled = True
                self.prepare_threshold = None
        except BaseException:
            self.close()
            raise

    @contextlib.contextmanager
    def ending(self) -> Iterator[None]:
        """Commit what has begun, or roll it back."""
        try:
            yield
        except BaseException:
            try:
                self.rollback()
            except psycopg.Error:
                self.close()
            raise
        self._warned = ""
        self.commit()
        if self._warned:
            raise _NoCommitError(self._warned)

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


class _NoCommitError(psycopg.OperationalError):
    """A commit that is here, and may be lost with this server."""


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
    """PostgreSQL: as many connections as there are transactions at a time, up to `MOST`; one that was lost is made
    again."""

    is_postgresql = True

    def __init__(self, address: StoreAddress) -> None:
        self.address = address
        self.is_pooled = False
        self._idle: list[_Connection] = []
        self._is_closed = False
        self._lock = threading.Lock()
        self._room = threading.BoundedSemaphore(MOST)

    @contextlib.contextmanager
    def _one_of_most(self, within: float | None) -> Iterator[None]:
        """One of the connections that this process may have; who waits gets one when it is free."""
        if not self._room.acquire(timeout=min(_HANGS, within or _HANGS)):
            failed = StoreError(f"the store {self.address} is in use by {MOST} others of this process")
            failed.may_repeat = True
            raise failed
        try:
            yield
        finally:
            self._room.release()

    def _open(self, begin: bytes, begun: float, within: float | None) -> _Connection:
        """A connection in a transaction. Those that were lost while nobody used them are left, and another one made."""
        end = None if within is None else begun + within
        while (connection := self._taken()) is not None:
            try:
                connection.limit(begun + (_PATIENCE if within is None else min(_PATIENCE, within / 2)))
                connection.begin(begin)
            except psycopg.OperationalError as error:
                if isinstance(error, _NoAnswerError):
                    self._close_idle()  # the others would not be answered either
            else:
                connection.limit(end)
                self.is_pooled = connection.is_pooled
                return connection
        left = _PATIENCE if end is None else end - time.monotonic()
        connection = self._connect(max(2, round(min(_PATIENCE, left))))  # libpq knows no shorter time
        connection.limit(end)
        connection.begin(begin)
        self.is_pooled = connection.is_pooled
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
        try:
            return _Connection.connect(
                self.address.url,
                password=self.address.password(),
                autocommit=True,
                connect_timeout=patience,
                application_name="dregutil",
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=_UNANSWERED,
            ).heed()
        except psycopg.Error as error:
            failed = store_error(self.address, error)
            failed.may_repeat = isinstance(error, psycopg.OperationalError)
            raise failed from error

    def transaction(
        self, *, durable: bool = True, within: float | None = None, pauses: bool = False
    ) -> contextlib.AbstractContextManager[Transaction]:
        relaxed = {} if durable else {"synchronous_commit": "off"}
        return self._begun(_begin("", {**relaxed, **(_MAY_PAUSE if pauses else {})}), within=within)

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        begin = _begin("ISOLATION LEVEL REPEATABLE READ, READ ONLY", {"statement_timeout": 0, **_MAY_PAUSE})
        return self._begun(begin, within=math.inf)

    @contextlib.contextmanager
    def _begun(self, begin: bytes, *, within: float | None = None) -> Iterator[Transaction]:
        begun = time.monotonic()
        with self._one_of_most(within), self._on_connection(begin, begun, within) as transaction:
            yield transaction

    @contextlib.contextmanager
    def _on_connection(self, begin: bytes, begun: float, within: float | None) -> Iterator[Transaction]:
        connection, is_open = None, True  # while it is open, nothing of it is done where it fails
        try:
            connection = self._open(begin, begun, within)
            with connection.ending(), connection.cursor() as cursor:
                yield _PostgresTransaction(cursor)
                is_open = False
        except psycopg.IntegrityError as error:
            raise ConflictError(f"the store {self.address} has it already: {error}") from error
        except psycopg.Error as error:
            failed = store_error(self.address, error)
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

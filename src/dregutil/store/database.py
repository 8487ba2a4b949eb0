"""A database of either dialect: the same SQL, with named parameters, but for five fragments.

    {now}           seconds since 1970, UTC, by the database's own clock: the clocks of machines differ
    {skip_locked}   rows that another transaction holds are passed over
    {for_share}     a row stays as it is until the transaction ends
    {bytes}         the type of bytes
    {items}         the texts of the JSON array that the parameter `items` has

No statement has a percent sign. A connection is used by one thread; a lost one is made again at the next transaction,
never inside of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress

__all__ = ["Database", "Row", "Transaction", "first", "open_database", "put_sql"]

Row = tuple[Any, ...]


class Transaction(Protocol):
    """What may be done inside of one transaction."""

    def execute(self, sql: str, values: Mapping[str, object] | None = None) -> int:
        """Change rows; returns how many."""

    def execute_many(self, sql: str, values: Iterable[Mapping[str, object]]) -> None:
        """Change rows, once for each of `values`."""

    def rows(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        """The rows of a query, or of a change with RETURNING."""

    def each(self, sql: str, values: Mapping[str, object] | None = None) -> Iterator[Row]:
        """The rows of a query, of which few are in memory at a time. They are as they were when it began."""

    def put(self, table: str, keys: Sequence[str], columns: Sequence[str], rows: Iterable[Row]) -> None:
        """Add rows to a table, or replace those with the same `keys`. `columns` begin with the keys; no two rows have
        the same. A column that is not among them stays as it is. A million rows take less than a minute."""

    def script(self, text: str) -> None:
        """Carry out statements of another program as they are, without values and fragments."""


class Database(Protocol):
    """A store's database. Every method raises StoreError.

    `is_pooled`: a pooler such as PgBouncer was seen before it, so that nothing lasts from one transaction to the next.
    """

    address: StoreAddress
    is_postgresql: bool

    @property
    def is_pooled(self) -> bool: ...

    def transaction(
        self, *, durable: bool = True, within: float | None = None, pauses: bool = False
    ) -> contextlib.AbstractContextManager[Transaction]:
        """A transaction that is committed at the end of `with`, and rolled back by an exception.

        `durable`: the commit waits for the disk. `within`: after so many seconds it has failed if the server does not
        answer; None: each statement has a minute. `pauses`: much is done between two statements; otherwise PostgreSQL
        ends it where nothing comes for half a minute, so that nobody waits for a process that was stopped. What raised
        an error with `may_repeat` left nothing behind.
        """

    def snapshot(self) -> contextlib.AbstractContextManager[Transaction]:
        """A transaction that only reads, however long it takes: all of its queries see the store as it was at the first
        one. Nobody waits for it."""

    def close(self) -> None:
        """Close all connections."""


def open_database(address: StoreAddress) -> Database:
    """The database at an address; it is connected when first used. Raises StoreError if a library is missing."""
    if not address.is_postgresql:
        from dregutil.store.sqlite import SqliteDatabase

        return SqliteDatabase(address)
    try:
        from dregutil.store.postgres import PostgresDatabase
    except ImportError as error:
        raise StoreError(
            "a PostgreSQL store needs the library psycopg", advice="pip install 'docker-registry-util[team]'"
        ) from error
    return PostgresDatabase(address)


def first(rows: Sequence[Row]) -> Any:
    """The first column of the first row; None without a row."""
    return rows[0][0] if rows else None


def put_sql(table: str, keys: Sequence[str], columns: Sequence[str], source: str) -> str:
    """The statement that adds the rows of `source`, or replaces those with the same keys."""
    others = [column for column in columns if column not in keys]
    changes = ", ".join(f"{column} = excluded.{column}" for column in others)
    then = f"UPDATE SET {changes}" if changes else "NOTHING"
    return f"INSERT INTO {table} ({', '.join(columns)}) {source} ON CONFLICT ({', '.join(keys)}) DO {then}"

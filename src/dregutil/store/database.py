"""A database of either dialect: the same SQL, with named parameters, but for four fragments.

    {now}           seconds since 1970, UTC, by the database's own clock: the clocks of machines differ
    {skip_locked}   rows that another transaction holds are passed over
    {for_share}     a row stays as it is until the transaction ends
    {bytes}         the type of bytes

No statement has a percent sign. A connection is used by one thread; a lost one is made again at the next transaction,
never inside of one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress

__all__ = ["Database", "Row", "Transaction", "first", "open_database"]

Row = tuple[Any, ...]


class Transaction(Protocol):
    """What may be done inside of one transaction."""

    def execute(self, sql: str, values: Mapping[str, object] | None = None) -> int:
        """Change rows; returns how many."""

    def execute_many(self, sql: str, values: Iterable[Mapping[str, object]]) -> None:
        """Change rows, once for each of `values`."""

    def rows(self, sql: str, values: Mapping[str, object] | None = None) -> list[Row]:
        """The rows of a query, or of a change with RETURNING."""


class Database(Protocol):
    """A store's database. Every method raises StoreError."""

    address: StoreAddress
    is_postgresql: bool

    def transaction(self, *, durable: bool = True) -> contextlib.AbstractContextManager[Transaction]:
        """A transaction that is committed at the end of `with`, and rolled back by an exception.

        `durable`: the commit waits for the disk.
        """

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

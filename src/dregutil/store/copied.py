"""A SQLite file as rows of a shared store: its tables as text, its rows as bytes, and what a transaction changed.

A row is the values of its columns; its key those of its primary key, or its number where the table has none.
"""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from dregutil.errors import StoreError

__all__ = [
    "Layout",
    "apply_rows",
    "changed_rows",
    "every_row",
    "known_version",
    "make_again",
    "note_version",
    "unwatch",
    "watch",
]

Changed = tuple[str, bytes, bytes | None]
"""A row: its table, its key, and its values; None for a row that was deleted."""

_OURS = "shared_copy"  # the table that says up to which version this is a copy
_AT_ONCE = 10_000
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(list[object]).decode


class _Text(msgspec.Struct):
    user_version: int
    statements: list[str]


@dataclass(frozen=True, slots=True)
class Layout:
    """The tables and indexes of a file, by the statements that make them."""

    user_version: int
    statements: tuple[str, ...]

    @classmethod
    def of(cls, copy: sqlite3.Connection) -> Layout:
        rows = copy.execute(
            "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL AND tbl_name <> ? ORDER BY type DESC, rowid", (_OURS,)
        )
        return cls(int(copy.execute("PRAGMA user_version").fetchone()[0]), tuple(sql for (sql,) in rows))

    @classmethod
    def parse(cls, text: str) -> Layout:
        """Raises StoreError."""
        if not text:
            return cls(0, ())
        try:
            found = msgspec.json.decode(text, type=_Text)
        except msgspec.MsgspecError as error:
            raise StoreError(f"the tables of a shared file are not known: {error}") from error
        return cls(found.user_version, tuple(found.statements))

    @property
    def text(self) -> str:
        return msgspec.json.encode(_Text(self.user_version, list(self.statements))).decode()


def known_version(copy: sqlite3.Connection) -> tuple[int, bytes]:
    """The version up to which the copy has all rows, with its mark; 0 if it has none."""
    try:
        return copy.execute("SELECT version, mark FROM shared_copy").fetchone() or (0, b"")
    except sqlite3.OperationalError:  # there is no such table
        return 0, b""


def note_version(copy: sqlite3.Connection, version: int, mark: bytes) -> None:
    copy.execute("DROP TABLE IF EXISTS shared_copy")
    copy.execute("CREATE TABLE shared_copy (version INTEGER NOT NULL, mark BLOB NOT NULL)")
    copy.execute("INSERT INTO shared_copy VALUES (?, ?)", (version, mark))


def make_again(copy: sqlite3.Connection, layout: Layout) -> None:
    """Empty the copy, and make the tables of the store's."""
    for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
        copy.execute(f"DROP TABLE {_quoted(name)}")
    for statement in layout.statements:
        copy.execute(statement)
    copy.execute(f"PRAGMA user_version = {layout.user_version}")


def apply_rows(copy: sqlite3.Connection, layout: Layout, rows: Iterable[Changed]) -> None:
    """Take rows from the store. Raises StoreError for one of a table that is not in the layout."""
    tables = {table.name: table for table in _tables(copy)} if layout.statements else {}
    put: dict[str, list[Sequence[object]]] = defaultdict(list)
    gone: dict[str, list[Sequence[object]]] = defaultdict(list)
    waiting = 0
    for part, key, body in rows:
        if part not in tables:
            raise StoreError(f"the store has rows of the table {part}, which its file does not have")
        if body is None:
            gone[part].append(_decode(key))
        else:
            put[part].append(_decode(body))
        waiting += 1
        if waiting == _AT_ONCE:
            _write(copy, tables, put, gone)
            waiting = 0
    _write(copy, tables, put, gone)


def _write(
    copy: sqlite3.Connection,
    tables: dict[str, _Table],
    put: dict[str, list[Sequence[object]]],
    gone: dict[str, list[Sequence[object]]],
) -> None:
    for name, keys in gone.items():
        copy.executemany(tables[name].delete, keys)
    for name, rows in put.items():
        copy.executemany(tables[name].insert, rows)
    put.clear()
    gone.clear()


def watch(copy: sqlite3.Connection, layout: Layout) -> None:
    """Note the keys of rows that are changed from now on, of the tables that are there."""
    if not layout.statements:
        return
    for table in _tables(copy):
        copy.execute(f"CREATE TEMP TABLE {table.changed} ({table.numbered})")  # a statement's conflicts are not its own
        for event, row in (("INSERT", "NEW"), ("UPDATE", "NEW"), ("UPDATE", "OLD"), ("DELETE", "OLD")):
            values = ", ".join(f"{row}.{column}" for column in table.keys)
            then = f"INSERT INTO {table.changed} VALUES ({values})"  # noqa: S608 - our own names
            name = f"{table.changed}_{event}_{row}"
            copy.execute(f"CREATE TEMP TRIGGER {name} AFTER {event} ON main.{table.quoted} BEGIN {then}; END")


def unwatch(copy: sqlite3.Connection) -> None:
    for kind in ("trigger", "table"):
        for (name,) in copy.execute("SELECT name FROM sqlite_temp_master WHERE type = ?", (kind,)).fetchall():
            if name.startswith("shared_changed_"):
                copy.execute(f"DROP {kind} temp.{_quoted(name)}")


def changed_rows(copy: sqlite3.Connection, layout: Layout) -> list[Changed]:
    """The rows whose keys were noted, as they are now. `layout`: that of `watch`."""
    found: list[Changed] = []
    for table in _tables(copy) if layout.statements else ():
        if not _is_watched(copy, table):
            continue
        on = " AND ".join(f"t.{column} IS c.k{n}" for n, column in enumerate(table.keys))
        keys = ", ".join(f"c.k{n}" for n in range(len(table.keys)))
        values = ", ".join(f"t.{column}" for column in table.columns)
        query = (
            f"SELECT {keys}, t.{table.keys[0]} IS NULL, {values}"  # noqa: S608 - our own names
            f" FROM (SELECT DISTINCT * FROM {table.changed}) AS c"
            f" LEFT JOIN main.{table.quoted} AS t ON {on}"
        )
        number = len(table.keys)
        for row in copy.execute(query):
            body = None if row[number] else _encode(row[number + 1 :])
            found.append((table.name, _encode(row[:number]), body))
    return found


def every_row(copy: sqlite3.Connection, layout: Layout) -> Iterator[Changed]:
    """All rows of a file."""
    for table in _tables(copy) if layout.statements else ():
        columns = ", ".join((*table.keys, *table.columns))
        number = len(table.keys)
        for row in copy.execute(f"SELECT {columns} FROM {table.quoted}"):  # noqa: S608 - our own names
            yield table.name, _encode(row[:number]), _encode(row[number:])


@dataclass(frozen=True, slots=True)
class _Table:
    """A table: its name, the columns of its key, and all columns, quoted."""

    name: str
    keys: tuple[str, ...]
    columns: tuple[str, ...]

    @property
    def quoted(self) -> str:
        return _quoted(self.name)

    @property
    def changed(self) -> str:
        return f"shared_changed_{self.name}"

    @property
    def numbered(self) -> str:
        """The columns of the temporary table with the keys of changed rows."""
        return ", ".join(f"k{n}" for n in range(len(self.keys)))

    @property
    def insert(self) -> str:
        marks = ", ".join("?" * len(self.columns))
        return f"INSERT OR REPLACE INTO {self.quoted} ({', '.join(self.columns)}) VALUES ({marks})"  # noqa: S608 - our own names

    @property
    def delete(self) -> str:
        where = " AND ".join(f"{column} IS ?" for column in self.keys)
        return f"DELETE FROM {self.quoted} WHERE {where}"  # noqa: S608 - our own names


def _tables(copy: sqlite3.Connection) -> list[_Table]:
    names = copy.execute(
        "SELECT name FROM main.sqlite_master WHERE type = 'table' AND name <> ? AND name NOT LIKE 'sqlite%'", (_OURS,)
    ).fetchall()
    return [_table(copy, name) for (name,) in names]


def _table(copy: sqlite3.Connection, name: str) -> _Table:
    columns = copy.execute(f"PRAGMA main.table_info({_quoted(name)})").fetchall()
    keys = tuple(_quoted(column[1]) for column in sorted(columns, key=lambda one: one[5]) if column[5])
    names = tuple(_quoted(column[1]) for column in columns)
    return _Table(name, keys, names) if keys else _Table(name, ("rowid",), ("rowid", *names))


def _is_watched(copy: sqlite3.Connection, table: _Table) -> bool:
    return copy.execute("SELECT 1 FROM sqlite_temp_master WHERE name = ?", (table.changed,)).fetchone() is not None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'

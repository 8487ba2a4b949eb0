"""The files of an export: FOLDER/<table>/registry=<key>/day=<YYYY-MM-DD>/part-0.parquet.

Each is written beside its place, by row groups, and comes into it as a whole; nothing comes into its place before
everything is written. Two exports into a folder take turns. Only the owner may read the files.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from dregutil.errors import UsageError
from dregutil.files import lock_file, make_private_folder, others_link, sync_folder
from dregutil.store.parquet.schema import VERSION, Column, Table

__all__ = ["Partitions", "Writer", "Written", "segment"]

FILE = "part-0.parquet"
_BATCH = 8_192  # rows that are Python objects at a time
_GROUP = 131_072  # rows of a row group: those of 16 batches
_NULL = "__HIVE_DEFAULT_PARTITION__"
# What Hive and Spark encode. Other characters stay as they are: Spark decodes each %XX as a character of its own.
_ENCODED = frozenset("\"#%'*/:=?\\{[]^\x7f") | frozenset(map(chr, range(0x20)))
_TYPES: dict[str, pa.DataType] = {
    "string": pa.string(),
    "int32": pa.int32(),
    "int64": pa.int64(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", tz="UTC"),
    "list of strings": pa.list_(pa.field("element", pa.string(), nullable=False)),
}


@dataclass(frozen=True, slots=True)
class Written:
    """A file that was written, and its rows. `registry` is a key."""

    table: str
    registry: str
    day: date
    rows: int
    path: Path


def segment(name: str, value: str) -> str:
    """The name of a folder, from which readers of hive-style partitions get `value`."""
    text = "".join(f"%{ord(one):02X}" if one in _ENCODED else one for one in value)
    return f"{name}={text or _NULL}"


class Writer:
    """Writes one file: rows in the order of the table's columns."""

    def __init__(self, table: Table, registry: str, day: date, path: Path) -> None:
        self.table, self.registry, self.day, self.path, self.rows = table, registry, day, path, 0
        self._schema = _schema(table)
        handle, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
        self.beside = Path(name)
        self._file: BinaryIO = os.fdopen(handle, "wb")
        self._parquet = pq.ParquetWriter(self._file, self._schema, compression="zstd")
        self._waiting: list[Sequence[object]] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, row: Sequence[object]) -> None:
        self._waiting.append(row)
        self.rows += 1
        if len(self._waiting) >= _BATCH:
            self._pack()
            if len(self._batches) * _BATCH >= _GROUP:
                self._write_group()

    def finish(self) -> None:
        """Write what waits, to the disk."""
        self._pack()
        self._write_group()
        self._parquet.close()
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()

    def discard(self) -> None:
        self._file.close()
        with suppress(OSError):
            self.beside.unlink()

    def _pack(self) -> None:
        if self._waiting:
            columns = zip(*self._waiting, strict=True)
            arrays = [pa.array(values, field.type) for values, field in zip(columns, self._schema, strict=True)]
            self._batches.append(pa.record_batch(arrays, schema=self._schema))
            self._waiting = []

    def _write_group(self) -> None:
        if self._batches:
            self._parquet.write_table(pa.Table.from_batches(self._batches), row_group_size=_GROUP)
            self._batches = []


class Partitions:
    """The partitions of one export. Every method raises OSError, and UsageError behind another user's link."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._open: list[Writer] = []
        self._made: list[Path] = []

    @classmethod
    @contextmanager
    def written(cls, folder: Path) -> Iterator[Partitions]:
        """While they are written. What `with` encloses comes into its place by `replace`; otherwise nothing does."""
        _check_is_ours(folder)
        make_private_folder(folder)
        with lock_file(folder / ".lock", wait=True):
            for left in folder.glob(f"*/registry=*/day=*/.{FILE}.*"):
                left.unlink()  # of an export that was killed
            found = cls(folder)
            try:
                yield found
            finally:
                found._discard()

    def writer(self, table: Table, registry: str, day: date) -> Writer:
        """A new file for a partition."""
        place = self.folder / table.name / segment("registry", registry) / segment("day", day.isoformat())
        _check_is_ours(place)
        self._made += [one for one in (place, *place.parents) if not one.exists()]
        make_private_folder(place)
        found = Writer(table, registry, day, place / FILE)
        self._open.append(found)
        return found

    def complete(self, tables: Sequence[Table], day: date) -> None:
        """Let each registry of the export have a partition of each table, if only an empty one: a reader then finds all
        tables."""
        there = {(one.table.name, one.registry) for one in self._open if one.day == day}
        for registry in dict.fromkeys(one.registry for one in self._open):
            for table in tables:
                if (table.name, registry) not in there:
                    self.writer(table, registry, day).finish()

    def replace(self) -> tuple[Written, ...]:
        """Bring all files into their places."""
        for one in self._open:
            one.beside.replace(one.path)
        for folder in dict.fromkeys(one.path.parent for one in self._open):
            sync_folder(folder)
        done = tuple(Written(one.table.name, one.registry, one.day, one.rows, one.path) for one in self._open)
        self._open, self._made = [], []
        return done

    def _discard(self) -> None:
        for one in self._open:
            one.discard()
        for folder in sorted(self._made, key=lambda one: len(one.parts), reverse=True):
            with suppress(OSError):  # it has something by now
                folder.rmdir()


def _check_is_ours(place: Path) -> None:
    link = others_link(place)
    if link is not None:
        raise UsageError(f"nothing is exported to {place}: {link} is another user's link, or leads to another's folder")


def _schema(table: Table) -> pa.Schema:
    about: dict[str, str] = {"dregutil.table": table.name, "dregutil.schema": str(VERSION)}
    return pa.schema([_field(column) for column in table.columns], metadata=about)


def _field(column: Column) -> Any:
    return pa.field(column.name, _TYPES[column.type], nullable=column.may_be_null)

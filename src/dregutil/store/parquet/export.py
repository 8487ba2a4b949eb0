"""The export of a store as Parquet: all its tables, each registry and day a partition."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from itertools import groupby
from pathlib import Path

from dregutil.errors import UsageError
from dregutil.inventory.contents.database import ContentDatabase
from dregutil.oci.names import registry_key
from dregutil.store.contents import SharedContents
from dregutil.store.database import Database, first
from dregutil.store.parquet.manifests import KnownContents, ManifestRows
from dregutil.store.parquet.partitions import Partitions, Written
from dregutil.store.parquet.pulls import export_pulls, registries_with_pulls
from dregutil.store.parquet.runs import export_run, stored_runs
from dregutil.store.parquet.schema import LAYERS, MANIFESTS, PULL_SOURCES, PULLS, RUNS, STEPS, TABLES, TAGS
from dregutil.store.parquet.tags import export_tags, registries

__all__ = ["ParquetExport", "export_parquet"]


@dataclass(frozen=True, slots=True)
class ParquetExport:
    """The files that were written. `unknown`: manifests whose content neither the store nor this machine has."""

    files: tuple[Written, ...]
    unknown: int


def export_parquet(
    database: Database, folder: Path, *, registry: str | None = None, contents: Path | None = None
) -> ParquetExport:
    """Write what the store has into partitions of `folder`, replacing those that are there.

    `registry`: only of one, by its identity. `contents`: this machine's content database, for what the store does not
    have. Raises StoreError, CacheError, and UsageError if the folder cannot be written.
    """
    key = None if registry is None else registry_key(registry)
    try:
        with Partitions.written(folder) as partitions, _opened(contents) as known:
            today = _today(database)
            unknown = 0
            for one in registries(database):
                if key in (None, one):
                    unknown += _inventory(database, partitions, one, today, known)
            for one in registries_with_pulls(database):
                if key in (None, one):
                    _pulls(database, partitions, one, today)
            _runs(database, partitions, key)
            partitions.complete(TABLES, today)
            return ParquetExport(partitions.replace(), unknown)
    except OSError as error:
        raise UsageError(
            f"the export cannot be written to {folder}: {error.strerror or error}", advice="name another folder"
        ) from error


def _inventory(
    database: Database, partitions: Partitions, registry: str, today: date, known: ContentDatabase | None
) -> int:
    """Returns how many manifests are not known."""
    tags, manifests, layers = (partitions.writer(table, registry, today) for table in (TAGS, MANIFESTS, LAYERS))
    rows = ManifestRows(KnownContents(SharedContents(database), known), manifests, layers)
    export_tags(database, registry, tags, rows)
    for one in (tags, manifests, layers):
        one.finish()
    return rows.unknown


def _pulls(database: Database, partitions: Partitions, registry: str, today: date) -> None:
    pulls, sources = (partitions.writer(table, registry, today) for table in (PULLS, PULL_SOURCES))
    export_pulls(database, registry, pulls, sources)
    pulls.finish()
    sources.finish()


def _runs(database: Database, partitions: Partitions, registry: str | None) -> None:
    with database.snapshot() as transaction:
        found = stored_runs(transaction, registry)
        for (key, day), some in groupby(found, key=lambda one: (one.registry, one.day)):
            runs, steps = (partitions.writer(table, key, day) for table in (RUNS, STEPS))
            for run in some:
                export_run(transaction, run, runs, steps)
            runs.finish()
            steps.finish()


def _today(database: Database) -> date:
    """The day by the clock of the database, UTC."""
    with database.transaction(durable=False) as transaction:
        return datetime.fromtimestamp(float(first(transaction.rows("SELECT {now}"))), UTC).date()


@contextmanager
def _opened(contents: Path | None) -> Iterator[ContentDatabase | None]:
    if contents is None or not contents.exists():
        yield None
        return
    with closing(ContentDatabase.open(contents)) as found:
        yield found

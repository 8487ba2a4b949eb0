"""The rows of recorded pulls: those of one registry, from a copy of its file that lasts as long as the export."""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from dregutil.errors import StoreError
from dregutil.oci.names import Digest
from dregutil.pulls.tables import VERSION, has_begun, version_of
from dregutil.store.database import Database
from dregutil.store.mirrored import MirroredFile
from dregutil.store.parquet.partitions import Writer
from dregutil.store.parquet.tags import moment

__all__ = ["export_pulls", "registries_with_pulls"]

NAME = "pulls"  # of the file, in the store
_PULLS = (
    "SELECT repository.name, reference, at, agent.name, source.kind FROM pull"
    " JOIN repository ON repository.id = pull.repository JOIN agent ON agent.id = pull.agent"
    " JOIN source ON source.id = pull.source ORDER BY repository.name, reference"
)
_TIMES = (
    "SELECT source.kind, source.name, since, until, 0, NULL FROM span JOIN source ON source.id = span.source"
    " UNION ALL"
    " SELECT source.kind, source.name, since, until, 1, why FROM gap JOIN source ON source.id = gap.source"
    " ORDER BY 1, 2, 3"
)


def registries_with_pulls(database: Database) -> list[str]:
    """The keys of the registries whose pulls are in the store."""
    with database.transaction(durable=False) as transaction:
        rows = transaction.rows(
            "SELECT registry FROM shared_file WHERE name = :name AND version > 0 ORDER BY registry", {"name": NAME}
        )
    return [str(registry) for (registry,) in rows]


def export_pulls(database: Database, registry: str, pulls: Writer, sources: Writer) -> None:
    """Write the pulls of a registry, and when they were recorded. Raises StoreError."""
    with _copied(database, registry) as copy:
        if not has_begun(copy):
            return
        for repository, reference, at, agent, kind in copy.execute(_PULLS):
            tag = None if isinstance(reference, bytes) else str(reference)
            digest = str(Digest.of_key(reference)) if isinstance(reference, bytes) else None
            pulls.add((repository, tag, digest, moment(at), agent, kind))
        for kind, name, since, until, is_gap, why in copy.execute(_TIMES):
            sources.add((kind, name, moment(since), moment(until), bool(is_gap), why))


@contextmanager
def _copied(database: Database, registry: str) -> Iterator[sqlite3.Connection]:
    with tempfile.TemporaryDirectory(prefix="dregutil-") as folder:
        path = Path(folder) / "pulls.sqlite"
        MirroredFile(database, registry, NAME, path).bring()
        try:
            with closing(sqlite3.connect(path)) as copy:
                if version_of(copy) > VERSION:
                    raise StoreError("a newer version recorded the pulls in the store", advice="use a newer dregutil")
                yield copy
        except sqlite3.Error as error:
            raise StoreError(f"the recorded pulls of {registry} cannot be read: {error}") from error

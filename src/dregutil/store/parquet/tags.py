"""The rows of tags, of one registry at a time, as a snapshot of the store has them."""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from operator import itemgetter

from dregutil.store.database import Database, Transaction
from dregutil.store.parquet.manifests import ManifestRows
from dregutil.store.parquet.partitions import Writer

__all__ = ["export_tags", "moment", "registries"]


def registries(database: Database) -> list[str]:
    """The keys of the registries whose tags are in the store."""
    with database.transaction(durable=False) as transaction:
        rows = transaction.rows("SELECT registry FROM inventory WHERE version > 0 ORDER BY registry")
    return [str(registry) for (registry,) in rows]


def export_tags(database: Database, registry: str, tags: Writer, manifests: ManifestRows) -> None:
    """Write the tags of a registry, and the manifests to which those that are there lead.

    In memory are a batch of rows, and the digests of one large repository or of some small ones. Raises StoreError and
    CacheError.
    """
    with database.snapshot() as transaction:
        read_at = _read_at(transaction, registry)
        rows = transaction.each(
            "SELECT repository, name, digest, came, gone FROM tag WHERE registry = :registry ORDER BY repository, name",
            {"registry": registry},
        )
        for repository, found in groupby(rows, key=itemgetter(0)):
            there: dict[str, None] = {}
            for _, tag, digest, came, gone in found:
                tags.add((repository, tag, digest, moment(came), moment(gone), read_at))
                if gone is None:
                    there[digest] = None
            manifests.add(repository, there)
        manifests.finish()


def _read_at(transaction: Transaction, registry: str) -> datetime | None:
    rows = transaction.rows("SELECT read_at FROM inventory WHERE registry = :registry", {"registry": registry})
    return moment(rows[0][0] or None) if rows else None


def moment(seconds: float | None) -> datetime | None:
    """A time in seconds since 1970."""
    return None if seconds is None else datetime.fromtimestamp(float(seconds), UTC)

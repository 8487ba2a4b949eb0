"""What a team knows of one registry together: the store has it, each machine a working copy in its mirror folder."""

from __future__ import annotations

from pathlib import Path

from dregutil.oci.names import registry_key
from dregutil.store.database import Database
from dregutil.store.documents import StoredDocument
from dregutil.store.mirrored import MirroredFile

__all__ = ["SharedFacts"]


class SharedFacts:
    """What the store has of one registry. Every method raises StoreError if the store cannot be asked."""

    def __init__(self, database: Database, registry: str) -> None:
        """`registry` is its identity."""
        self._database = database
        self._key = registry_key(registry)

    def document(self, name: str) -> StoredDocument:
        """A small file of the registry, by its name."""
        return StoredDocument(self._database, self._key, name)

    def file(self, name: str, path: Path) -> MirroredFile:
        """A database of the registry, by its name, with this machine's copy at `path`."""
        return MirroredFile(self._database, self._key, name, path)

    def names(self, beginning: str) -> list[str]:
        """The names of the small files that were written, those that begin so."""
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows(
                "SELECT name FROM document WHERE registry = :registry AND body IS NOT NULL"
                " AND substr(name, 1, :length) = :beginning ORDER BY name",
                {"registry": self._key, "length": len(beginning), "beginning": beginning},
            )
        return [str(name) for (name,) in rows]

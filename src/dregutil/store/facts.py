"""What a team knows of one registry together: the store has it, each machine a working copy in its mirror folder."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dregutil.inventory.shared import Forgotten
from dregutil.journal.actor import host_name, user_name
from dregutil.oci.names import registry_key
from dregutil.store.contents import SharedContents
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

    @property
    def contents(self) -> SharedContents:
        """The contents of images, of all registries."""
        return SharedContents(self._database)

    def note_policy(self, text: str) -> None:
        """Keep the text of a policy that a cleanup was carried out by, once, with who did so first and when."""
        values = {
            "hash": hashlib.sha256(text.encode()).hexdigest(),
            "text": text,
            "who": f"{user_name()}@{host_name()}",
        }
        with self._database.transaction() as transaction:
            transaction.execute(
                "INSERT INTO policy_version (hash, text, who, at) VALUES (:hash, :text, :who, {now})"
                " ON CONFLICT (hash) DO NOTHING",
                values,
            )

    def file(self, name: str, path: Path, forgotten: Forgotten | None = None) -> MirroredFile:
        """A database of the registry, by its name, with this machine's copy at `path`. `forgotten`: see SharedFiles."""
        return MirroredFile(self._database, self._key, name, path, forgotten)

    def names(self, beginning: str) -> list[str]:
        """The names of the small files that were written, those that begin so."""
        with self._database.transaction(durable=False) as transaction:
            rows = transaction.rows(
                "SELECT name FROM document WHERE registry = :registry AND body IS NOT NULL"
                " AND substr(name, 1, :length) = :beginning ORDER BY name",
                {"registry": self._key, "length": len(beginning), "beginning": beginning},
            )
        return [str(name) for (name,) in rows]

"""The tags of a registry in a store, in place of a cache file: what one machine has read, all know.

STATE/inventory/<sum of the registry's key>.json           this machine's copy, as a cache file
STATE/inventory/<sum of the registry's key>.json.version   which version of the store's it is

A reading writes only the tags that differ, and a copy takes only those that changed since its version. Two readings
take turns; the later one to end counts. What is shown comes from here; what removes something reads the registry.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from dregutil.errors import CacheError, StoreError
from dregutil.files import file_of, make_private_folder, write_private
from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.packed_tags import PackedTags
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag, registry_key
from dregutil.store.database import Database, Row, Transaction

__all__ = ["SharedCache", "copy_of_tags"]

_KEPT = 90 * 24 * 3600  # seconds for which it is known that a tag was there
_COLUMNS = ("registry", "repository", "name", "digest", "came", "gone", "version")
Tags = Mapping[Repository, Mapping[Tag, Digest]]


@dataclass(frozen=True, slots=True)
class _Head:
    """The newest state: its version, and when the tags were read, in seconds since 1970. Tags that were gone by version
    `forgotten` are no longer known."""

    version: int
    read_at: float
    forgotten: int


def copy_of_tags(state: Path, registry: str) -> Path:
    """The file of this machine's copy; `state` is the mirror folder, `registry` the registry's identity."""
    return file_of(state / "inventory", [registry_key(registry)], ".json")


class SharedCache(CacheFile):
    """The tags of one registry in a store. Raises StoreError where a cache file raises CacheError, and OSError if the
    copy cannot be written."""

    is_shared = True

    def __init__(self, open_database: Callable[[], Database], state: Path, registry: str) -> None:
        """`registry` is its identity; the database is opened when it is first needed."""
        super().__init__(copy_of_tags(state, registry))
        self._open = open_database
        self._values = {"registry": registry_key(registry)}

    @property
    def name(self) -> bytes:
        return b"store"

    def written(self) -> int:
        """The version of the store's tags."""
        with self._open().transaction(durable=False) as transaction:
            return self._head(transaction).version

    def age(self, now: float) -> float | None:
        """The age of the oldest tags in seconds, by the database's clock; None if none were read."""
        del now  # this machine's clock
        with self._open().transaction(durable=False) as transaction:
            head = self._head(transaction)
            if not head.version:
                return None
            (clock,) = transaction.rows("SELECT {now}")[0]
        return max(float(clock) - head.read_at, 0.0)

    def bring(self) -> None:
        self.read()

    def read(self) -> Inventory | None:
        """The tags; None if nobody has read them. Raises StoreError and CacheError."""
        with self._writable(), self.lock(), self._open().transaction(durable=False, pauses=True) as transaction:
            head = self._head(transaction)
            return self._at(transaction, head) if head.version else None

    def write(self, inventory: Inventory, *, written_ns: int | None = None) -> None:
        """Replace all tags by what was read now."""
        del written_ns  # `update` keeps their age
        with self._writable(), self._open().transaction(pauses=True) as transaction:
            head = self._locked(transaction)
            known = self._at(transaction, head) if head.version else Inventory()
            names = {*known.repositories, *inventory.repositories}
            self._put(transaction, head, known, {name: inventory.tags(name) for name in names}, is_whole=True)
            newest = self._head(transaction)
        self._keep(inventory, newest)

    def update(self, changed: Callable[[Inventory], Tags]) -> None:
        """Replace the tags of some repositories by those that `changed` returns, if the registry was ever read."""
        with self._writable(), self.lock(), self._open().transaction(pauses=True) as transaction:
            head = self._locked(transaction)
            if not head.version:
                return
            known = self._at(transaction, head)
            tags = changed(known)
            self._put(transaction, head, known, tags, is_whole=False)
            for repository, found in tags.items():
                known.replace(repository, found)
            newest = self._head(transaction)
        self._keep(known, newest)

    # What the copy has

    def _at(self, transaction: Transaction, head: _Head) -> Inventory:
        """The tags of the newest state, from the copy and what changed since."""
        known, copy = self._copied(head)
        if known == head.version:
            return copy
        rows = transaction.each(
            "SELECT repository, name, digest, gone FROM tag WHERE registry = :registry AND version > :known",
            {**self._values, "known": known},
        )
        _apply(copy, rows)
        self._keep(copy, head)
        return copy

    def _copied(self, head: _Head) -> tuple[int, Inventory]:
        """The copy and its version; 0 if there is none that can be used."""
        with suppress(OSError, ValueError, CacheError):
            version, size, written = map(int, self._version_file.read_text().split())
            found = self.path.stat()
            if (found.st_size, found.st_mtime_ns) == (size, written) and head.forgotten <= version <= head.version:
                return version, super().read() or Inventory()
        return 0, Inventory()

    def _keep(self, inventory: Inventory, head: _Head) -> None:
        """Write the copy. A later version that another process wrote meanwhile is only written again."""
        make_private_folder(self.path.parent)
        self._version_file.unlink(missing_ok=True)
        super().write(inventory, written_ns=int(head.read_at * 1e9))
        found = self.path.stat()
        write_private(self._version_file, b"%d %d %d" % (head.version, found.st_size, found.st_mtime_ns))

    @property
    def _version_file(self) -> Path:
        return self.path.with_name(f"{self.path.name}.version")

    @contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            make_private_folder(self.path.parent)
            yield
        except OSError as error:
            raise StoreError(
                f"the copy {self.path} of the store's tags cannot be written: {error.strerror or error}",
                advice="name a folder that can be written with --state-dir (DREGUTIL_STATE_DIR)",
            ) from error

    # What the store has

    def _head(self, transaction: Transaction) -> _Head:
        rows = transaction.rows(
            "SELECT version, read_at, forgotten FROM inventory WHERE registry = :registry", self._values
        )
        return _Head(*rows[0]) if rows else _Head(0, 0.0, 0)

    def _locked(self, transaction: Transaction) -> _Head:
        """The newest state; nobody else changes it until the transaction ends."""
        transaction.execute(
            "INSERT INTO inventory (registry) VALUES (:registry) ON CONFLICT (registry) DO NOTHING", self._values
        )
        rows = transaction.rows(
            "UPDATE inventory SET version = version WHERE registry = :registry RETURNING version, read_at, forgotten",
            self._values,
        )
        return _Head(*rows[0])

    def _put(self, transaction: Transaction, head: _Head, known: Inventory, tags: Tags, *, is_whole: bool) -> None:
        """Write what differs. `is_whole`: everything was read, just now."""
        (clock,) = transaction.rows("SELECT {now}")[0]
        version = head.version + 1
        key = self._values["registry"]
        transaction.put("tag", _COLUMNS[:3], _COLUMNS, _changed(key, known, tags, float(clock), version))
        transaction.execute_many(_GONE, _gone(key, known, tags, version))
        values: dict[str, object] = {**self._values, "version": version, "clock": clock, "until": clock - _KEPT}
        transaction.execute("UPDATE inventory SET version = :version WHERE registry = :registry", values)
        if not is_whole:
            return
        transaction.execute("UPDATE inventory SET read_at = :clock WHERE registry = :registry", values)
        if transaction.execute(
            "DELETE FROM tag WHERE registry = :registry AND gone < :until AND version < :version", values
        ):
            transaction.execute("UPDATE inventory SET forgotten = :version WHERE registry = :registry", values)


_GONE = (
    "UPDATE tag SET gone = {now}, version = :version"
    " WHERE registry = :registry AND repository = :repository AND name = :name"
)


def _changed(key: str, known: Inventory, tags: Tags, now: float, version: int) -> Iterator[Row]:
    """The rows of the tags that are new, or on another digest."""
    for repository, found in tags.items():
        before = known.tags(repository)
        if before == found:
            continue
        for tag, digest in found.items():
            if before.get(tag) != digest:
                yield key, repository, tag, digest, now, None, version


def _gone(key: str, known: Inventory, tags: Tags, version: int) -> Iterator[Mapping[str, object]]:
    """The tags that are known, and were not found."""
    for repository, found in tags.items():
        for tag in known.tags(repository).keys() - found.keys():
            yield {"registry": key, "repository": repository, "name": tag, "version": version}


def _apply(inventory: Inventory, rows: Iterator[Row]) -> None:
    """Take rows from the store. Raises StoreError for one that is not a tag."""
    changed: dict[str, dict[str, str | None]] = defaultdict(dict)
    for repository, name, digest, gone in rows:
        changed[repository][name] = digest if gone is None else None
    for name, tags in changed.items():
        repository = Repository(name)
        known: dict[str, str] = dict(inventory.tags(repository).items())
        known.update({tag: digest for tag, digest in tags.items() if digest is not None})
        left = {tag: digest for tag, digest in known.items() if tags.get(tag, "") is not None}
        inventory.replace(repository, PackedTags.parse(left) or {Tag(tag): Digest(text) for tag, text in left.items()})

"""The content database: manifests and images' configs, once per digest, for all registries (SQLite, WAL).

The content of a digest never changes, so it is read once and kept for good; the file is safe to delete. Several
processes use it at once. The table `part` says what refers to what, so that `search` and `disk_usage` answer in SQL.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from dregutil.errors import CacheError
from dregutil.files import make_private_folder
from dregutil.inventory.contents.migrations import ADVICE, migrate
from dregutil.inventory.contents.sums import (
    MANIFEST_SUM,
    begin_check,
    checksum,
    drop,
    install,
    unsound,
    without_config,
)
from dregutil.oci.image import ImageConfig, ImageDetails, describe, parse_config
from dregutil.oci.manifest import (
    DOCKER_SCHEMA1_SIGNED,
    Descriptor,
    Kind,
    Manifest,
    holds_image_config,
    is_foreign,
    parse_manifest,
)
from dregutil.oci.names import Digest

__all__ = [
    "CHILD",
    "CONFIG",
    "FOREIGN",
    "LAYER",
    "ContentDatabase",
    "in_batches",
    "needs_config",
]

CHILD, CONFIG, LAYER, FOREIGN = 1, 2, 3, 4
"""The role of a part in its manifest. A foreign layer is kept outside of the registry."""

_INSERT_BLOB = f"INSERT INTO blob (digest, size, sum) VALUES (?1, ?2, {checksum('?1', '?2')})"
_BUSY_TIMEOUT = 30.0  # seconds to wait for another process that writes
_CHECKED_WHOLE = 1 << 25  # bytes: a file up to this size is checked whole, in a few hundredths of a second
_BATCH = 500  # digests in a query; SQLite allows 32,766 values
_LARGEST = 1 << 42  # bytes: a larger size in a manifest is cut to this, so that sums do not overflow

_Value = TypeVar("_Value")


class ContentDatabase:
    """One file, or a private database of this process. Every method raises CacheError if it cannot be used.

    A row that does not match its checksum is dropped when it is met, as if it had never been read; `dropped` counts
    them. `connection` is for queries over several tables, under `guarded`; `usages` counts the DiskUsages whose
    temporary tables it has had.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.connection = connection
        self.path = path
        self.dropped = 0
        self.usages = 0
        install(connection)
        with self.guarded():
            connection.isolation_level = None  # transactions begin and end explicitly
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            migrate(connection)
            if path is not None and path.stat().st_size <= _CHECKED_WHOLE:
                (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if found != "ok":
                    raise _unusable(path, f"it is damaged: {found}")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or create the file, private to its owner.

        Raises CacheError if it is damaged, made by a newer version, or not private.
        """
        _prepare(path)
        try:
            connection = sqlite3.connect(path, timeout=_BUSY_TIMEOUT)
        except sqlite3.Error as error:
            raise _unusable(path, str(error)) from error
        try:
            return cls(connection, path)
        except CacheError:
            connection.close()
            raise

    @classmethod
    def private(cls) -> Self:
        """A database of this process alone. It spills to the disk when it grows, and is gone when it is closed."""
        return cls(sqlite3.connect(""), None)

    def close(self) -> None:
        self.connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def missing(self, digests: Iterable[Digest]) -> list[Digest]:
        """Those of `digests` that are not here whole: the manifest, and all manifests and configs below it."""
        found: list[Digest] = []
        with self.guarded():
            for some in in_batches(dict.fromkeys(digests)):
                keys = [digest.key for digest in some]
                here = self._whole(keys)
                if here and self._drop_damaged(_rows_of(len(keys)), keys):
                    here = self._whole(keys)
                found += [digest for digest in some if digest.key not in here]
        return found

    def _whole(self, keys: list[bytes]) -> set[bytes]:
        query = f"SELECT digest FROM blob WHERE id IN ({_rows_of(len(keys))})"
        return {key for (key,) in self.connection.execute(query, keys)}

    def was_all_read(self, tags: str, token: bytes) -> bool:
        """Whether all contents of these tags were read when they got this token, and no row was dropped since."""
        with self.guarded():
            found = self.connection.execute("SELECT 1 FROM all_read WHERE (tags, token) = (?, ?)", (tags, token))
            return found.fetchone() is not None

    def mark_all_read(self, tags: str, token: bytes) -> None:
        """Note that all contents of some tags are read. The index with the token is written once they were."""
        with self.writing() as connection:
            connection.execute("INSERT OR REPLACE INTO all_read VALUES (?, ?)", (tags, token))

    def check(self, rows: str) -> None:
        """Drop what is damaged of the manifests whose `id` the query `rows` names, and of those below them."""
        with self.guarded():
            self._drop_damaged(rows)

    def _drop_damaged(self, rows: str, values: Sequence[bytes] = ()) -> bool:
        damaged = self._damaged(rows, values) if self.path is not None else set()
        if damaged:
            self._drop(damaged)
        return bool(damaged)

    def _damaged(self, rows: str, values: Sequence[bytes]) -> set[int]:
        """The rows of the manifests, at or below those that `rows` names, that are incomplete or damaged."""
        with self.temporary():
            begin_check(self.connection, rows, values)
            found, lacking = unsound(self.connection), without_config(self.connection)
        read = ((identity, self.manifest(Digest.of_key(key))) for identity, key in lacking.items())
        return found | {identity for identity, manifest in read if manifest is not None and needs_config(manifest)}

    def drop(self, identities: Collection[int]) -> None:
        """Drop the manifests in these rows, which are damaged."""
        if identities:
            with self.guarded():
                self._drop(identities)

    def _drop(self, identities: Collection[int]) -> None:
        with self._transaction():
            drop(self.connection, identities)
        self.dropped += len(identities)

    def manifest(self, digest: Digest) -> Manifest | None:
        """A manifest as it was read; None if it was not."""
        with self.guarded():
            row = self.connection.execute(
                f"SELECT id, CASE WHEN manifest.sum IS {MANIFEST_SUM} THEN media_type END, deflated"
                " FROM blob JOIN manifest USING (id) JOIN content USING (id) WHERE digest = ?",
                (digest.key,),
            ).fetchone()
            if row is None:
                return None
            identity, media_type, deflated = row
            raw = None if media_type is None else _inflated(digest, deflated, media_type)
            if raw is None:
                self._drop([identity])
                return None
        return parse_manifest(raw, media_type, digest)

    def config(self, digest: Digest) -> bytes | None:
        """The bytes of an image's config; None if they were not read."""
        with self.guarded():
            row = self.connection.execute(
                "SELECT id, deflated FROM blob JOIN content USING (id) WHERE digest = ?", (digest.key,)
            ).fetchone()
            raw = None if row is None else _inflated(digest, row[1], "")
            if row is not None and raw is None:
                self._drop([row[0]])
        return raw

    def details(self, digest: Digest) -> ImageDetails | None:
        """The image or index of a digest, children included; None if not all of it was read."""
        manifests: dict[Digest, Manifest] = {}
        configs: dict[Digest, ImageConfig] = {}
        waiting = [digest]
        while waiting:
            manifest = self.manifest(waiting.pop())
            if manifest is None:
                return None
            manifests[manifest.digest] = manifest
            if needs_config(manifest) and manifest.config is not None and manifest.config.digest not in configs:
                raw = self.config(manifest.config.digest)
                if raw is None:
                    return None
                configs[manifest.config.digest] = parse_config(raw)
            waiting += [child.digest for child in manifest.children if child.digest not in manifests]
        return describe(digest, manifests, configs)

    def add(
        self,
        manifests: Iterable[Manifest] = (),
        configs: Mapping[Digest, bytes] | None = None,
        whole: Iterable[Digest] = (),
    ) -> None:
        """Keep what was read, in one transaction. The caller has checked that each digest names its bytes.

        `whole` names the manifests below which nothing is missing now.
        """
        with self.guarded(), self._transaction():
            for digest, raw in (configs or {}).items():
                self._add_content(digest, raw)
            for manifest in manifests:
                self._add_manifest(manifest)
            self.connection.executemany(
                "UPDATE manifest SET whole = 1, sum = sum + 1"
                " WHERE NOT whole AND id = (SELECT id FROM blob WHERE digest = ?)",
                [(digest.key,) for digest in whole],
            )

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Raise errors of SQLite as CacheError."""
        try:
            yield
        except (sqlite3.Error, UnicodeDecodeError) as error:  # the latter of a message with a damaged name
            raise _unusable(self.path, str(error)) from error

    @contextlib.contextmanager
    def temporary(self) -> Iterator[None]:
        """A transaction on temporary tables: other processes may write to the file meanwhile."""
        with self._transaction("BEGIN"):
            yield

    @contextlib.contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the file, for which other processes wait."""
        with self.guarded(), self._transaction():
            yield self.connection

    @contextlib.contextmanager
    def _transaction(self, begin: str = "BEGIN IMMEDIATE") -> Iterator[None]:
        self.connection.execute(begin)
        try:
            yield
        except BaseException:
            # SQLite itself rolls back on some errors, such as a full disk.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _add_content(self, digest: Digest, raw: bytes) -> None:
        key = digest.key
        self.connection.execute(
            f"{_INSERT_BLOB} ON CONFLICT (digest) DO UPDATE SET size = excluded.size, sum = excluded.sum",
            (key, len(raw)),
        )
        self.connection.execute(
            f"INSERT OR IGNORE INTO content SELECT id, ?1, {checksum('?1')} FROM blob WHERE digest = ?2",
            (zlib.compress(raw), key),
        )

    def _add_manifest(self, manifest: Manifest) -> None:
        key = manifest.digest.key
        self._add_content(manifest.digest, manifest.raw)
        self.connection.execute(
            "INSERT OR IGNORE INTO manifest (id, media_type, kind) SELECT id, ?, ? FROM blob WHERE digest = ?",
            (manifest.media_type, manifest.kind.value, key),
        )
        parts = [(blob.digest.key, blob.size, role) for blob, role in _parts(manifest)]
        self.connection.executemany(
            f"{_INSERT_BLOB} ON CONFLICT (digest) DO UPDATE SET size = excluded.size, sum = excluded.sum"
            " WHERE excluded.size > size AND NOT EXISTS (SELECT 1 FROM content WHERE content.id = blob.id)",
            [(blob, min(size, _LARGEST)) for blob, size, _ in parts],
        )
        for blob, _, role in parts:
            added = self.connection.execute(
                "INSERT OR IGNORE INTO part SELECT whole.id, blob.id, ? FROM blob AS whole, blob"
                " WHERE whole.digest = ? AND blob.digest = ?",
                (role, key, blob),
            )
            if added.rowcount:
                self.connection.execute(
                    "INSERT INTO user_sum SELECT blob.id, whole.id FROM blob AS whole, blob WHERE whole.digest = ?"
                    " AND blob.digest = ? ON CONFLICT (blob) DO UPDATE SET sum = sum + excluded.sum",
                    (key, blob),
                )
        self.connection.execute(
            f"UPDATE manifest SET sum = {MANIFEST_SUM}"
            " WHERE sum IS NULL AND id = (SELECT id FROM blob WHERE digest = ?)",
            (key,),
        )


def _rows_of(number: int) -> str:
    """The query for the rows of the manifests that are here whole, of so many digests."""
    marks = ",".join("?" * number)
    return f"SELECT id FROM manifest JOIN blob USING (id) WHERE whole AND digest IN ({marks})"


def in_batches(values: Iterable[_Value]) -> Iterator[list[_Value]]:
    """`values` in lists that are short enough for one query."""
    waiting = iter(values)
    while some := list(islice(waiting, _BATCH)):
        yield some


def _inflated(digest: Digest, deflated: bytes, media_type: str) -> bytes | None:
    """The bytes as they were read; None if they are damaged."""
    try:
        raw = zlib.decompress(deflated)
    except (zlib.error, TypeError):
        return None
    # The digest of a signed schema 1 manifest covers its payload, not the bytes as they came.
    return raw if media_type == DOCKER_SCHEMA1_SIGNED or digest.matches(raw) else None


def needs_config(manifest: Manifest) -> bool:
    """Whether the manifest is an image's whose config has its date, platform and labels."""
    return manifest.kind is Kind.IMAGE and manifest.config is not None and holds_image_config(manifest.config)


def _parts(manifest: Manifest) -> Iterator[tuple[Descriptor, int]]:
    yield from ((child, CHILD) for child in manifest.children)
    if manifest.config is not None:
        yield manifest.config, CONFIG
    yield from ((layer, FOREIGN if is_foreign(layer) else LAYER) for layer in manifest.layers)


def _prepare(path: Path) -> None:
    """Create the folder and the file, private to the owner. Raises CacheError if another user owns or can write one."""
    try:
        make_private_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for place in (path.parent, path):
            found = place.stat()  # of the target, if it is a link
            if found.st_uid != os.geteuid():
                raise _unusable(path, f"{place.resolve()} is owned by another user")
            if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _unusable(path, f"{place.resolve()} is writable by other users")
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path | None, why: str) -> CacheError:
    name = "the private content database" if path is None else f"the content database {path}"
    return CacheError(f"{name} cannot be used: {why}", advice="" if path is None else ADVICE)

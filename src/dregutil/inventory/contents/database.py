"""The content database: manifests and images' configs, once per digest, for all registries (SQLite, WAL).

What a digest stands for never changes, so what was read once is kept for good; the file is safe to delete. Several
processes use it at once. Beside the bytes stands what refers to what (`part`), so that sizes are summed in SQL.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Self

from dregutil.errors import CacheError
from dregutil.files import make_private_folder
from dregutil.inventory.contents.migrations import ADVICE, migrate
from dregutil.inventory.contents.sums import MANIFEST_SUM, drop, install, unsound, without_config
from dregutil.oci.image import DEEPEST, ImageConfig, ImageDetails, describe, parse_config
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

__all__ = ["CHILD", "CONFIG", "FOREIGN", "LAYER", "ContentDatabase", "digest_key", "digest_of_key", "needs_config"]

CHILD, CONFIG, LAYER, FOREIGN = 1, 2, 3, 4
"""What a part is to its manifest; a foreign layer is kept elsewhere."""

_INSERT_BLOB = "INSERT INTO blob (digest, size, sum) VALUES (?1, ?2, row_sum(?1, CAST(?2 AS BLOB)))"
_PATIENCE = 30.0  # seconds that another process may take to write
_CHECKED_WHOLE = 1 << 25  # bytes: a file that is no larger is looked at in a few hundredths of a second
_AT_ONCE = 500  # digests a query; SQLite takes 32,766 values
_LARGEST = 1 << 42  # bytes: what a manifest says of a layer beyond this is no size, and sums must not overflow


class ContentDatabase:
    """One file, or a private one for this process alone. Every method raises CacheError where it cannot be used.

    What was changed on the disk is dropped where it is met, as if it had never been read; `dropped` counts it.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path | None) -> None:
        self.connection = connection
        self.path = path
        self.dropped = 0
        install(connection)
        with self.guarded():
            connection.isolation_level = None  # transactions begin and end where this module says so
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = NORMAL")
            migrate(connection)
            if path is not None and path.stat().st_size <= _CHECKED_WHOLE:
                (found,) = connection.execute("PRAGMA integrity_check(1)").fetchone()
                if found != "ok":
                    raise _unusable(path, f"it is damaged: {found}")

    @classmethod
    def open(cls, path: Path) -> Self:
        """Open or make the file, for its owner only. Raises CacheError: damaged, newer, or of somebody else."""
        _prepare(path)
        try:
            connection = sqlite3.connect(path, timeout=_PATIENCE)
        except sqlite3.Error as error:
            raise _unusable(path, str(error)) from error
        try:
            return cls(connection, path)
        except CacheError:
            connection.close()
            raise

    @classmethod
    def private(cls) -> Self:
        """A database of this process alone, on the disk where it grows, gone when it is closed."""
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
            waiting = iter(dict.fromkeys(digests))
            while some := list(islice(waiting, _AT_ONCE)):
                here = self._whole(list(map(digest_key, some)))
                if self._drop_damaged(here):
                    here = self._whole(list(here))
                found += [digest for digest in some if digest_key(digest) not in here]
        return found

    def _whole(self, keys: list[bytes]) -> set[bytes]:
        marks = ",".join("?" * len(keys))
        query = f"SELECT digest FROM manifest JOIN blob USING (id) WHERE whole AND digest IN ({marks})"
        return {key for (key,) in self.connection.execute(query, keys)}

    def check(self, keys: Iterable[bytes]) -> None:
        """Drop what the disk has changed of what is here whole of `keys` (of digests, see `digest_key`)."""
        with self.guarded():
            waiting = iter(keys)
            while some := list(islice(waiting, _AT_ONCE)):
                self._drop_damaged(self._whole(some))

    def _drop_damaged(self, keys: set[bytes]) -> bool:
        damaged = self._damaged(keys) if self.path is not None else set()
        if damaged:
            self._drop(damaged)
        return bool(damaged)

    def _damaged(self, keys: set[bytes]) -> set[int]:
        """The rows of manifests, at or below `keys`, of which something is missing or changed."""
        lacking = without_config(self.connection, keys)
        read = ((identity, self.manifest(digest_of_key(key))) for identity, key in lacking.items())
        return unsound(self.connection, keys) | {
            identity for identity, manifest in read if manifest is not None and needs_config(manifest)
        }

    def _drop(self, identities: Collection[int]) -> None:
        with self._transaction():
            drop(self.connection, identities)
        self.dropped += len(identities)

    def manifest(self, digest: Digest) -> Manifest | None:
        """A manifest as it was read; None where it has not been."""
        with self.guarded():
            row = self.connection.execute(
                f"SELECT id, CASE WHEN manifest.sum IS {MANIFEST_SUM} THEN media_type END, deflated"
                " FROM blob JOIN manifest USING (id) JOIN content USING (id) WHERE digest = ?",
                (digest_key(digest),),
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
        """The bytes of an image's config; None where they have not been read."""
        with self.guarded():
            row = self.connection.execute(
                "SELECT id, deflated FROM blob JOIN content USING (id) WHERE digest = ?", (digest_key(digest),)
            ).fetchone()
            raw = None if row is None else _inflated(digest, row[1], "")
            if row is not None and raw is None:
                self._drop([row[0]])
        return raw

    def details(self, digest: Digest) -> ImageDetails | None:
        """What is behind a digest, its children included; None where not all of it was read."""
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

    def beginning_with(self, value: str, algorithm: str | None = None) -> list[Digest]:
        """All digests, of whatever kind, whose hexadecimal digits begin with `value`; at most 50."""
        low = bytes.fromhex(value.ljust(len(value) + len(value) % 2, "0"))
        high = bytes.fromhex(value.ljust(len(value) + len(value) % 2, "f")) + b"\xff" * 64
        with self.guarded():
            found = self.connection.execute(
                "SELECT digest FROM blob WHERE digest BETWEEN ? AND ? LIMIT 50", (low, high)
            ).fetchall()
        digests = [digest_of_key(key) for (key,) in found]
        return [digest for digest in digests if algorithm in (None, digest.algorithm)]

    def users(self, blob: Digest) -> dict[Digest, tuple[int, int]]:
        """The manifests above a blob or manifest, those above them included: with what it is to them (CHILD, CONFIG,
        LAYER or FOREIGN) and how many floors are between (1: it is their own part)."""
        query = (
            "WITH RECURSIVE above (id, role, floor) AS ("
            " SELECT manifest, role, 1 FROM part JOIN blob ON blob.id = part.blob WHERE digest = ?"
            " UNION SELECT part.manifest, above.role, floor + 1 FROM above"
            " JOIN part ON part.blob = above.id AND part.role = ? WHERE floor < ?)"
            " SELECT digest, role, min(floor) FROM above JOIN blob USING (id) GROUP BY blob.id"
        )
        with self.guarded():
            found = self.connection.execute(query, (digest_key(blob), CHILD, DEEPEST)).fetchall()
        return {digest_of_key(key): (role, floor) for key, role, floor in found}

    def images(self, digests: Iterable[Digest]) -> dict[Digest, str]:
        """Those of `digests` whose bytes were read and are no index, with their media type."""
        found: dict[Digest, str] = {}
        kinds = (Kind.IMAGE.value, Kind.SCHEMA1.value)
        with self.guarded():
            waiting = iter(dict.fromkeys(digests))
            while some := list(islice(waiting, _AT_ONCE)):
                query = (
                    "SELECT digest, media_type FROM manifest JOIN blob USING (id)"
                    f" WHERE kind IN (?, ?) AND digest IN ({','.join('?' * len(some))})"
                    f" AND manifest.sum IS {MANIFEST_SUM}"  # an index that a disk calls an image would hold nothing
                )
                rows = self.connection.execute(query, [*kinds, *map(digest_key, some)])
                found.update((digest_of_key(key), media_type) for key, media_type in rows)
        return found

    def holders_above(self, digests: Iterable[Digest]) -> frozenset[Digest]:
        """What was ever seen to have one of `digests` as a part (an index its child, an image a layer that is a
        manifest too), and the indexes that hold those in turn."""
        found: set[bytes] = set()
        with self.guarded():
            waiting = iter(digests)
            while some := list(islice(waiting, _AT_ONCE)):
                query = (
                    "WITH RECURSIVE above (id, floor) AS ("
                    " SELECT manifest, 1 FROM blob JOIN part ON part.blob = blob.id"
                    f" WHERE digest IN ({','.join('?' * len(some))}) AND role != ?"
                    " UNION SELECT part.manifest, floor + 1 FROM above"
                    " JOIN part ON part.blob = above.id AND part.role = ? WHERE floor < ?)"
                    " SELECT DISTINCT digest FROM above JOIN blob USING (id)"
                )
                values = [*map(digest_key, some), FOREIGN, CHILD, DEEPEST]
                found.update(key for (key,) in self.connection.execute(query, values))
        return frozenset(map(digest_of_key, found))

    def add(
        self,
        manifests: Iterable[Manifest] = (),
        configs: Mapping[Digest, bytes] | None = None,
        whole: Iterable[Digest] = (),
    ) -> None:
        """Keep what was read, in one transaction; the caller has checked that each digest names its bytes.

        `whole` names manifests below which nothing is missing any more.
        """
        with self.guarded(), self._transaction():
            for digest, raw in (configs or {}).items():
                self._add_content(digest, raw)
            for manifest in manifests:
                self._add_manifest(manifest)
            self.connection.executemany(
                "UPDATE manifest SET whole = 1, sum = sum + 1"
                " WHERE NOT whole AND id = (SELECT id FROM blob WHERE digest = ?)",
                [(digest_key(digest),) for digest in whole],
            )

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """SQLite's errors as ours."""
        try:
            yield
        except sqlite3.Error as error:
            raise _unusable(self.path, str(error)) from error

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            # SQLite itself rolls back on some errors, such as a full disk.
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise
        self.connection.execute("COMMIT")

    def _add_content(self, digest: Digest, raw: bytes) -> None:
        key = digest_key(digest)
        self.connection.execute(
            f"{_INSERT_BLOB} ON CONFLICT (digest) DO UPDATE SET size = excluded.size, sum = excluded.sum",
            (key, len(raw)),
        )
        self.connection.execute(
            "INSERT OR IGNORE INTO content SELECT id, ?1, row_sum(?1) FROM blob WHERE digest = ?2",
            (zlib.compress(raw), key),
        )

    def _add_manifest(self, manifest: Manifest) -> None:
        key = digest_key(manifest.digest)
        self._add_content(manifest.digest, manifest.raw)
        self.connection.execute(
            "INSERT OR IGNORE INTO manifest (id, media_type, kind) SELECT id, ?, ? FROM blob WHERE digest = ?",
            (manifest.media_type, manifest.kind.value, key),
        )
        parts = [(digest_key(blob.digest), blob.size, role) for blob, role in _parts(manifest)]
        self.connection.executemany(
            f"{_INSERT_BLOB} ON CONFLICT (digest) DO UPDATE SET size = excluded.size, sum = excluded.sum"
            " WHERE excluded.size > size AND NOT EXISTS (SELECT 1 FROM content WHERE content.id = blob.id)",
            [(blob, min(size, _LARGEST)) for blob, size, _ in parts],
        )
        self.connection.executemany(
            "INSERT OR IGNORE INTO part SELECT whole.id, blob.id, ? FROM blob AS whole, blob"
            " WHERE whole.digest = ? AND blob.digest = ?",
            [(role, key, blob) for blob, _, role in parts],
        )
        self.connection.execute(
            f"UPDATE manifest SET sum = {MANIFEST_SUM}"
            " WHERE sum IS NULL AND id = (SELECT id FROM blob WHERE digest = ?)",
            (key,),
        )


def _inflated(digest: Digest, deflated: bytes, media_type: str) -> bytes | None:
    """The bytes as they were read; None where they are others by now."""
    try:
        raw = zlib.decompress(deflated)
    except (zlib.error, TypeError):
        return None
    # The digest of a signed schema 1 manifest covers its payload, not the bytes as they came.
    return raw if media_type == DOCKER_SCHEMA1_SIGNED or digest.matches(raw) else None


def needs_config(manifest: Manifest) -> bool:
    """Whether the manifest is an image's, whose config tells its date, platform and labels."""
    return manifest.kind is Kind.IMAGE and manifest.config is not None and holds_image_config(manifest.config)


def digest_key(digest: Digest) -> bytes:
    """A digest as the database has it: its bytes; how many tells the algorithm."""
    return bytes.fromhex(digest.hex)


def digest_of_key(key: bytes) -> Digest:
    return Digest(f"sha{len(key) * 8}:{key.hex()}")


def _parts(manifest: Manifest) -> Iterator[tuple[Descriptor, int]]:
    yield from ((child, CHILD) for child in manifest.children)
    if manifest.config is not None:
        yield manifest.config, CONFIG
    yield from ((layer, FOREIGN if is_foreign(layer) else LAYER) for layer in manifest.layers)


def _prepare(path: Path) -> None:
    """Make the folder and the file for us alone, and trust neither if somebody else could have put it there."""
    try:
        make_private_folder(path.parent)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        for place in (path.parent, path):
            found = place.stat()  # of what a link leads to
            if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                raise _unusable(path, f"{place.resolve()} is in the hands of others as well")
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error


def _unusable(path: Path | None, why: str) -> CacheError:
    name = "the private content database" if path is None else f"the content database {path}"
    return CacheError(f"{name} cannot be used: {why}", advice="" if path is None else ADVICE)

"""Manifests and configs that some machine has read, by their digest: no other one has to read them from the registry.

What the store has is checked against its digest, as what a registry sends is. Where the store cannot be asked, the
registry is.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress

from dregutil.errors import DregutilError, StoreError
from dregutil.inventory.contents.database import ContentDatabase, in_batches, needs_config
from dregutil.inventory.contents.from_storage import whole_of
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest
from dregutil.oci.names import Digest
from dregutil.store.database import Database, Transaction

__all__ = ["SharedContents"]

_WITHIN = 30.0  # seconds for one question
_DEEPEST = 10  # indexes within each other
_COLUMNS = ("digest", "media_type", "deflated", "at")


class SharedContents:
    """The contents that a store has, of all registries. A store that could not be asked once is not asked again: each
    question may take seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._is_away = False

    def fetch(self, digests: Iterable[Digest], into: ContentDatabase) -> None:
        """Bring what is behind digests into the content database of this machine, as far as the store has it. Raises
        CacheError."""
        with self._unless_away():
            manifests: dict[Digest, Manifest] = {}
            wanted = list(dict.fromkeys(digests))
            for _ in range(_DEEPEST):
                found = dict(_manifests(self.rows(wanted)))
                manifests |= found
                below = dict.fromkeys(child.digest for one in found.values() for child in one.children)
                wanted = [digest for digest in below if digest not in manifests]
                if not wanted:
                    break
            needed = {one.config.digest for one in manifests.values() if one.config and needs_config(one)}
            configs = {Digest(digest): raw for digest, media_type, raw in self.rows(needed) if not media_type}
            into.add(manifests.values(), configs, whole_of(manifests, configs))

    def keep(self, manifests: Collection[Manifest], configs: Mapping[Digest, bytes]) -> None:
        """Add what was read from a registry. Where that fails, others read it again."""
        with self._unless_away():
            read = [(one.digest, one.media_type, one.raw) for one in manifests if one.digest.matches(one.raw)]
            read += [(digest, "", raw) for digest, raw in configs.items()]
            known = {digest for digest, _, _ in self.rows([digest for digest, _, _ in read])}
            new = {digest: (media_type, raw) for digest, media_type, raw in read if digest not in known}
            with self._transaction() as transaction:
                (clock,) = transaction.rows("SELECT {now}")[0]
                rows = ((one, new[one][0], zlib.compress(new[one][1]), clock) for one in sorted(new))
                transaction.put("content", ("digest",), _COLUMNS, rows)

    def _transaction(self) -> AbstractContextManager[Transaction]:
        if self._is_away:
            raise StoreError("the store could not be asked")
        return self._database.transaction(durable=False, within=_WITHIN)

    @contextmanager
    def _unless_away(self) -> Iterator[None]:
        try:
            yield
        except StoreError:
            self._is_away = True

    def rows(self, digests: Iterable[Digest]) -> Iterator[tuple[str, str, bytes]]:
        """What the store has of digests: digest, media type (empty for a config), and bytes, where they are sound."""
        for some in in_batches(digests):
            with self._transaction() as transaction:
                rows = transaction.rows(
                    "SELECT digest, media_type, deflated FROM content WHERE digest IN {items}", {"items": _json(some)}
                )
            for digest, media_type, deflated in rows:
                raw = _inflated(bytes(deflated))
                if raw is not None and Digest(digest).matches(raw):
                    yield digest, media_type, raw


def _manifests(rows: Iterable[tuple[str, str, bytes]]) -> Iterator[tuple[Digest, Manifest]]:
    for digest, media_type, raw in rows:
        if media_type:
            with suppress(DregutilError):  # it is read from the registry, which says what is wrong
                yield Digest(digest), parse_manifest(raw, media_type, Digest(digest))


def _inflated(deflated: bytes) -> bytes | None:
    """None if the bytes are damaged, or more than a registry may send."""
    reader = zlib.decompressobj()
    with suppress(zlib.error):
        raw = reader.decompress(deflated, MAX_MANIFEST_BYTES)
        return raw if reader.eof else None
    return None


def _json(texts: list[Digest]) -> str:
    return json.dumps(texts)

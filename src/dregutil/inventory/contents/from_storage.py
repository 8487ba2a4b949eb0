"""The registry's storage instead of its API: what tags stand for, and what is behind digests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.inventory.tags import Inventory
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Kind, Manifest, parse_manifest
from dregutil.oci.names import Digest
from dregutil.storage.stored import StoredRegistry

if TYPE_CHECKING:
    from dregutil.storage.opened import Storage

__all__ = ["read_from_storage", "stored_inventory", "whole_of"]


def stored_inventory(stored: StoredRegistry) -> Inventory:
    """The tags in a storage, without those whose manifest is not there."""
    return Inventory(
        {
            name: {tag: digest for tag, digest in held.tags.items() if digest in held.revisions}
            for name, held in stored.repositories.items()
        }
    )


def read_from_storage(
    storage: Storage, stored: StoredRegistry, database: ContentDatabase, digests: Iterable[Digest]
) -> None:
    """Bring what is behind `digests` into the content database, from the storage, where it is whole there. Raises
    StorageError and CacheError."""
    wanted = _below(stored, database.missing(digests))
    raws = storage.blobs(wanted, MAX_MANIFEST_BYTES)
    manifests = {
        digest: parse_manifest(raw, stored.manifests[digest].media_type, digest)
        for digest, raw in zip(wanted, raws, strict=True)
        if raw is not None
    }
    needed = [found.config.digest for found in manifests.values() if found.config is not None and needs_config(found)]
    read = zip(needed, storage.blobs(needed, MAX_MANIFEST_BYTES), strict=True)
    configs = {digest: raw for digest, raw in read if raw is not None}
    database.add(manifests.values(), configs, whole_of(manifests, configs))


def _below(stored: StoredRegistry, digests: Iterable[Digest]) -> list[Digest]:
    """The manifests, and those below them, children first."""
    found: dict[Digest, None] = {}
    pending = list(digests)
    while pending:
        digest = pending.pop()
        manifest = stored.manifests.get(digest)
        if manifest is not None and digest not in found:
            found[digest] = None
            pending += manifest.children
    return [*reversed(found)]


def whole_of(manifests: Mapping[Digest, Manifest], configs: Mapping[Digest, bytes]) -> list[Digest]:
    """Those below which nothing is missing."""
    whole: set[Digest] = set()
    rounds = [found for found in manifests.values() if found.kind is Kind.INDEX]
    for found in manifests.values():
        has_config = not needs_config(found) or (found.config is not None and found.config.digest in configs)
        if found.kind is not Kind.INDEX and has_config:
            whole.add(found.digest)
    while ready := [found for found in rounds if all(child.digest in whole for child in found.children)]:
        whole.update(found.digest for found in ready)
        rounds = [found for found in rounds if found.digest not in whole]
    return [*whole]

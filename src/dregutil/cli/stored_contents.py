"""The registry's storage in the place of its API: what tags stand for, and what is behind digests."""

from __future__ import annotations

from collections.abc import Iterable

from dregutil.cli.settings import Settings
from dregutil.cli.source import Source
from dregutil.cli.storage import opened_storage, stored_registry
from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.inventory.tags import Inventory
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, Kind, Manifest, parse_manifest
from dregutil.oci.names import Digest
from dregutil.storage.stored import StoredRegistry

__all__ = ["read_from_storage", "stored_source"]


def stored_source(settings: Settings) -> Source | None:
    """The inventory as --storage shows it; None where it was not given. Tags that point nowhere are not in it."""
    stored = stored_registry(settings)
    if stored is None:
        return None
    return Source(
        Inventory(
            {
                name: {tag: digest for tag, digest in held.tags.items() if digest in held.revisions}
                for name, held in stored.repositories.items()
            }
        )
    )


def read_from_storage(settings: Settings, database: ContentDatabase, digests: Iterable[Digest]) -> None:
    """Bring what is behind `digests` into the content database, from the storage, as far as it is whole there."""
    stored = stored_registry(settings)
    storage = opened_storage(settings)
    if stored is None or storage is None:
        return
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
    database.add(manifests.values(), configs, _whole(manifests, configs))


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


def _whole(manifests: dict[Digest, Manifest], configs: dict[Digest, bytes]) -> list[Digest]:
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

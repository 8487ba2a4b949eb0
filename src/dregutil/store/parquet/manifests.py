"""The rows of manifests and their layers, from the contents that the store has, or this machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime

from dregutil.errors import ManifestError, UsageError
from dregutil.inventory.contents.database import ContentDatabase, in_batches, needs_config
from dregutil.oci.image import ImageConfig, parse_config
from dregutil.oci.manifest import Manifest, is_foreign, parse_manifest
from dregutil.oci.names import Digest
from dregutil.store.contents import SharedContents
from dregutil.store.parquet.partitions import Writer

__all__ = ["KnownContents", "ManifestRows"]

_LARGEST = (1 << 63) - 1  # bytes: what a column holds; a manifest may state any size
_WAITING = 2_000  # manifests of repositories that are looked up together
_NOTHING = ImageConfig()


class KnownContents:
    """Contents by their digest: those of the store, then those of this machine's own database."""

    def __init__(self, shared: SharedContents, own: ContentDatabase | None) -> None:
        self._shared = shared
        self._own = own

    def manifests(self, digests: Iterable[str]) -> Mapping[str, Manifest]:
        """Those that are known. Raises StoreError and CacheError."""
        wanted = list(_digests(digests))
        found: dict[str, Manifest] = {}
        for digest, media_type, raw in self._shared.rows(wanted):
            if media_type:
                with suppress(ManifestError):
                    found[digest] = parse_manifest(raw, media_type, Digest(digest))
        for digest in wanted if self._own is not None else ():
            if digest not in found and (manifest := self._of_own(digest)) is not None:
                found[digest] = manifest
        return found

    def configs(self, digests: Iterable[str]) -> Mapping[str, ImageConfig]:
        """Those that are known. Raises StoreError and CacheError."""
        wanted = list(_digests(dict.fromkeys(digests)))
        found = {digest: parse_config(raw) for digest, media_type, raw in self._shared.rows(wanted) if not media_type}
        for digest in wanted if self._own is not None else ():
            if digest not in found and (raw := self._own.config(digest) if self._own else None) is not None:
                found[digest] = parse_config(raw)
        return found

    def _of_own(self, digest: Digest) -> Manifest | None:
        try:
            return None if self._own is None else self._own.manifest(digest)
        except ManifestError:
            return None


class ManifestRows:
    """Writes the manifests that the tags of repositories lead to. `unknown` counts those whose content is not known."""

    def __init__(self, known: KnownContents, manifests: Writer, layers: Writer) -> None:
        self.unknown = 0
        self._known = known
        self._manifests = manifests
        self._layers = layers
        self._waiting: list[tuple[str, str]] = []

    def add(self, repository: str, digests: Iterable[str]) -> None:
        """Write those of `digests`, which are all of a repository's, and all below them, each once; at the latest with
        `finish`. Raises StoreError and CacheError."""
        self._waiting += [(repository, digest) for digest in digests]
        if len(self._waiting) >= _WAITING:
            self.finish()

    def finish(self) -> None:
        """Write what waits. Raises StoreError and CacheError."""
        level, self._waiting = self._waiting, []
        seen = set(level)
        while level:
            below: dict[tuple[str, str], None] = {}
            for some in in_batches(level):
                found = self._known.manifests(dict.fromkeys(digest for _, digest in some))
                configs = self._known.configs(
                    one.config.digest for one in found.values() if one.config is not None and needs_config(one)
                )
                for repository, digest in some:
                    manifest = found.get(digest)
                    self._write(repository, digest, manifest, configs)
                    children = () if manifest is None else manifest.children
                    below |= dict.fromkeys((repository, str(child.digest)) for child in children)
            level = [one for one in below if one not in seen]
            seen.update(level)

    def _write(
        self, repository: str, digest: str, manifest: Manifest | None, configs: Mapping[str, ImageConfig]
    ) -> None:
        if manifest is None:
            self.unknown += 1
            self._manifests.add((repository, digest, False, *(None,) * 11))
            return
        config = _NOTHING if manifest.config is None else configs.get(manifest.config.digest, _NOTHING)
        self._manifests.add((repository, digest, True, *_columns(manifest, config)))
        for row in _layers(manifest):
            self._layers.add((repository, digest, *row))


def _digests(texts: Iterable[str]) -> Iterable[Digest]:
    """Those that are digests."""
    for text in texts:
        with suppress(UsageError):
            yield Digest.parse(text)


def _columns(manifest: Manifest, described: ImageConfig) -> Sequence[object]:
    config = manifest.config
    return (
        manifest.kind.value,
        manifest.media_type,
        manifest.artifact_type or None,
        len(manifest.raw),
        None if config is None else str(config.digest),
        None if config is None else _bounded(config.size),
        len(manifest.layers),
        [str(child.digest) for child in manifest.children],
        None if manifest.subject is None else str(manifest.subject.digest),
        described.platform or None,
        _plausible(described.created),
    )


def _layers(manifest: Manifest) -> Iterable[Sequence[object]]:
    for position, layer in enumerate(manifest.layers):
        yield position, str(layer.digest), _bounded(layer.size), layer.media_type, is_foreign(layer)


def _bounded(size: int) -> int:
    return max(0, min(size, _LARGEST))


def _plausible(created: datetime | None) -> datetime | None:
    """A date that a reader's calendar has, too."""
    return created if created is not None and 1 < created.year < 9999 else None

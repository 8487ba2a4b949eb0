"""The rows of manifests and their layers, from the contents that this machine has read."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from dregutil.errors import ManifestError, UsageError
from dregutil.inventory.contents.database import ContentDatabase, needs_config
from dregutil.oci.image import ImageConfig, parse_config
from dregutil.oci.manifest import Manifest, is_foreign
from dregutil.oci.names import Digest
from dregutil.store.parquet.partitions import Writer

__all__ = ["ManifestRows"]

_LARGEST = (1 << 63) - 1  # bytes: what a column holds; a manifest may state any size
_NOTHING = ImageConfig()


class ManifestRows:
    """Writes the manifests that a repository's tags lead to. `unknown` counts those whose content was not read."""

    def __init__(self, contents: ContentDatabase | None, manifests: Writer, layers: Writer) -> None:
        self.unknown = 0
        self._contents = contents
        self._manifests = manifests
        self._layers = layers

    def add(self, repository: str, digests: Iterable[str]) -> None:
        """Write those of `digests`, and all below them, each once. Raises CacheError."""
        waiting = list(digests)
        seen = set(waiting)
        while waiting:
            digest = waiting.pop()
            manifest = self._manifest(digest)
            if manifest is None:
                self.unknown += 1
                self._manifests.add((repository, digest, False, *(None,) * 11))
                continue
            self._manifests.add((repository, digest, True, *self._columns(manifest)))
            for row in _layers(manifest):
                self._layers.add((repository, digest, *row))
            children = {str(child.digest) for child in manifest.children} - seen
            seen |= children
            waiting += children

    def _manifest(self, digest: str) -> Manifest | None:
        if self._contents is None:
            return None
        try:
            return self._contents.manifest(Digest.parse(digest))
        except (ManifestError, UsageError):  # it cannot be read, or the store has no digest there
            return None

    def _columns(self, manifest: Manifest) -> Sequence[object]:
        config, described = manifest.config, self._config(manifest)
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

    def _config(self, manifest: Manifest) -> ImageConfig:
        if self._contents is None or manifest.config is None or not needs_config(manifest):
            return _NOTHING
        raw = self._contents.config(manifest.config.digest)
        return _NOTHING if raw is None else parse_config(raw)


def _layers(manifest: Manifest) -> Iterable[Sequence[object]]:
    for position, layer in enumerate(manifest.layers):
        yield position, str(layer.digest), _bounded(layer.size), layer.media_type, is_foreign(layer)


def _bounded(size: int) -> int:
    return max(0, min(size, _LARGEST))


def _plausible(created: datetime | None) -> datetime | None:
    """A date that a reader's calendar has, too."""
    return created if created is not None and 1 < created.year < 9999 else None

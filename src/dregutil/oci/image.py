"""The content of an image: size, date, platforms, labels, layers. Pure.

The same value, whether it was read from the registry, the content database or a registry's storage.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import msgspec

from dregutil.oci.manifest import Kind, Manifest, sizes_below
from dregutil.oci.names import Digest

__all__ = ["DEEPEST", "EARLIEST_DATE", "ImageConfig", "ImageDetails", "describe", "known_date", "parse_config"]

# Docker was first released in March 2013. An earlier date comes from a reproducible build and means nothing.
EARLIEST_DATE = datetime(2013, 1, 1, tzinfo=UTC)
# Levels of nested indexes. Nobody builds more than two; deeper ones are not followed.
DEEPEST = 8

_CREATED = "org.opencontainers.image.created"  # OCI image-spec, annotations.md


@dataclass(frozen=True, slots=True)
class ImageDetails:
    """The content of a manifest.

    `size` is in bytes: the manifest, its config, layers and children, each digest once. `created` is the date in its
    config, otherwise in its annotation, in UTC; for an index the latest of its children; None if there is none.
    `labels` are those of its config; for an index those of its children, the first value of each. `layers` start with
    the base, and are empty for an index. `children` are an index's images, without attestations. `artifact_type` is the
    manifest's own, otherwise the media type of its config. `os_version` is that of Windows. `annotations` are those of
    the manifest itself.
    """

    digest: Digest
    media_type: str
    size: int
    created: datetime | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    platforms: tuple[str, ...] = ()
    layers: tuple[Digest, ...] = ()
    children: tuple[ImageDetails, ...] = ()
    artifact_type: str = ""
    os_version: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    def marked(self, key: str) -> frozenset[str]:
        """The values of a label or annotation of this name; several if they differ.

        An index has its own annotations, and the labels and annotations that all of its images have.
        """
        own = frozenset({self.annotations[key]} if key in self.annotations else ())
        if self.children:
            return own | frozenset[str].intersection(*(child.marked(key) for child in self.children))
        return own | ({self.labels[key]} if key in self.labels else frozenset())


@dataclass(frozen=True, slots=True)
class ImageConfig:
    """An image's config, as far as it can be parsed (OCI image-spec, config.md)."""

    created: datetime | None = None
    platform: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    os_version: str = ""


def known_date(created: datetime | None, now: datetime) -> datetime | None:
    """`created` if it is plausible; None if it is missing, before 2013 or in the future. Such a date is never old."""
    if created is None or created < EARLIEST_DATE or created > now:
        return None
    return created


def parse_config(raw: bytes) -> ImageConfig:
    """Parse a config. Values that are missing or malformed are left out; this never raises."""
    body = _decoded(raw)
    inner = body.get("config")
    labels = inner.get("Labels") if isinstance(inner, dict) else None
    parts = [body.get(name) for name in ("os", "architecture", "variant")]
    platform = "/".join(part for part in parts if isinstance(part, str) and part)
    version = body.get("os.version")
    return ImageConfig(
        _date(body.get("created")),
        "" if platform == "unknown/unknown" else platform,
        {key: value for key, value in labels.items() if isinstance(value, str)} if isinstance(labels, dict) else {},
        version if isinstance(version, str) else "",
    )


def describe(
    digest: Digest, manifests: Mapping[Digest, Manifest], configs: Mapping[Digest, ImageConfig]
) -> ImageDetails | None:
    """The details of `digest`. `manifests` has it and all manifests below it, `configs` the configs of their images.

    None if a manifest is missing, or indexes are nested deeper than `DEEPEST`: an incomplete size or date would be
    wrong. A missing config is treated as empty.
    """
    return _Describer(manifests, configs).describe(digest, DEEPEST)


class _Describer:
    """Describes each manifest once, however many indexes contain it."""

    def __init__(self, manifests: Mapping[Digest, Manifest], configs: Mapping[Digest, ImageConfig]) -> None:
        self.manifests = manifests
        self.configs = configs
        self.done: dict[Digest, ImageDetails | None] = {}

    def describe(self, digest: Digest, deepest: int) -> ImageDetails | None:
        if digest not in self.done:
            manifest = self.manifests.get(digest)
            self.done[digest] = None if manifest is None or deepest == 0 else self._describe(manifest, deepest)
        return self.done[digest]

    def _describe(self, manifest: Manifest, deepest: int) -> ImageDetails | None:
        if manifest.children:
            return self._describe_index(manifest, deepest)
        config = self._config(manifest)
        return ImageDetails(
            manifest.digest,
            manifest.media_type,
            sum(sizes_below(manifest, self.manifests).values()),
            config.created or _date(manifest.annotations.get(_CREATED)),
            config.labels,
            (config.platform,) if config.platform else (),
            tuple(layer.digest for layer in manifest.layers),
            artifact_type=_artifact_type(manifest),
            os_version=config.os_version,
            annotations=manifest.annotations,
        )

    def _describe_index(self, manifest: Manifest, deepest: int) -> ImageDetails | None:
        children: dict[Digest, ImageDetails] = {}
        platforms: dict[str, None] = {}
        for child in manifest.children:
            found = self.describe(child.digest, deepest - 1)
            if found is None:
                return None
            if not child.is_attestation:
                children[child.digest] = replace(found, os_version=child.os_version or found.os_version)
                platforms.update(dict.fromkeys((child.platform,) if child.platform else found.platforms))
        labels: dict[str, str] = {}
        for found in children.values():
            labels = {**found.labels, **labels}
        dates = [found.created for found in children.values() if found.created is not None]
        return ImageDetails(
            manifest.digest,
            manifest.media_type,
            sum(sizes_below(manifest, self.manifests).values()),
            max(dates) if dates else _date(manifest.annotations.get(_CREATED)),
            labels,
            tuple(platforms),
            children=tuple(children.values()),
            artifact_type=_artifact_type(manifest),
            annotations=manifest.annotations,
        )

    def _config(self, manifest: Manifest) -> ImageConfig:
        if manifest.kind is Kind.SCHEMA1:
            return _schema1_config(manifest.raw)
        if manifest.config is None:
            return ImageConfig()
        return self.configs.get(manifest.config.digest) or ImageConfig()


def _artifact_type(manifest: Manifest) -> str:
    """OCI image-spec, manifest.md: without `artifactType`, the config's media type is the artifact type."""
    return manifest.artifact_type or ("" if manifest.config is None else manifest.config.media_type)


def _schema1_config(raw: bytes) -> ImageConfig:
    """The history of the newest layer, a string in the manifest, has the structure of a config."""
    history = _decoded(raw).get("history")
    newest = history[0] if isinstance(history, list) and history else None
    text = newest.get("v1Compatibility") if isinstance(newest, dict) else None
    return parse_config(text.encode()) if isinstance(text, str) else ImageConfig()


def _decoded(raw: bytes) -> dict[str, Any]:
    try:
        found: object = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


def _date(text: object) -> datetime | None:
    """Parse an RFC 3339 date; without a time zone it is UTC."""
    if not isinstance(text, str):
        return None
    try:
        found = datetime.fromisoformat(text)
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None

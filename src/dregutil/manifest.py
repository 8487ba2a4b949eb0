"""Manifests and indexes: the raw bytes are the truth, the parsed view stands beside them.

Shapes follow the OCI image-spec (manifest.md, image-index.md), Docker's image manifest v2 schema 2, and the OCI
artifact manifest of image-spec 1.1-rc. An unknown media type is no error: such a manifest may hold anything, and
whoever decides about deletion must treat it so (`Kind.UNKNOWN`).
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from dregutil.errors import ManifestError, UsageError
from dregutil.reference import Digest

__all__ = [
    "ACCEPT",
    "MAX_MANIFEST_BYTES",
    "Descriptor",
    "Kind",
    "Manifest",
    "holds_image_config",
    "is_foreign",
    "kind_of_media_type",
    "parse_manifest",
    "sizes_below",
]

MAX_MANIFEST_BYTES = 4 * 1024 * 1024

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_ARTIFACT = "application/vnd.oci.artifact.manifest.v1+json"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_SCHEMA1 = "application/vnd.docker.distribution.manifest.v1+json"
DOCKER_SCHEMA1_SIGNED = "application/vnd.docker.distribution.manifest.v1+prettyjws"

_IMAGE_CONFIGS = frozenset(
    ("application/vnd.oci.image.config.v1+json", "application/vnd.docker.container.image.v1+json")
)
_FOREIGN = ("application/vnd.docker.image.rootfs.foreign.", "application/vnd.oci.image.layer.nondistributable.")

ACCEPT = ", ".join(
    (
        OCI_INDEX,
        OCI_MANIFEST,
        DOCKER_LIST,
        DOCKER_MANIFEST,
        DOCKER_SCHEMA1_SIGNED,
        DOCKER_SCHEMA1,
        OCI_ARTIFACT,
    )
)
"""Sent with every manifest GET and HEAD, always whole: with less, servers answer with another manifest."""


class Kind(enum.Enum):
    """What a manifest is, as far as reachability is concerned."""

    IMAGE = "image"
    INDEX = "index"
    SCHEMA1 = "schema 1 image"
    UNKNOWN = "unknown"


_KINDS = {
    OCI_INDEX: Kind.INDEX,
    DOCKER_LIST: Kind.INDEX,
    OCI_MANIFEST: Kind.IMAGE,
    DOCKER_MANIFEST: Kind.IMAGE,
    OCI_ARTIFACT: Kind.IMAGE,
    DOCKER_SCHEMA1: Kind.SCHEMA1,
    DOCKER_SCHEMA1_SIGNED: Kind.SCHEMA1,
}


_BLOB_TYPES = (
    "application/vnd.oci.image.layer.",
    "application/vnd.docker.image.rootfs.",
    "application/vnd.buildkit.cacheconfig.",
)


def bare_media_type(content_type: str) -> str:
    """A Content-Type without its parameters, in lower case."""
    return content_type.partition(";")[0].strip().lower()


def kind_of_media_type(media_type: str) -> Kind:
    """What a media type alone says."""
    return _KINDS.get(media_type, Kind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A reference to content, as the OCI image-spec's descriptor.md has it. `size` is in bytes."""

    digest: Digest
    media_type: str = ""
    size: int = 0
    platform: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()

    @property
    def is_attestation(self) -> bool:
        """BuildKit's attestations are children of the index, and no platform of it."""
        return self.annotations.get("vnd.docker.reference.type") == "attestation-manifest"

    @property
    def may_be_index(self) -> bool:
        """Whether there may be children below it, as far as its media type says."""
        return kind_of_media_type(self.media_type) in (Kind.INDEX, Kind.UNKNOWN)


def holds_image_config(blob: Descriptor) -> bool:
    """Whether a blob is an image's config, which tells its date and labels (a chart's or a signature's does not)."""
    return blob.media_type in _IMAGE_CONFIGS


def is_foreign(blob: Descriptor) -> bool:
    """Whether a layer is kept elsewhere, at its own URLs, and as a rule not in the registry (Windows' base layers)."""
    return bool(blob.urls) or blob.media_type.startswith(_FOREIGN)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest as it was read: `raw` is what its digest names; all else is read out of it."""

    digest: Digest
    media_type: str
    raw: bytes
    kind: Kind
    children: tuple[Descriptor, ...] = ()
    config: Descriptor | None = None
    layers: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config, if any, and the layers."""
        return (self.config, *self.layers) if self.config is not None else self.layers

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(child.platform for child in self.children if child.platform and not child.is_attestation)


def sizes_below(top: Manifest, manifests: Mapping[Digest, Manifest]) -> Mapping[Digest, int]:
    """Bytes of all that `top` reaches, as far as `manifests` has it, each digest once; without what the registry does
    not keep itself."""
    sizes: dict[Digest, int] = {}
    waiting = [top]
    while waiting:
        manifest = waiting.pop()
        sizes[manifest.digest] = len(manifest.raw)
        sizes.update((blob.digest, blob.size) for blob in manifest.blobs if not is_foreign(blob))
        children = dict.fromkeys(child.digest for child in manifest.children)
        waiting += [manifests[child] for child in children if child in manifests and child not in sizes]
    return sizes


class _Platform(msgspec.Struct):
    os: str = ""
    architecture: str = ""
    variant: str = ""

    def text(self) -> str:
        if not self.os and not self.architecture:
            return ""
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)


class _Descriptor(msgspec.Struct, rename="camel"):
    digest: str
    media_type: str = ""
    size: int = 0
    platform: _Platform | None = None
    annotations: dict[str, str] | None = None
    urls: list[str] | None = None


class _FsLayer(msgspec.Struct):
    blobSum: str  # noqa: N815 - the schema's own name


class _Manifest(msgspec.Struct, rename="camel"):
    media_type: str = ""
    schema_version: int = 0
    artifact_type: str | None = None
    manifests: list[_Descriptor] | None = None
    config: _Descriptor | None = None
    layers: list[_Descriptor] | None = None
    blobs: list[_Descriptor] | None = None
    fs_layers: list[_FsLayer] | None = None
    subject: _Descriptor | None = None
    annotations: dict[str, str] | None = None


_decoder = msgspec.json.Decoder(_Manifest)


def parse_manifest(raw: bytes, media_type: str, digest: Digest) -> Manifest:
    """Read a manifest. `media_type` is the Content-Type that the registry sent; the body's own is second to it.

    `digest` names `raw`: the caller has checked that. Whatever has `manifests` is walked as an index, whatever its
    media type. Raises ManifestError where a known media type holds something else.
    """
    media_type = bare_media_type(media_type)
    kind = kind_of_media_type(media_type)
    try:
        body = _decoder.decode(raw)
        if kind is Kind.UNKNOWN and kind_of_media_type(body.media_type) is not Kind.UNKNOWN:
            media_type, kind = body.media_type, kind_of_media_type(body.media_type)
        entries = [_descriptor(child) for child in body.manifests or ()]
        layers = body.layers or body.blobs or []
        return Manifest(
            digest=digest,
            media_type=media_type,
            raw=raw,
            kind=_kind_of_shape(kind, body),
            children=tuple(entry for entry in entries if not _is_blob(entry)),
            config=None if body.config is None else _descriptor(body.config),
            layers=(
                tuple(_descriptor(layer) for layer in layers)
                or tuple(entry for entry in entries if _is_blob(entry))
                or tuple(Descriptor(Digest.parse(layer.blobSum)) for layer in body.fs_layers or ())
            ),
            subject=None if body.subject is None else _descriptor(body.subject),
            artifact_type=body.artifact_type or "",
            annotations=body.annotations or {},
        )
    except (msgspec.MsgspecError, UsageError, RecursionError, UnicodeDecodeError) as error:
        if kind is Kind.UNKNOWN:
            return Manifest(digest, media_type, raw, Kind.UNKNOWN)
        raise ManifestError(f"the manifest {digest.short} cannot be read: {error}") from error


def _is_blob(entry: Descriptor) -> bool:
    """Whether an index's entry is no manifest: BuildKit's cache lists its layers and their config there."""
    return entry.media_type.startswith(_BLOB_TYPES)


def _kind_of_shape(kind: Kind, body: _Manifest) -> Kind:
    """A manifest that is both or neither of image and index is treated as unknown: it may hold anything."""
    if kind is Kind.INDEX:
        return kind if not (body.layers or body.config) else Kind.UNKNOWN
    if kind is Kind.IMAGE:
        return kind if body.manifests is None else Kind.UNKNOWN
    return kind


def _descriptor(found: _Descriptor) -> Descriptor:
    return Descriptor(
        digest=Digest.parse(found.digest),
        media_type=bare_media_type(found.media_type),
        size=max(found.size, 0),
        platform="" if found.platform is None else found.platform.text(),
        annotations=found.annotations or {},
        urls=tuple(found.urls or ()),
    )

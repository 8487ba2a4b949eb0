"""Manifests and indexes: the raw bytes, and the parsed view of them.

The structure follows the OCI image-spec (manifest.md, image-index.md), Docker's image manifest v2 schema 2, and the OCI
artifact manifest of image-spec 1.1-rc. An unknown media type is not an error: such a manifest can contain anything, and
code that decides about deletion must treat it that way (`Kind.UNKNOWN`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from dregutil.errors import ManifestError, UsageError
from dregutil.oci.go_json import Struct, other_readings
from dregutil.oci.names import Digest

__all__ = [
    "ACCEPT",
    "MAX_MANIFEST_BYTES",
    "Descriptor",
    "Kind",
    "Manifest",
    "as_go_reads",
    "contradicts_nothing",
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
"""Sent with every GET and HEAD of a manifest, always complete: with less, servers may return another manifest."""


class Kind(enum.Enum):
    """The kind of a manifest, as it matters for reachability."""

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


_IMAGE_LAYERS = ("application/vnd.oci.image.layer.", "application/vnd.docker.image.rootfs.")
_COMMON = {
    name: name
    for name in (
        *_KINDS,
        *_IMAGE_CONFIGS,
        "application/vnd.oci.image.layer.v1.tar+gzip",
        "application/vnd.docker.image.rootfs.diff.tar.gzip",
    )
}
_NO_ANNOTATIONS: Mapping[str, str] = {}
_BLOB_TYPES = (*_IMAGE_LAYERS, "application/vnd.buildkit.cacheconfig.")


def bare_media_type(content_type: str) -> str:
    """A Content-Type without its parameters, in lower case. Those that most manifests have are one object each."""
    if content_type in _COMMON:
        return _COMMON[content_type]
    return content_type.partition(";")[0].strip().lower()


def kind_of_media_type(media_type: str) -> Kind:
    """The kind that a media type alone indicates."""
    return _KINDS.get(media_type, Kind.UNKNOWN)


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A descriptor (OCI image-spec, descriptor.md). `size` is in bytes. `os_version`: its platform's (Windows)."""

    digest: Digest
    media_type: str = ""
    size: int = 0
    platform: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)
    urls: tuple[str, ...] = ()
    os_version: str = ""

    @property
    def is_attestation(self) -> bool:
        """Whether it is an attestation of BuildKit: a child of the index, but not one of its platforms."""
        return self.annotations.get("vnd.docker.reference.type") == "attestation-manifest"

    @property
    def may_be_index(self) -> bool:
        """Whether it may have children, judging by its media type."""
        return kind_of_media_type(self.media_type) in (Kind.INDEX, Kind.UNKNOWN)


def holds_image_config(blob: Descriptor) -> bool:
    """Whether a blob is an image's config, with a date and labels (that of a chart or a signature has none)."""
    return blob.media_type in _IMAGE_CONFIGS


def is_foreign(blob: Descriptor) -> bool:
    """Whether a layer is stored at other URLs, and usually not in the registry (base layers of Windows)."""
    return bool(blob.urls) or blob.media_type.startswith(_FOREIGN)


@dataclass(frozen=True, slots=True)
class Manifest:
    """A manifest: `raw` is the bytes with this digest, everything else is parsed from them.

    `media_type` is that of the body if it is a known one, otherwise that of the response; `labelled` is the response's
    if the body contradicts it. `is_ambiguous`: programs read the body differently (see `go_json`); the manifest then
    has everything that any of them finds.
    """

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
    labelled: str = ""
    is_ambiguous: bool = False

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config, if any, and the layers."""
        return (self.config, *self.layers) if self.config is not None else self.layers

    @property
    def is_runnable(self) -> bool:
        """Whether it may be an image that can run: not if its config or all its layers have another type (an SBOM)."""
        if self.kind is not Kind.IMAGE:
            return True
        if self.artifact_type or (self.config is not None and not holds_image_config(self.config)):
            return False
        return not self.layers or any(layer.media_type.startswith(_IMAGE_LAYERS) for layer in self.layers)

    @property
    def platforms(self) -> tuple[str, ...]:
        return tuple(child.platform for child in self.children if child.platform and not child.is_attestation)


def sizes_below(top: Manifest, manifests: Mapping[Digest, Manifest]) -> Mapping[Digest, int]:
    """The size in bytes of everything below `top` that is in `manifests`, by digest; without foreign layers."""
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
    os_version: Any = msgspec.field(default="", name="os.version")  # of any type: it decides nothing

    def text(self) -> str:
        if (self.os, self.architecture) in (
            ("", ""),
            ("unknown", "unknown"),
        ):  # the second: BuildKit's, for no platform
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

_PLATFORM = Struct(dict.fromkeys(("os", "architecture", "variant")))
_DESCRIPTOR = Struct(
    {**dict.fromkeys(("digest", "mediaType", "size", "annotations", "urls")), "platform": _PLATFORM},
)
_STRUCT = Struct(
    {
        **dict.fromkeys(("mediaType", "schemaVersion", "artifactType", "annotations")),
        **dict.fromkeys(("manifests", "config", "layers", "blobs", "subject"), _DESCRIPTOR),
        "fsLayers": Struct({"blobSum": None}),
    }
)
_SAYS_NOTHING = frozenset(("", "text/plain", "application/json", "application/octet-stream"))
"""Content-Types that servers send for types they do not know: they contradict nothing."""


def parse_manifest(raw: bytes, media_type: str, digest: Digest) -> Manifest:
    """Parse a manifest. `media_type` is the Content-Type of the response; the body's own takes precedence.

    The caller has checked that `raw` has this `digest`. A body with `manifests` is read as an index, whatever its media
    type. Raises ManifestError if a body with a known media type cannot be parsed.
    """
    sent = bare_media_type(media_type)
    try:
        bodies = _bodies(raw)
        own = bare_media_type(next((body.media_type for body in bodies if body.media_type), ""))
        media_type = own if kind_of_media_type(own) is not Kind.UNKNOWN else sent
        found = _united(bodies, raw, media_type, digest)
    except (msgspec.MsgspecError, UsageError, RecursionError, ValueError) as error:
        if kind_of_media_type(sent) is Kind.UNKNOWN:
            return Manifest(digest, sent, raw, Kind.UNKNOWN)
        raise ManifestError(f"the manifest {digest.short} cannot be read: {error}") from error
    return replace(found, labelled=sent) if own and own != sent and not contradicts_nothing(sent) else found


def as_go_reads(manifest: Manifest) -> Manifest:
    """The manifest as programs written in Go read it, such as a registry's garbage collector. Unchanged if it makes no
    sense to them."""
    if not manifest.is_ambiguous:
        return manifest
    with suppress(msgspec.MsgspecError, UsageError, RecursionError, ValueError):
        for body in other_readings(manifest.raw, _STRUCT)[:1]:
            return _manifest(msgspec.convert(body, _Manifest), manifest.raw, manifest.media_type, manifest.digest)
    return manifest


def contradicts_nothing(media_type: str) -> bool:
    """Whether a Content-Type is so generic that any media type of the body agrees with it."""
    return media_type in _SAYS_NOTHING


def _manifest(body: _Manifest, raw: bytes, media_type: str, digest: Digest) -> Manifest:
    entries = [_descriptor(child) for child in body.manifests or ()]
    layers = body.layers or body.blobs or []
    return Manifest(
        digest=digest,
        media_type=media_type,
        raw=raw,
        kind=_kind_of_shape(kind_of_media_type(media_type), body),
        children=tuple(entry for entry in entries if not _is_blob(entry)),
        config=None if body.config is None else _descriptor(body.config),
        layers=(
            tuple(_descriptor(layer) for layer in layers)
            or tuple(entry for entry in entries if _is_blob(entry))
            or tuple(Descriptor(Digest.parse(layer.blobSum)) for layer in body.fs_layers or ())
        ),
        subject=None if body.subject is None else _descriptor(body.subject),
        artifact_type=body.artifact_type or "",
        annotations=body.annotations or _NO_ANNOTATIONS,
    )


def _bodies(raw: bytes) -> list[_Manifest]:
    """The body of a manifest as exact decoders read it, then the other ways to read it. Raises the error of the exact
    decoder if there is no way."""
    found: list[_Manifest] = []
    failed: Exception | None = None
    try:
        found.append(_decoder.decode(raw))
    except msgspec.ValidationError as error:  # it is JSON; other decoders may accept it
        failed = error
    for other in other_readings(raw, _STRUCT):
        with suppress(msgspec.MsgspecError):
            found.append(msgspec.convert(other, _Manifest))
    if failed is not None:
        if not found:
            raise failed
        found.append(found[0])  # still ambiguous: only some decoders can read it
    return found


def _united(bodies: Sequence[_Manifest], raw: bytes, media_type: str, digest: Digest) -> Manifest:
    """Everything that the readings find, as one manifest. Raises UsageError if none of them is valid."""
    readings: list[Manifest] = []
    failed: UsageError | None = None
    for body in bodies:
        try:
            readings.append(_manifest(body, raw, media_type, digest))
        except UsageError as error:
            failed = error
    if failed is not None and not readings:
        raise failed
    first = readings[0]
    if len(bodies) == 1:
        return first
    config = next((found.config for found in readings if found.config is not None), None)
    blobs = _once(blob for found in readings for blob in found.blobs)
    return replace(
        first,
        kind=first.kind if all(found.kind is first.kind for found in readings) else Kind.UNKNOWN,
        children=_once(child for found in readings for child in found.children),
        config=config,
        layers=tuple(blob for blob in blobs if config is None or blob.digest != config.digest),
        subject=next((found.subject for found in readings if found.subject is not None), None),
        is_ambiguous=True,
    )


def _once(descriptors: Iterable[Descriptor]) -> tuple[Descriptor, ...]:
    found: dict[Digest, Descriptor] = {}
    for descriptor in descriptors:
        found.setdefault(descriptor.digest, descriptor)
    return tuple(found.values())


def _is_blob(entry: Descriptor) -> bool:
    """Whether an index's entry is a blob: BuildKit's cache lists its layers and their config in an index."""
    return entry.media_type.startswith(_BLOB_TYPES)


def _kind_of_shape(kind: Kind, body: _Manifest) -> Kind:
    """A manifest that is both an image and an index, or neither, is unknown: it can contain anything."""
    if kind is Kind.INDEX:
        return kind if not (body.layers or body.config) else Kind.UNKNOWN
    if kind in (Kind.IMAGE, Kind.SCHEMA1):
        return kind if body.manifests is None else Kind.UNKNOWN
    return kind


def _os_version(platform: _Platform | None) -> str:
    return platform.os_version if platform is not None and isinstance(platform.os_version, str) else ""


def _descriptor(found: _Descriptor) -> Descriptor:
    return Descriptor(
        digest=Digest.parse(found.digest),
        media_type=bare_media_type(found.media_type),
        size=max(found.size, 0),
        platform="" if found.platform is None else found.platform.text(),
        annotations=found.annotations or _NO_ANNOTATIONS,
        urls=tuple(found.urls or ()),
        os_version=_os_version(found.platform),
    )

"""OCI's image format: layers, configurations, manifests, indexes and layouts, with the same bytes each time."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from image.rootfs import HOME, STATE, USER
from image.tree import Tree

__all__ = ["INDEX", "LAYER", "MANIFEST", "Blob", "Layer", "Layout", "image", "index", "layer", "referrer", "when"]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
_EMPTY = "application/vnd.oci.empty.v1+json"
_ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin",
    "HOME": f"/{HOME}",
    "DREGUTIL_STATE_DIR": f"/{STATE}",
    "XDG_CONFIG_HOME": "/etc",  # so that /etc/dregutil/config.toml is read
    "PYTHONSAFEPATH": "1",  # nobody who can write to the volume of the state puts a module in the way
    "PYTHONNOUSERSITE": "1",
    "LANG": "C.UTF-8",
    "SSL_CERT_FILE": "/etc/ssl/certs/ca-certificates.crt",
}


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with a media type. `annotations`, `platform` and `artifact_type` become part of its descriptor."""

    media_type: str
    raw: bytes = field(repr=False)
    annotations: Mapping[str, str] = field(default_factory=dict)
    platform: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""

    @property
    def digest(self) -> str:
        """As in `sha256:…`."""
        return f"sha256:{hashlib.sha256(self.raw).hexdigest()}"

    def descriptor(self) -> dict[str, Any]:
        """OCI's descriptor of it."""
        found: dict[str, Any] = {"mediaType": self.media_type, "digest": self.digest, "size": len(self.raw)}
        optional = {"artifactType": self.artifact_type, "annotations": self.annotations, "platform": self.platform}
        return {**found, **{name: value for name, value in optional.items() if value}}


@dataclass(frozen=True, slots=True)
class Layer:
    """A compressed layer. `diff_id` is the digest of the uncompressed tar file; `made_by` says what is in it."""

    blob: Blob
    diff_id: str
    made_by: str


def when(epoch: int) -> str:
    """Seconds since 1970 as OCI and CycloneDX write a time."""
    return datetime.fromtimestamp(epoch, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def layer(tree: Tree, epoch: int, made_by: str) -> Layer:
    """A layer of these files, all with the same time."""
    raw = tree.tar(epoch)
    packed = gzip.compress(raw, compresslevel=6, mtime=0)
    return Layer(Blob(LAYER, packed), f"sha256:{hashlib.sha256(raw).hexdigest()}", made_by)


def image(architecture: str, layers: Sequence[Layer], epoch: int, labels: Mapping[str, str]) -> tuple[Blob, list[Blob]]:
    """The manifest of an image for an architecture, and the blobs that it needs."""
    configuration = {
        "created": when(epoch),
        "architecture": architecture,
        **({"variant": "v8"} if architecture == "arm64" else {}),
        "os": "linux",
        "config": {
            "User": f"{USER}:{USER}",
            "Env": [f"{name}={value}" for name, value in _ENVIRONMENT.items()],
            "Entrypoint": ["/usr/bin/dregutil"],
            "Cmd": ["help"],
            "WorkingDir": f"/{HOME}",
            "Labels": dict(labels),
        },
        "rootfs": {"type": "layers", "diff_ids": [one.diff_id for one in layers]},
        "history": [{"created": when(epoch), "created_by": one.made_by} for one in layers],
    }
    config = Blob(_CONFIG, _json(configuration))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config.descriptor(),
        "layers": [one.blob.descriptor() for one in layers],
        "annotations": dict(labels),
    }
    platform = {"architecture": architecture, "os": "linux", **({"variant": "v8"} if architecture == "arm64" else {})}
    return Blob(MANIFEST, _json(manifest), platform=platform), [config, *(one.blob for one in layers)]


def index(manifests: Sequence[Blob], annotations: Mapping[str, str]) -> Blob:
    """An index of images for several architectures."""
    listed = [one.descriptor() for one in manifests]
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": listed, "annotations": dict(annotations)}
    return Blob(INDEX, _json(body))


def referrer(subject: Blob, content: Blob, epoch: int, annotations: Mapping[str, str]) -> tuple[Blob, list[Blob]]:
    """A manifest that attaches `content` to `subject`, and the blobs that it needs. Its type is that of the content."""
    described = {name: value for name, value in subject.descriptor().items() if name in ("mediaType", "digest", "size")}
    empty = Blob(_EMPTY, b"{}")
    noted = {"org.opencontainers.image.created": when(epoch), **annotations}
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": content.media_type,
        "config": {**empty.descriptor(), "data": "e30="},
        "layers": [content.descriptor()],
        "subject": described,
        "annotations": noted,
    }
    return Blob(MANIFEST, _json(body), annotations=noted, artifact_type=content.media_type), [empty, content]


@dataclass(frozen=True)
class Layout:
    """What an OCI layout holds: the index that has the tag, the images, what refers to them, and all other blobs.

    `referrers` are with their subjects.
    """

    tag: str
    index: Blob
    images: Mapping[str, Blob]
    referrers: Sequence[tuple[Blob, Blob]]
    blobs: Sequence[Blob]

    def files(self) -> dict[str, bytes]:
        """The files of the layout, by their paths."""
        named = {**self.index.descriptor(), "annotations": {"org.opencontainers.image.ref.name": self.tag}}
        listed = [named, *(manifest.descriptor() for manifest, _ in self.referrers)]
        found = {
            "oci-layout": _json({"imageLayoutVersion": "1.0.0"}),
            "index.json": _json({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed}),
        }
        for blob in (self.index, *self.images.values(), *(one for one, _ in self.referrers), *self.blobs):
            found[f"blobs/{blob.digest.replace(':', '/')}"] = blob.raw
        return dict(sorted(found.items()))

    def write(self, folder: Path) -> None:
        """Write the layout as a folder, which may be there from an earlier build."""
        files = self.files()
        for path, raw in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(raw)
        for stale in (folder / "blobs" / "sha256").iterdir():
            if f"blobs/sha256/{stale.name}" not in files:
                stale.unlink()

    def archive(self, epoch: int) -> bytes:
        """The layout as one tar file (skopeo's `oci-archive:`)."""
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as archive:
            for path, raw in self.files().items():
                one = tarfile.TarInfo(path)
                one.size, one.mtime, one.mode = len(raw), epoch, 0o644
                archive.addfile(one, io.BytesIO(raw))
        return buffer.getvalue()


def _json(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

"""Attestations: statements about images that BuildKit keeps as children of the index (docs.docker.com, "Attestation
storage"). Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dregutil.errors import UsageError
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest

__all__ = ["Attestation", "Statement", "attestations_of"]

_PREDICATE_TYPE = "in-toto.io/predicate-type"
_SUBJECT = "vnd.docker.reference.digest"
_NAMES = (
    ("https://slsa.dev/provenance", "provenance"),
    ("https://spdx.dev/", "SBOM"),
    ("https://cyclonedx.org/", "SBOM"),
)


@dataclass(frozen=True, slots=True)
class Statement:
    """One statement of an attestation, a layer of it. `predicate_type` is in-toto's, empty if the layer has none."""

    digest: Digest
    predicate_type: str
    size: int

    @property
    def name(self) -> str:
        """ "provenance" or "SBOM"; for other predicates their type."""
        known = (name for start, name in _NAMES if self.predicate_type.startswith(start))
        return next(known, self.predicate_type)


@dataclass(frozen=True, slots=True)
class Attestation:
    """A child of an index that states something about another child. `subject` is that child, None if the index names
    none; `platform` is the subject's, empty if the index has no such child. `size` is in bytes, its statements
    included."""

    digest: Digest
    subject: Digest | None
    platform: str
    size: int
    statements: tuple[Statement, ...] = ()


def attestations_of(index: Manifest, manifests: Mapping[Digest, Manifest]) -> tuple[Attestation, ...]:
    """The attestations among the children of an index. `manifests` has those that were read; the statements of another
    one are not known."""
    platforms = {child.digest: child.platform for child in index.children if not child.is_attestation}
    found = []
    for child in index.children:
        if child.is_attestation:
            subject = _digest(child.annotations.get(_SUBJECT, ""))
            manifest = manifests.get(child.digest)
            blobs = {} if manifest is None else {blob.digest: blob.size for blob in manifest.blobs}
            statements = () if manifest is None else _statements(manifest)
            platform = "" if subject is None else platforms.get(subject, "")
            size = child.size if manifest is None else len(manifest.raw) + sum(blobs.values())
            found.append(Attestation(child.digest, subject, platform, size, statements))
    return tuple(found)


def _statements(manifest: Manifest) -> tuple[Statement, ...]:
    return tuple(
        Statement(layer.digest, layer.annotations.get(_PREDICATE_TYPE, ""), layer.size) for layer in manifest.layers
    )


def _digest(text: str) -> Digest | None:
    try:
        return Digest.parse(text)
    except UsageError:
        return None

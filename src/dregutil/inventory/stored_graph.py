"""A repository in a registry's storage → its graph, as the API would show it. Pure.

Whatever is decided on it comes out as it would on a live registry.
"""

from __future__ import annotations

from collections.abc import Iterator

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Descriptor, Manifest
from dregutil.oci.names import Digest
from dregutil.oci.placeholder import CONFIG_TYPE
from dregutil.storage.stored import StoredManifest, StoredRegistry, StoredRepository

__all__ = ["missing_blobs", "stored_graph"]

_LAYER = "application/vnd.oci.image.layer.v1.tar"


def stored_graph(stored: StoredRegistry, held: StoredRepository) -> RepositoryGraph:
    """The graph of a repository. Its manifests have what decides about others, and not their bytes."""
    there = [stored.manifests[digest] for digest in held.revisions if digest in stored.manifests]
    manifests = {manifest.digest: _manifest(manifest) for manifest in there}
    listed = {child.digest for manifest in manifests.values() for child in manifest.children}
    named = {manifest.subject.digest for manifest in manifests.values() if manifest.subject is not None}
    return RepositoryGraph(
        held.repository,
        {tag: digest for tag, digest in held.tags.items() if digest in manifests},
        manifests,
        absent=frozenset((listed | named) - manifests.keys()),
        missing_blobs=frozenset(blob for manifest in there for blob in missing_blobs(stored, held, manifest)),
    )


def missing_blobs(stored: StoredRegistry, held: StoredRepository, manifest: StoredManifest) -> Iterator[Digest]:
    """The blobs of a manifest that cannot be pulled through its repository: not there, or not linked.

    Nothing is missing that could not be read, or that may be kept elsewhere.
    """
    if not stored.is_listed:
        return
    for blob in manifest.blobs:
        is_there = blob in stored.blobs and blob in held.layers
        if not is_there and blob not in manifest.elsewhere and blob not in stored.unread:
            yield blob


def _manifest(found: StoredManifest) -> Manifest:
    blobs = found.blobs
    config = Descriptor(blobs[0], CONFIG_TYPE) if found.is_placeholder else None
    layers = blobs[1:] if found.is_placeholder else blobs
    return Manifest(
        found.digest,
        found.media_type,
        b"",
        found.kind,
        tuple(map(Descriptor, found.children)),
        config,
        tuple(Descriptor(layer, _LAYER) for layer in layers),
        None if found.subject is None else Descriptor(found.subject),
        artifact_type="" if found.is_runnable else "of another kind",
        is_ambiguous=found.is_ambiguous,
    )

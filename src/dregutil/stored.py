"""What a registry's own storage holds, as a value: repositories with their links, blobs with their sizes. Pure.

A frozen view, however it was read: from a folder or from an object store (`storage`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.manifest import Kind, Manifest
from dregutil.reference import Digest, Repository, Tag

__all__ = ["Oddity", "StoredManifest", "StoredRegistry", "StoredRepository", "Upload", "references"]


def references(manifest: Manifest) -> tuple[Digest, ...]:
    """What a collector marks with a manifest, each once: an index's children, an image's config and layers. Never a
    subject."""
    found = manifest.children if manifest.kind is Kind.INDEX else manifest.blobs
    return tuple(dict.fromkeys(descriptor.digest for descriptor in found))


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What of a manifest decides about others; its bytes and its size are the blob's. `references` as the function;
    `elsewhere` are those of them that may be fetched from another place, and need not be here. `is_placeholder`: a run
    of ours left it."""

    digest: Digest
    kind: Kind
    media_type: str
    references: tuple[Digest, ...] = ()
    subject: Digest | None = None
    elsewhere: frozenset[Digest] = frozenset()
    is_placeholder: bool = False

    @property
    def children(self) -> tuple[Digest, ...]:
        return self.references if self.kind is Kind.INDEX else ()


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that was begun and not ended. `started` is in UTC, None where nobody can tell; `size` is in bytes."""

    identifier: str
    started: datetime | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class StoredRepository:
    """One repository's links.

    `revisions`: its manifests, tagged or not. `tags`: what each tag stands for now. `layers`: the blobs that may be
    pulled through it. `has_layers`, `has_manifests`, `has_tags`: whether these folders are there at all, which decides
    what a collector does.
    """

    repository: Repository
    revisions: frozenset[Digest] = frozenset()
    tags: Mapping[Tag, Digest] = field(default_factory=dict)
    layers: frozenset[Digest] = frozenset()
    uploads: tuple[Upload, ...] = ()
    has_layers: bool = True
    has_manifests: bool = True
    has_tags: bool = True


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something in the storage that is not as a registry leaves it, and was skipped: where, relative to the storage,
    and why. `hides`: what stands there might refer to something, and nobody knows to what."""

    place: str
    why: str
    hides: bool = True


@dataclass(frozen=True, slots=True)
class StoredRegistry:
    """A whole storage. `place` is how the user named it.

    `blobs`: size in bytes of each one's data. `manifests`: those that a repository has, and whose data is what the
    digest says. `keeps_empty_folders`: as a file system does; an object store has a folder only while something is
    in it.
    """

    place: str
    repositories: Mapping[Repository, StoredRepository] = field(default_factory=dict)
    blobs: Mapping[Digest, int] = field(default_factory=dict)
    manifests: Mapping[Digest, StoredManifest] = field(default_factory=dict)
    oddities: tuple[Oddity, ...] = ()
    keeps_empty_folders: bool = True

    @property
    def hidden(self) -> tuple[Oddity, ...]:
        """The oddities for which nothing is known to be free."""
        return tuple(oddity for oddity in self.oddities if oddity.hides)

    def size_of(self, digests: Iterable[Digest]) -> int:
        """Bytes of those of `digests`, each of which stands there once, whose data is there."""
        return sum(self.blobs.get(digest, 0) for digest in digests)

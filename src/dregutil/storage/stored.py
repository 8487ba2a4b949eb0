"""What a registry's own storage holds, as a value: repositories with their links, blobs with their sizes. Pure.

It is the same value whether it was read from a folder or from an object store.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from dregutil.oci.manifest import Kind, Manifest, as_go_reads
from dregutil.oci.names import Digest, Repository, Tag

__all__ = ["Oddity", "Stops", "StoredManifest", "StoredRegistry", "StoredRepository", "Upload", "references"]


def references(manifest: Manifest) -> tuple[Digest, ...]:
    """What a collector marks with a manifest, each once: every entry of an index, be it a manifest or a blob (as in
    BuildKit's caches), the config and the layers of an image. Never a subject."""
    found = as_go_reads(manifest)
    return tuple(dict.fromkeys([descriptor.digest for descriptor in (*found.children, *found.blobs)]))


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """What of a manifest decides about others; its bytes and its size are the blob's.

    `references`: what a collector marks with it (see the function). `elsewhere`: those of them that may be fetched from
    another place, and need not be here. `index_blobs`: the entries of an index that are not manifests. `others_find`:
    what programs find in its JSON that a collector does not, so it is held, and not marked. `is_placeholder`: an
    interrupted run left it. `is_runnable` and `is_ambiguous` are the manifest's.
    """

    digest: Digest
    kind: Kind
    media_type: str
    references: tuple[Digest, ...] = ()
    subject: Digest | None = None
    elsewhere: frozenset[Digest] = frozenset()
    is_placeholder: bool = False
    index_blobs: frozenset[Digest] = frozenset()
    others_find: tuple[Digest, ...] = ()
    is_runnable: bool = True
    is_ambiguous: bool = False

    @property
    def children(self) -> tuple[Digest, ...]:
        """The manifests in an index."""
        if self.kind is not Kind.INDEX:
            return ()
        return tuple(digest for digest in (*self.references, *self.others_find) if digest not in self.index_blobs)

    @property
    def blobs(self) -> tuple[Digest, ...]:
        """The config and the layers, and the entries of an index that are not manifests."""
        children = set(self.children)
        return tuple(digest for digest in (*self.references, *self.others_find) if digest not in children)


@dataclass(frozen=True, slots=True)
class Upload:
    """An upload that began and did not end. `started` is in UTC, None if not known; `size` is in bytes."""

    identifier: str
    started: datetime | None = None
    size: int = 0


@dataclass(frozen=True, slots=True)
class StoredRepository:
    """The links of one repository.

    `revisions`: its manifests, tagged or not. `tags`: the digest that each tag names. `layers`: the blobs that can be
    pulled through it. `has_layers`, `has_manifests`, `has_tags`: whether these folders exist, which decides what a
    collector does. `unread`: manifests that it may have: their links could not be read.
    """

    repository: Repository
    revisions: frozenset[Digest] = frozenset()
    tags: Mapping[Tag, Digest] = field(default_factory=dict)
    layers: frozenset[Digest] = frozenset()
    uploads: tuple[Upload, ...] = ()
    has_layers: bool = True
    has_manifests: bool = True
    has_tags: bool = True
    unread: frozenset[Digest] = frozenset()


class Stops(enum.Enum):
    """Which collectors stop with an error at something, before they free anything."""

    NONE = "none"
    UNTAGGED = "with -m"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class Oddity:
    """Something in the storage that no registry writes so, or that could not be read. It was skipped.

    `place` is relative to the storage. `hides`: it may refer to something, and it is not known to what. `unread`: it
    could not be read, so it may well be intact. `stops`: the collectors of 2.8 that stop with an error at it.
    """

    place: str
    why: str
    hides: bool = True
    unread: bool = False
    stops: Stops = Stops.NONE


@dataclass(frozen=True, slots=True)
class StoredRegistry:
    """A whole storage. `place` is the name that the user gave.

    `blobs`: the size of each blob's data, in bytes. `manifests`: those that a repository has, and whose data matches
    the digest. `keeps_empty_folders`: true of a file system; an object store has a folder only while something is in
    it. `unread`: blobs whose data could not be read, so it may be there. `is_listed`: every folder could be listed, so
    what is not in here does not exist.
    """

    place: str
    repositories: Mapping[Repository, StoredRepository] = field(default_factory=dict)
    blobs: Mapping[Digest, int] = field(default_factory=dict)
    manifests: Mapping[Digest, StoredManifest] = field(default_factory=dict)
    oddities: tuple[Oddity, ...] = ()
    keeps_empty_folders: bool = True
    unread: frozenset[Digest] = frozenset()
    is_listed: bool = True

    @property
    def is_partial(self) -> bool:
        """Whether something could not be read, so that no total is right."""
        return any(oddity.unread for oddity in self.oddities)

    @property
    def hidden(self) -> tuple[Oddity, ...]:
        """The oddities that may hold something, so that nothing is certain to be free."""
        return tuple(oddity for oddity in self.oddities if oddity.hides)

    def size_of(self, digests: Iterable[Digest]) -> int:
        """The total size in bytes of `digests` without duplicates, as far as their data is there."""
        return sum(self.blobs.get(digest, 0) for digest in digests)

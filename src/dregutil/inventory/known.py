"""What is known about a registry before it is read: earlier tags, and indexes that no tag names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.untagged import UntaggedManifests, untagged_indexes
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.stored import StoredRegistry

__all__ = ["Known"]


@dataclass(frozen=True)
class Known:
    """`tags`: those that were read before; a list that lacks one of them is doubted. `indexes`: those that earlier runs
    saw; no tag may name them any more, and they need their children. `seen`: every manifest that was ever read."""

    tags: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    indexes: Mapping[Repository, frozenset[Digest]] = field(default_factory=dict)
    seen: KnownManifests = field(default_factory=KnownManifests)

    def with_indexes(self, more: Mapping[Repository, frozenset[Digest]]) -> Known:
        """This, with more indexes that no tag names."""
        indexes = dict(self.indexes)
        for name, found in more.items():
            if found:
                indexes[name] = indexes.get(name, frozenset()) | found
        return replace(self, indexes=indexes)

    def with_indexes_of(self, stored: StoredRegistry) -> Known:
        """This, with the indexes without a tag in a registry's storage: the API does not show them."""
        return self.with_indexes({name: untagged_indexes(stored, held) for name, held in stored.repositories.items()})

    def with_untagged(self, untagged: UntaggedManifests) -> Known:
        """This, with the indexes among manifests without a tag."""
        return self.with_indexes({name: one.indexes for name, one in untagged.found.items()})

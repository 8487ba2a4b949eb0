"""What is known of a registry before it is asked: earlier readings of tags, and indexes that no tag names any more."""

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
    """The server's lists are doubted where they lack one of `tags`. `indexes` are those that earlier runs saw: no tag
    may name them any more, and they still need their children. `seen` is every manifest that was ever read."""

    tags: Mapping[Repository, Mapping[Tag, Digest]] = field(default_factory=dict)
    indexes: Mapping[Repository, frozenset[Digest]] = field(default_factory=dict)
    seen: KnownManifests = field(default_factory=KnownManifests)

    def with_indexes(self, more: Mapping[Repository, frozenset[Digest]]) -> Known:
        """What is known, and more indexes that no tag names."""
        indexes = dict(self.indexes)
        for name, found in more.items():
            if found:
                indexes[name] = indexes.get(name, frozenset()) | found
        return replace(self, indexes=indexes)

    def with_indexes_of(self, stored: StoredRegistry) -> Known:
        """And the indexes without a tag in a registry's storage: the API does not show them, and they need their
        children."""
        return self.with_indexes({name: untagged_indexes(stored, held) for name, held in stored.repositories.items()})

    def with_untagged(self, untagged: UntaggedManifests) -> Known:
        """And the indexes among manifests without a tag."""
        return self.with_indexes({name: one.indexes for name, one in untagged.found.items()})

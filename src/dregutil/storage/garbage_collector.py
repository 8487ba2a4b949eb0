"""The garbage collector of distribution, as it really marks and sweeps. Pure.

A DELETE frees no space: it removes links. It frees what the collector (`registry garbage-collect`) marks before and not
after it. The collector goes through the repositories, marks each manifest and what that refers to, and sweeps every
blob that is not marked. Its generations differ (as read in `registry/storage/garbagecollect.go`, and tried on 2.8.2):

- 2.8 finds the repositories that have `_layers`, 3 those that have `_manifests`; others have their live data swept.
- 2.8 marks an index's entries by digest only: what children refer to is marked because they are manifests of the
  repository too. 3 goes down into the entries that the repository has, except into what it has marked already.
  Entries that are no manifests (BuildKit's caches) are marked like any other.
- With `-m` only manifests that a tag of their repository names are gone into. On 2.8 the children of a tagged index
  are thus swept, and the index is destroyed (distribution#3178). The others lose their link: on 2.8 each, even if
  another repository has a tag on it, on 3 those that are swept.
- 3 deletes a repository's links to layers that were not marked when it had gone through that repository, even if a
  later repository marks them: these blobs stay, and cannot be pulled there any more.

`mark` does that in the collector's own order. `Marks` keeps the same marks up to date while manifests and tags go, in
time that grows with what goes.
"""

from __future__ import annotations

import enum
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_ARTIFACT, Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.storage.collector import Collector
from dregutil.storage.stored import Stops, StoredRegistry, StoredRepository, references

__all__ = [
    "GarbageCollector",
    "Generation",
    "MarkedRepository",
    "Marks",
    "after_collection",
    "is_untidy",
    "mark",
    "marked_repositories",
    "stops_at",
]


class Generation(enum.Enum):
    """Which collector of distribution it is."""

    V2 = "2.8"
    V3 = "3"


@dataclass(frozen=True, slots=True)
class GarbageCollector:
    """A collector of distribution: of which generation, and how it is run."""

    generation: Generation
    collector: Collector = Collector.DEFAULT

    @property
    def deletes_untagged(self) -> bool:
        return self.collector is Collector.UNTAGGED

    @property
    def goes_into_children(self) -> bool:
        return self.generation is Generation.V3

    def __str__(self) -> str:
        return f"{self.generation.value}{' with -m' if self.deletes_untagged else ''}"


@dataclass(frozen=True, slots=True)
class MarkedRepository:
    """A repository as a collector goes through it. `references`: for each of its manifests what is marked with it."""

    repository: Repository
    references: Mapping[Digest, tuple[Digest, ...]] = field(default_factory=dict)
    tags: Mapping[Tag, Digest] = field(default_factory=dict)

    @classmethod
    def of_graph(cls, graph: RepositoryGraph, others: Mapping[Digest, Manifest]) -> MarkedRepository:
        """As far as the API shows it; `others` are manifests that it has, too, and that are not in the graph. A tag's
        that was not read marks itself at least."""
        found: dict[Digest, tuple[Digest, ...]] = dict.fromkeys(graph.tags_of, ())
        for manifests in (others, graph.manifests):
            found.update((digest, references(manifest)) for digest, manifest in manifests.items())
        return cls(graph.repository, found, graph.tags)


def marked_repositories(registry: StoredRegistry, collector: GarbageCollector) -> list[MarkedRepository]:
    """The repositories that a collector finds in a storage, in its order; links to nothing are passed over."""
    found = []
    for stored in sorted(registry.repositories.values(), key=lambda stored: _walk_order(stored, collector)):
        if _finds(collector, stored):
            held = {
                digest: registry.manifests[digest].references if digest in registry.manifests else ()
                for digest in sorted(stored.revisions)
                if digest in registry.blobs
            }
            found.append(MarkedRepository(stored.repository, held, stored.tags))
    return found


def mark(repositories: Iterable[MarkedRepository], collector: GarbageCollector) -> set[Digest]:
    """Everything that the collector marks, going through `repositories` in their order."""
    marked: set[Digest] = set()
    for repository in repositories:
        _mark_repository(repository, marked, collector)
    return marked


def after_collection(registry: StoredRegistry, collector: GarbageCollector) -> StoredRegistry:
    """The storage as the collector leaves it, if it does not stop: blobs, manifests and links to layers."""
    marked: set[Digest] = set()
    left = dict(registry.repositories)
    for repository in marked_repositories(registry, collector):
        _mark_repository(repository, marked, collector)
        held = left[repository.repository]
        if collector.generation is Generation.V3 and not held.layers <= marked:
            left[repository.repository] = replace(held, layers=held.layers & marked)
    if collector.deletes_untagged:
        kept = marked if collector.generation is Generation.V3 else frozenset[Digest]()
        for name, held in left.items():
            if _finds(collector, held):
                left[name] = replace(held, revisions=held.revisions & {*kept, *held.tags.values()})
    blobs = {digest: size for digest, size in registry.blobs.items() if digest in marked}
    return replace(registry, repositories=left, blobs=blobs)


def _mark_repository(repository: MarkedRepository, marked: set[Digest], collector: GarbageCollector) -> None:
    tagged = set(repository.tags.values())
    for manifest in repository.references:
        if not collector.deletes_untagged or manifest in tagged:
            marked.add(manifest)
            _mark_references(repository, manifest, marked, collector)


def _mark_references(
    repository: MarkedRepository, manifest: Digest, marked: set[Digest], collector: GarbageCollector
) -> None:
    pending = [manifest]
    while pending:
        for digest in repository.references[pending.pop()]:
            if collector.goes_into_children and digest not in marked and digest in repository.references:
                pending.append(digest)
            marked.add(digest)


def is_untidy(repositories: Iterable[MarkedRepository], collector: GarbageCollector) -> bool:
    """Whether the marks may depend on the order: an index lists a manifest that only another repository has, or one of
    two repositories shows more of a manifest than the other.

    A collector that goes into children skips those that it has marked already, even if it marked them in a repository
    that does not have them. Then `Marks` may be wrong, and `mark` must be used.
    """
    if not (collector.goes_into_children and collector.deletes_untagged):
        return False
    listed = list(repositories)
    known: dict[Digest, tuple[Digest, ...]] = {}
    for repository in listed:
        for digest, named in repository.references.items():
            if known.setdefault(digest, named) != named:
                return True
    return any(
        digest not in repository.references and digest in known
        for repository in listed
        for named in repository.references.values()
        for digest in named
    )


def stops_at(registry: StoredRegistry, collector: GarbageCollector) -> Iterator[str]:
    """What in this storage makes the collector end with an error, before it has freed anything."""
    stopped = (Stops.ALL, Stops.UNTAGGED) if collector.deletes_untagged else (Stops.ALL,)
    yield from (f"{odd.place}: {odd.why}" for odd in registry.oddities if odd.stops in stopped)
    for stored in registry.repositories.values():
        if not _finds(collector, stored):
            continue
        held = [registry.manifests[digest] for digest in stored.revisions if digest in registry.manifests]
        for manifest in held:
            known = manifest.kind is not Kind.UNKNOWN and manifest.media_type != OCI_ARTIFACT
            if not known or (manifest.kind is Kind.SCHEMA1 and collector.generation is Generation.V3):
                yield f"{manifest.digest.short} in {stored.repository}, whose type it does not know"
        if collector.generation is Generation.V3 and not stored.has_layers:
            yield f"{stored.repository}, which has no folder of layers"
        has_tags = bool(stored.tags) or (stored.has_tags and registry.keeps_empty_folders)
        if collector.deletes_untagged and collector.generation is Generation.V2 and held and not has_tags:
            yield f"{stored.repository}, which has manifests and no folder of tags"


class Marks:
    """The marks of a collector, kept up to date while manifests and tags go.

    Counts for each blob the manifests that mark it. A manifest marks while it is there and something makes the
    collector go into it: itself, without `-m`; else a tag, or an index that is gone into.
    """

    def __init__(self, repositories: Iterable[MarkedRepository], collector: GarbageCollector) -> None:
        self._collector = collector
        self._repositories = {found.repository: found for found in repositories}
        self._tags = {found.repository: dict(found.tags) for found in self._repositories.values()}
        self._reasons: Counter[tuple[Repository, Digest]] = Counter()
        self._marking: Counter[Digest] = Counter()
        for found in self._repositories.values():
            roots = found.tags.values() if collector.deletes_untagged else found.references
            for digest in roots:
                self._enter(found, digest)

    @property
    def marked(self) -> frozenset[Digest]:
        return frozenset(self._marking)

    def delete(self, repository: Repository, manifest: Digest) -> frozenset[Digest]:
        """Take a manifest with its tags out of its repository; what is no longer marked."""
        found = self._repositories.get(repository)
        place = (repository, manifest)
        if found is None:
            return frozenset()
        if not self._reasons.pop(place, 0):  # its tags are no reasons from now on
            return frozenset()
        gone = frozenset(self._withdraw(found, manifest))
        return gone | frozenset(self._leave(found, self._gone_into(found, manifest)))

    def untag(self, repository: Repository, tag: Tag) -> frozenset[Digest]:
        """Take a tag away; what is no longer marked."""
        digest = self._tags.get(repository, {}).pop(tag, None)
        if digest is None or not self._collector.deletes_untagged:
            return frozenset()
        return frozenset(self._leave(self._repositories[repository], [digest]))

    def _enter(self, repository: MarkedRepository, manifest: Digest) -> None:
        """Give the collector one more reason to go into a manifest."""
        pending = [manifest]
        while pending:
            digest = pending.pop()
            if digest not in repository.references:
                continue
            place = (repository.repository, digest)
            self._reasons[place] += 1
            if self._reasons[place] == 1:
                for marked in (digest, *repository.references[digest]):
                    self._marking[marked] = self._marking.get(marked, 0) + 1
                pending.extend(self._gone_into(repository, digest))

    def _leave(self, repository: MarkedRepository, manifests: Iterable[Digest]) -> Iterator[Digest]:
        """Take from each manifest a reason to go into it; what is no longer marked."""
        pending = list(manifests)
        while pending:
            digest = pending.pop()
            place = (repository.repository, digest)
            if self._reasons[place] > 1:
                self._reasons[place] -= 1
            elif self._reasons.pop(place, 0):
                yield from self._withdraw(repository, digest)
                pending.extend(self._gone_into(repository, digest))

    def _withdraw(self, repository: MarkedRepository, manifest: Digest) -> Iterator[Digest]:
        for digest in (manifest, *repository.references[manifest]):
            self._marking[digest] -= 1
            if not self._marking[digest]:
                del self._marking[digest]
                yield digest

    def _gone_into(self, repository: MarkedRepository, manifest: Digest) -> Iterable[Digest]:
        return repository.references[manifest] if self._collector.goes_into_children else ()


def _finds(collector: GarbageCollector, stored: StoredRepository) -> bool:
    return stored.has_layers if collector.generation is Generation.V2 else stored.has_manifests


def _walk_order(stored: StoredRepository, collector: GarbageCollector) -> tuple[str, ...]:
    """A folder's entries by name: the one by which a collector knows a repository stands among those within it."""
    own = "_layers" if collector.generation is Generation.V2 else "_manifests"
    return (*stored.repository.split("/"), own)

"""What is read from a registry only to predict how many bytes a plan frees: it decides nothing.

A layer that is shared with a tag that stays does not come back, and a registry accepts any size in a manifest. So
manifests that stay are read, each of them once ever, and blobs that go are measured. Both are limited.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field

from dregutil.errors import AccessError, DregutilError, LoginError, UnreachableError
from dregutil.inventory.tags import Inventory
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Kind, Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Plan
from dregutil.plan.reclaim import Evidence, freed_digests
from dregutil.registry.pull_counts import reading_counts
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each
from dregutil.storage.garbage_collector import GarbageCollector
from dregutil.storage.stored import StoredRegistry, StoredRepository, references

__all__ = ["changed_since", "read_evidence"]

_MOST_READ = 2000  # requests for manifests that stay
_MOST_COMPARED = 50  # repositories
_MOST_MEASURED = 2000  # requests for sizes that the manifests state


async def read_evidence(
    registry: Registry,
    plan: Plan,
    graphs: Mapping[Repository, RepositoryGraph],
    collectors: Sequence[GarbageCollector],
    *,
    known: Callable[[Digest], Manifest | None],
    remember: Callable[[Collection[Manifest]], None],
) -> Evidence:
    """Read what stays in the plan's repositories, and the sizes of what goes.

    `known` returns a manifest that was read before; `remember` is called with those that are read now. What cannot be
    read is counted. Raises UnreachableError and LoginError.
    """
    freed = freed_digests(plan, graphs, collectors, {})
    if not freed:
        return Evidence()
    reading = _StayingManifests(registry, known, freed)
    for repository, steps in plan.by_repository.items():
        doomed = {step.digest for step in steps if step.action is Action.DELETE}
        await reading.read(graphs[repository], doomed)
    remember(reading.new)
    freed = freed_digests(plan, graphs, collectors, reading.kept)
    sizes, all_sizes = await _measure(registry, plan, graphs, freed)
    return Evidence(reading.kept, reading.unread, sizes, all_sizes)


@dataclass
class _StayingManifests:
    """Reads manifests that stay. `left`: how many more requests may be sent."""

    registry: Registry
    known: Callable[[Digest], Manifest | None]
    freed: Set[Digest]
    left: int = field(init=False)
    unread: int = 0
    kept: dict[Repository, dict[Digest, Manifest]] = field(default_factory=dict)
    new: list[Manifest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = 0 if reading_counts(self.registry) else _MOST_READ

    async def read(self, graph: RepositoryGraph, doomed: Set[Digest]) -> None:
        """Read what stays in one repository: the manifests of its tags, and the children of indexes."""
        kept = self.kept.setdefault(graph.repository, {})
        seen = {*graph.manifests, *graph.absent, *doomed}
        pending = [digest for digest in graph.tags_of if digest not in seen]
        there = set(pending)
        staying = [manifest for digest, manifest in graph.manifests.items() if digest not in doomed]
        while pending or staying:
            pending += [digest for digest in _children(staying) if digest not in seen]
            pending = list(dict.fromkeys(pending))
            seen.update(pending)
            staying = await self._read(graph.repository, pending, there)
            kept.update((manifest.digest, manifest) for manifest in staying)
            pending = []

    async def _read(self, repository: Repository, digests: Sequence[Digest], there: Set[Digest]) -> list[Manifest]:
        """Those of `digests` that the repository has. Those in `there` are known to exist."""
        found: list[Manifest] = []
        asked: dict[Digest, Manifest | None] = {}
        for digest in digests:
            manifest = self.known(digest)
            if manifest is not None and digest in there:
                found.append(manifest)
            elif manifest is None or self._matters(manifest):
                asked[digest] = manifest
        allowed = list(asked)[: self.left]
        self.left -= len(allowed)
        self.unread += len(asked) - len(allowed)

        async def ask(digest: Digest) -> None:
            try:
                manifest = asked[digest]
                if manifest is None:
                    manifest = await self.registry.manifest(repository, digest)
                    self.new += [] if manifest is None else [manifest]
                elif await self.registry.resolve(repository, digest) is None:
                    manifest = None
            except (UnreachableError, LoginError):
                raise
            except DregutilError:
                self.unread += 1
            else:
                found.extend([] if manifest is None else [manifest])

        await for_each(allowed, ask)
        return found

    def _matters(self, manifest: Manifest) -> bool:
        """Whether it refers to something that goes, or may do so through its children."""
        return manifest.kind is Kind.INDEX or not self.freed.isdisjoint(references(manifest))


def _children(manifests: Iterable[Manifest]) -> Iterator[Digest]:
    return (child.digest for manifest in manifests for child in manifest.children)


async def _measure(
    registry: Registry, plan: Plan, graphs: Mapping[Repository, RepositoryGraph], freed: Set[Digest]
) -> tuple[Mapping[Digest, int], bool]:
    """The bytes of the blobs that come back, as the registry reports them, and whether all were measured. Blobs without
    a size in their manifest (schema 1) are always requested."""
    unstated: dict[Digest, Repository] = {}
    found: dict[Digest, int] = {}
    stated: dict[Digest, Repository] = {}
    for step in plan.steps:
        graph = graphs[step.repository]
        for blob in graph.manifests[step.digest].blobs:
            if blob.digest in graph.blob_sizes:
                found[blob.digest] = graph.blob_sizes[blob.digest]
            if blob.digest in freed and blob.digest not in graph.manifests:
                (stated if blob.size else unstated).setdefault(blob.digest, step.repository)
    unmeasured = [entry for entry in stated.items() if entry[0] not in found]
    wanted = {**dict(unmeasured[:_MOST_MEASURED]), **unstated}

    async def ask(digest: Digest) -> None:
        try:
            size = await registry.blob_size(wanted[digest], digest)
        except AccessError:
            return
        if size is not None:
            found[digest] = size

    await for_each(sorted(wanted.keys() - found.keys()), ask)
    return found, found.keys() >= stated.keys()


async def changed_since(
    registry: Registry, stored: StoredRegistry, inventory: Inventory, *, beside: Container[Repository]
) -> str:
    """A tag (`repository:tag`) with another digest in the registry than in a storage; empty if none was found.

    Both the storage and the inventory may be older than the registry. Where they differ, one tag of each repository is
    requested, for at most 50 repositories. Those in `beside` are compared elsewhere. Raises UnreachableError and
    LoginError.
    """
    doubtful: dict[Repository, tuple[Tag, Digest | None]] = {}
    for name in sorted({*stored.repositories, *inventory.repositories}):
        if name in beside:
            continue
        held = stored.repositories.get(name, StoredRepository(name))
        tags = {tag: digest for tag, digest in held.tags.items() if digest in held.revisions and digest in stored.blobs}
        seen = inventory.tags(name)
        tag = next((tag for tag in sorted(tags.keys() | seen.keys()) if tags.get(tag) != seen.get(tag)), None)
        if tag is not None and len(doubtful) < _MOST_COMPARED:
            doubtful[name] = (tag, tags.get(tag))
    changed: list[str] = []

    async def ask(name: Repository) -> None:
        tag, expected = doubtful[name]
        try:
            found = await registry.resolve(name, tag)
        except (UnreachableError, LoginError):
            raise
        except DregutilError:
            return
        if (None if found is None else found.digest) != expected:
            changed.append(f"{name}:{tag}")

    await for_each(doubtful, ask)
    return min(changed, default="")

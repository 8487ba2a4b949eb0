"""What is read of a registry beside what decides, so that the bytes that a plan frees are close, and a bound.

A layer that a tag shares which stays does not come back, and a registry takes whatever size a manifest states. So
manifests that stay are read, each once ever, and what goes is measured; neither without a limit.
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
from dregutil.plan.reclaim import Besides, freed_digests
from dregutil.registry.reader import Registry
from dregutil.registry.workers import for_each
from dregutil.storage.garbage_collector import GarbageCollector
from dregutil.storage.stored import StoredRegistry, StoredRepository, references

__all__ = ["changed_since", "read_besides"]

_MOST_READ = 2000  # requests for manifests that stay
_MOST_COMPARED = 50  # repositories
_MOST_MEASURED = 2000  # requests for sizes that manifests state themselves


async def read_besides(
    registry: Registry,
    plan: Plan,
    graphs: Mapping[Repository, RepositoryGraph],
    collectors: Sequence[GarbageCollector],
    *,
    known: Callable[[Digest], Manifest | None],
    remember: Callable[[Collection[Manifest]], None],
) -> Besides:
    """What stays in the plan's repositories, and the sizes of what goes.

    `known` has manifests that were read before, `remember` takes those that are read now. What cannot be read is
    counted. Raises UnreachableError and LoginError.
    """
    freed = freed_digests(plan, graphs, collectors, {})
    if not freed:
        return Besides()
    reading = _Reading(registry, known, freed)
    for repository, steps in plan.by_repository.items():
        doomed = {step.digest for step in steps if step.action is Action.DELETE}
        await reading.read(graphs[repository], doomed)
    remember(reading.new)
    freed = freed_digests(plan, graphs, collectors, reading.kept)
    sizes, all_sizes = await _measure(registry, plan, graphs, freed)
    return Besides(reading.kept, reading.unread, sizes, all_sizes)


@dataclass
class _Reading:
    """Manifests that stay. `left`: how many requests may still be made for them."""

    registry: Registry
    known: Callable[[Digest], Manifest | None]
    freed: Set[Digest]
    left: int = field(init=False)
    unread: int = 0
    kept: dict[Repository, dict[Digest, Manifest]] = field(default_factory=dict)
    new: list[Manifest] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = 0 if self.registry.kind.counts_pulls else _MOST_READ

    async def read(self, graph: RepositoryGraph, doomed: Set[Digest]) -> None:
        """What stays of one repository: what its tags name, and what lies in indexes."""
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
        """Those of `digests` that the repository has; of `there` it is known that it does."""
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
        """Whether it holds something that goes, or what is in it may."""
        return manifest.kind is Kind.INDEX or not self.freed.isdisjoint(references(manifest))


def _children(manifests: Iterable[Manifest]) -> Iterator[Digest]:
    return (child.digest for manifest in manifests for child in manifest.children)


async def _measure(
    registry: Registry, plan: Plan, graphs: Mapping[Repository, RepositoryGraph], freed: Set[Digest]
) -> tuple[Mapping[Digest, int], bool]:
    """Bytes of the blobs that come back, as the registry says; and whether these are all of them. What manifests state
    no size of (as those of schema 1) is always asked for."""
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
    """A tag (`repository:tag`) that is not what a storage has it for; empty where none was found.

    The storage may be older than the registry, and so may the inventory: where the two differ, the registry is asked,
    one tag of each repository, and of no more than 50. Repositories in `beside` are compared elsewhere. Raises
    UnreachableError and LoginError.
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

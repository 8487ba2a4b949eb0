"""How many bytes a plan gives back at the registry's garbage collection. Pure.

A plan frees what the collector marks before it and not after it (`garbage_collector`). What was not marked before is
garbage already, and not counted. A step frees what nothing marks any more after it and the steps before it, so the
figures of the steps add up to that of the plan.

With the registry's own storage the figure is exact. With the API alone it is an upper bound: the API shows only tags
and what they refer to, so unlisted manifests may still hold some of it. They hold the same before and after, so never
more comes back than predicted. Sizes are then those in the manifests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Kind, Manifest
from dregutil.oci.names import Digest, Repository
from dregutil.plan.model import Action, Plan, Reclaim, Step
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import (
    GarbageCollector,
    Generation,
    MarkedRepository,
    Marks,
    is_untidy,
    mark,
    marked_repositories,
    stops_at,
)
from dregutil.storage.stored import StoredRegistry, StoredRepository

__all__ = ["Evidence", "freed_digests", "possible_collectors", "with_reclaim", "with_stored_reclaim"]

_SIZES = "by the sizes that manifests state"
_EXACTLY = "--storage PATH tells exactly"


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was read from a registry in addition to the graphs of a plan, for a closer upper bound.

    `kept`: manifests that stay, by repository. `unread`: how many that stay were not read. `sizes`: bytes of blobs, as
    the registry reports them; unless these are `all_sizes`, some figures are those in the manifests.
    """

    kept: Mapping[Repository, Mapping[Digest, Manifest]] = field(default_factory=dict)
    unread: int = 0
    sizes: Mapping[Digest, int] = field(default_factory=dict)
    all_sizes: bool = True


def possible_collectors(generation: Generation | None, collector: Collector) -> tuple[GarbageCollector, ...]:
    """The collectors that the registry may have: of both generations if that is not known."""
    return tuple(GarbageCollector(found, collector) for found in ((generation,) if generation else Generation))


def freed_digests(
    plan: Plan,
    graphs: Mapping[Repository, RepositoryGraph],
    collectors: Sequence[GarbageCollector],
    kept: Mapping[Repository, Mapping[Digest, Manifest]],
) -> frozenset[Digest]:
    """Everything that may come back because of `plan`, as far as the API shows."""
    found: set[Digest] = set()
    repositories = _as_marked(graphs, kept)
    for collector in collectors:
        found |= mark(repositories, collector) - mark(_left(plan, repositories), collector)
    return frozenset(found)


def with_reclaim(
    plan: Plan,
    graphs: Mapping[Repository, RepositoryGraph],
    collectors: Sequence[GarbageCollector],
    evidence: Evidence | None = None,
) -> Plan:
    """`plan` with an upper bound of what it frees, from the API."""
    evidence = evidence or Evidence(all_sizes=False)
    stated = _stated_sizes(found for graph in graphs.values() for found in graph.manifests.values())
    found = {**stated, **evidence.sizes}
    repositories = _as_marked(graphs, evidence.kept)
    frees = max((_frees(plan.steps, repositories, collector, found) for collector in collectors), key=sum)
    because = _because(evidence) if sum(frees) else ""
    reclaim = Reclaim(sum(frees), not because, because, _how(collectors))
    tagged_indexes = {
        f"{graph.repository}:{tag}"
        for graph in graphs.values()
        for tag, digest in graph.tags.items()
        if digest in graph.manifests and graph.manifests[digest].kind is Kind.INDEX
    }
    return _with(plan, frees, replace(reclaim, warnings=tuple(_destruction(plan, tagged_indexes, collectors))))


def _how(collectors: Iterable[GarbageCollector]) -> Collector:
    return Collector.of(untagged=any(collector.deletes_untagged for collector in collectors))


def _because(evidence: Evidence) -> str:
    """Why less may come back than the upper bound."""
    others = "unlisted manifests, tags that stay and were not read," if evidence.unread else "unlisted manifests"
    parts = [f"less where {others} or other repositories share it", "" if evidence.all_sizes else _SIZES, _EXACTLY]
    return "; ".join(filter(None, parts))


def _as_marked(
    graphs: Mapping[Repository, RepositoryGraph], kept: Mapping[Repository, Mapping[Digest, Manifest]]
) -> list[MarkedRepository]:
    return [
        MarkedRepository.of_graph(graph, kept.get(graph.repository, {}))
        for graph in graphs.values()
        if not graph.unjudgeable
    ]


def _left(plan: Plan, repositories: Iterable[MarkedRepository]) -> Iterator[MarkedRepository]:
    """What is left after the plan was applied."""
    by_repository = plan.by_repository
    for found in repositories:
        steps = by_repository.get(found.repository, ())
        gone = {step.digest for step in steps if step.action is Action.DELETE}
        untagged = {tag for step in steps for tag in step.tags}
        yield replace(
            found,
            references={digest: named for digest, named in found.references.items() if digest not in gone},
            tags={tag: digest for tag, digest in found.tags.items() if digest not in gone and tag not in untagged},
        )


def with_stored_reclaim(
    plan: Plan,
    stored: StoredRegistry,
    collectors: Sequence[GarbageCollector],
    *,
    graphs: Mapping[Repository, RepositoryGraph],
    changed: str = "",
) -> Plan:
    """`plan`, which has its upper bound, with what it frees according to the registry's storage.

    If the storage could not be read completely, or differs from the registry as an older copy does, the upper bound
    stays, with the reason. `graphs` were read from the registry; `changed` names a tag of another repository that
    differs.
    """
    frees = [
        _frees(plan.steps, marked_repositories(stored, collector), collector, stored.blobs) for collector in collectors
    ]
    most = max(frees, key=sum)
    unread = next(_unread(plan, stored, graphs, changed), "")
    tagged_indexes = {
        f"{held.repository}:{tag}"
        for held in stored.repositories.values()
        for tag, digest in held.tags.items()
        if digest in stored.manifests and stored.manifests[digest].kind is Kind.INDEX
    }
    warnings = [*_stops(plan, stored, collectors), *_destruction(plan, tagged_indexes, collectors)]
    if unread:
        return replace(plan, reclaim=replace(plan.reclaim, exact=False, because=unread, warnings=tuple(warnings)))
    because = next(_doubts(plan, stored, collectors, [sum(found) for found in frees]), "")
    reclaim = replace(plan.reclaim, reclaimable_bytes=sum(most), exact=not because, because=because)
    return _with(plan, most, replace(reclaim, warnings=tuple(warnings)))


def _with(plan: Plan, frees: Sequence[int], reclaim: Reclaim) -> Plan:
    steps = tuple(replace(step, frees=freed) for step, freed in zip(plan.steps, frees, strict=True))
    return replace(plan, steps=steps, reclaim=reclaim)


def _frees(
    steps: Sequence[Step],
    repositories: Sequence[MarkedRepository],
    collector: GarbageCollector,
    sizes: Mapping[Digest, int],
) -> list[int]:
    """The bytes that each step frees, in order."""
    if is_untidy(repositories, collector):
        return _frees_one_by_one(steps, repositories, collector, sizes)
    marks = Marks(repositories, collector)
    found = []
    for step in steps:
        if step.action is Action.DELETE:
            gone = marks.delete(step.repository, step.digest)
        else:
            gone = frozenset[Digest]().union(*(marks.untag(step.repository, tag) for tag in step.tags))
        found.append(sum(sizes.get(digest, 0) for digest in gone))
    return found


def _frees_one_by_one(
    steps: Sequence[Step],
    repositories: Sequence[MarkedRepository],
    collector: GarbageCollector,
    sizes: Mapping[Digest, int],
) -> list[int]:
    """As `_frees`, but marks everything again after each step, as the collector itself does. A step can make it mark
    *more*, and then frees a negative amount; the sum is right."""
    now = {found.repository: found for found in repositories}
    before = mark(now.values(), collector)
    found = []
    for step in steps:
        if step.repository in now:
            now[step.repository] = _without(now[step.repository], step)
        after = mark(now.values(), collector)
        lost, won = before - after, after - before
        found.append(sum(sizes.get(digest, 0) for digest in lost) - sum(sizes.get(digest, 0) for digest in won))
        before = after
    return found


def _without(found: MarkedRepository, step: Step) -> MarkedRepository:
    gone = set(step.tags)
    if step.action is Action.DELETE:
        gone |= {tag for tag, digest in found.tags.items() if digest == step.digest}
        left = {digest: named for digest, named in found.references.items() if digest != step.digest}
        found = replace(found, references=left)
    return replace(found, tags={tag: digest for tag, digest in found.tags.items() if tag not in gone})


def _stated_sizes(read: Iterable[Manifest]) -> dict[Digest, int]:
    """The largest size that a manifest states for each blob; for manifests that were read, their real size."""
    listed = list(read)
    found: dict[Digest, int] = {}
    for manifest in listed:
        for descriptor in (*manifest.children, *manifest.blobs):
            found[descriptor.digest] = max(found.get(descriptor.digest, 0), descriptor.size)
    return {**found, **{manifest.digest: len(manifest.raw) for manifest in listed}}


def _unread(
    plan: Plan, stored: StoredRegistry, graphs: Mapping[Repository, RepositoryGraph], changed: str
) -> Iterator[str]:
    """Why the storage cannot tell what the plan frees."""
    for step in plan.steps:
        held = stored.repositories.get(step.repository, StoredRepository(step.repository))
        if step.digest not in held.revisions or step.digest not in stored.manifests:
            what = f"{step.digest.short} of {step.repository}"
            yield f"{stored.place} does not hold {what}; is it this registry's storage?"
    if stored.hidden:
        first, *others = stored.hidden
        more = f", and {len(others):,} more" if others else ""
        yield f"not all of the storage could be read: {first.place}: {first.why}{more}"
    for graph in graphs.values():
        if not graph.unjudgeable:
            yield from _differs(graph, stored)
    if changed:
        yield _differing(stored, changed)


def _differs(graph: RepositoryGraph, stored: StoredRegistry) -> Iterator[str]:
    """Where a repository in the storage differs from the registry."""
    name = graph.repository
    held = stored.repositories.get(name, StoredRepository(name))
    present = {digest for digest in held.revisions if digest in stored.blobs}
    tags = {tag: digest for tag, digest in held.tags.items() if digest in present}
    for tag in sorted(graph.tags.keys() | tags.keys()):
        if graph.tags.get(tag) != tags.get(tag):
            yield _differing(stored, f"{name}:{tag}")
    for digest in (*(graph.manifests.keys() - present), *(graph.absent & present)):
        yield _differing(stored, f"{name}@{digest.short}")


def _differing(stored: StoredRegistry, what: str) -> str:
    return f"{stored.place} differs from the registry in {what}; is it a copy?"


def _doubts(
    plan: Plan, stored: StoredRegistry, collectors: Sequence[GarbageCollector], totals: Sequence[int]
) -> Iterator[str]:
    """Why the figure from the storage is not exact."""
    if next(_stops(plan, stored, collectors), ""):
        yield "the collector will stop before it frees anything"
    if len(set(totals)) > 1:
        figures = ", ".join(
            f"{found:,} bytes on {collector.generation.value}"
            for collector, found in zip(collectors, totals, strict=True)
        )
        yield f"it is not known which collector this registry has: {figures}"


def _stops(plan: Plan, stored: StoredRegistry, collectors: Sequence[GarbageCollector]) -> Iterator[str]:
    """Where a collector stops with an error, before or after the plan was applied."""
    if not plan.steps:
        return
    for collector in collectors:
        where = next(stops_at(stored, collector), "") or next(stops_at(_carried_out(plan, stored), collector), "")
        if where:
            yield (
                f"the collector of {collector} will stop with an error at {where}, "
                "and nothing comes back until that is fixed"
            )


def _carried_out(plan: Plan, stored: StoredRegistry) -> StoredRegistry:
    repositories = dict(stored.repositories)
    for repository, steps in plan.by_repository.items():
        held = repositories.get(repository)
        if held is None:
            continue
        deleted = {step.digest for step in steps if step.action is Action.DELETE}
        untagged = {tag for step in steps for tag in step.tags}
        repositories[repository] = replace(
            held,
            revisions=held.revisions - deleted,
            tags={tag: digest for tag, digest in held.tags.items() if digest not in deleted and tag not in untagged},
        )
    return replace(stored, repositories=repositories)


def _destruction(plan: Plan, tagged_indexes: Set[str], collectors: Sequence[GarbageCollector]) -> Iterator[str]:
    """What the collector of 2.8 with -m would destroy that the plan keeps."""
    if GarbageCollector(Generation.V2, Collector.UNTAGGED) not in collectors or not plan.steps:
        return
    gone = {f"{step.repository}:{tag}" for step in plan.steps for tag in step.tags}
    indexes = sorted(tagged_indexes - gone)
    if indexes:
        others = f" and {len(indexes) - 1:,} more" if len(indexes) > 1 else ""
        whose = (
            "this registry's collector"
            if len(collectors) == 1
            else "if this registry is of the 2.8 series, its collector"
        )
        yield (
            f"{whose} with -m DESTROYS multi-platform images that stay: it treats their children as untagged and "
            f"deletes them (distribution#3178), here {indexes[0]}{others}; run it without -m"
        )

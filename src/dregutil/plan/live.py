"""Selection → plan: reads the affected repositories from the registry, then makes the plan."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from itertools import islice

from dregutil import clock
from dregutil.inventory.contents.known_manifests import KnownManifests
from dregutil.inventory.fresh_surveys import FreshSurveys
from dregutil.inventory.survey import survey_repository
from dregutil.inventory.tags import Inventory
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.evidence import changed_since, read_evidence
from dregutil.plan.make import make_plan
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.reclaim import possible_collectors, with_reclaim, with_stored_reclaim
from dregutil.registry.reader import Registry
from dregutil.retention.holds import Holds
from dregutil.select.selection import Selection
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import GarbageCollector, Generation
from dregutil.storage.stored import StoredRegistry

__all__ = ["collector_generation", "plan_removal"]


async def plan_removal(
    registry: Registry,
    selection: Selection,
    inventory: Inventory,
    options: RemovalOptions | None = None,
    *,
    command: str = "",
    known_indexes: Mapping[Repository, frozenset[Digest]] | None = None,
    seen: KnownManifests | None = None,
    readings: FreshSurveys | None = None,
    collector: Collector = Collector.DEFAULT,
    stored: StoredRegistry | None = None,
    holds: Holds | None = None,
) -> Plan:
    """Read the repositories of `selection` and plan its removal. Nothing is changed.

    `inventory` is what the selection was made from. `known_indexes` are the indexes that earlier runs saw, `seen` has
    all manifests that were ever read. `readings` stores what is read, for a run that follows at once. `collector`: how
    the registry's garbage collector is run. `stored`: the registry's storage, to predict exactly what comes back.
    `holds`: what stays in any case. Raises UnreachableError and LoginError; a repository that cannot be read completely
    is in the plan's `left_out`.
    """
    options, seen, holds = options or RemovalOptions(), seen or KnownManifests(), holds or Holds()
    surveys = _Surveys(registry, inventory, known_indexes or {}, seen, readings or FreshSurveys(), options, holds)
    graphs, generation = await surveys.read_all(selection)
    plan = make_plan(
        selection,
        graphs,
        options,
        registry=registry.address.identity,
        made_at=datetime.now(UTC),
        command=command,
        also_in=_elsewhere(selection, inventory),
        holds=holds,
    )
    collectors = possible_collectors(generation, collector)
    evidence = await read_evidence(registry, plan, graphs, collectors, known=seen.manifest, remember=seen.keep)
    plan = _of_another(with_reclaim(plan, graphs, collectors, evidence), is_known=bool(generation or stored))
    return plan if stored is None else await _with_storage(registry, plan, graphs, collectors, stored, inventory)


async def _with_storage(
    registry: Registry,
    plan: Plan,
    graphs: Mapping[Repository, RepositoryGraph],
    collectors: Sequence[GarbageCollector],
    stored: StoredRegistry,
    inventory: Inventory,
) -> Plan:
    """`plan` with what it frees exactly, by the registry's storage, or why that differs from what was read live."""
    changed = await changed_since(registry, stored, inventory, beside=graphs.keys())
    return with_stored_reclaim(plan, stored, collectors, graphs=graphs, changed=changed)


def _of_another(plan: Plan, *, is_known: bool) -> Plan:
    """A plan for a registry whose collector may be another than distribution's. With `-m` the user says that it is
    distribution's; so does who names its storage: then `is_known`."""
    is_of_another = not is_known and plan.reclaim.collector is Collector.DEFAULT
    return replace(plan, reclaim=replace(plan.reclaim, is_of_another=is_of_another))


@dataclass(frozen=True)
class _Surveys:
    """Reads the repositories of a selection, several at a time."""

    registry: Registry
    inventory: Inventory
    indexes: Mapping[Repository, frozenset[Digest]]
    seen: KnownManifests
    readings: FreshSurveys
    options: RemovalOptions
    holds: Holds

    async def read_all(self, selection: Selection) -> tuple[Mapping[Repository, RepositoryGraph], Generation | None]:
        """The repositories of `selection`, and the generation of the registry's garbage collector, read meanwhile."""
        generation = asyncio.ensure_future(collector_generation(self.registry, dict(selection.touched())))
        try:
            return await self._read(selection), await generation
        finally:
            generation.cancel()

    async def _read(self, selection: Selection) -> dict[Repository, RepositoryGraph]:
        wanted: dict[Repository, set[Digest]] = defaultdict(set)
        for repository, digest in selection.touched():
            wanted[repository].add(digest)
        likely = _one_tag_each(selection)
        limit = asyncio.Semaphore(self.registry.repositories_at_once)

        async def survey(repository: Repository) -> RepositoryGraph:
            async with limit:
                started = clock.now()
                graph = await survey_repository(
                    self.registry,
                    repository,
                    wanted[repository],
                    known_tags=self.inventory.tags(repository),
                    known_indexes=(*self.indexes.get(repository, ()), *self.holds.digests(repository)),
                    likely=(*likely[repository], *self.holds.tags(repository)),
                    seen=self.seen,
                    check_blobs=not self.options.allow_irreversible,
                )
                self.readings.add(graph, started)
                return graph

        graphs = await asyncio.gather(*(survey(repository) for repository in wanted))
        return {graph.repository: graph for graph in graphs}


async def collector_generation(registry: Registry, repositories: Iterable[Repository]) -> Generation | None:
    """The generation of distribution's garbage collector that the registry has; None if it may have another one."""
    if registry.kind.is_particular:
        return None
    for repository in islice(repositories, 1):
        pages = await registry.pages_tags(repository)
        return None if pages is None else Generation.V3 if pages else Generation.V2
    return None


def _elsewhere(selection: Selection, inventory: Inventory) -> Mapping[Digest, tuple[Repository, ...]]:
    """For each selected digest, the repositories outside the selection that have it."""
    chosen = {entry.repository for entry in selection.selected}
    found: dict[Digest, tuple[Repository, ...]] = {}
    for digest, holders in inventory.holders_of({entry.digest for entry in selection.selected}).items():
        others = {repository for repository, _ in holders} - chosen
        if others:
            found[digest] = tuple(sorted(others))
    return found


def _one_tag_each(selection: Selection) -> Mapping[Repository, list[Tag]]:
    """One tag of each digest in the selection, to read it by."""
    found: dict[Repository, list[Tag]] = defaultdict(list)
    for entry in selection.selected:
        found[entry.repository] += entry.tags[:1]
    for held in selection.held:
        found[held.repository].append(held.tags[0])
    return found

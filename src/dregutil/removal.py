"""Selection → plan, on live repositories: reads each affected one, then decides purely."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime

from dregutil.graph import RepositoryGraph
from dregutil.inventory import Inventory
from dregutil.plan import Plan, RemovalOptions, make_plan
from dregutil.reference import Digest, Repository
from dregutil.registry.client import Registry
from dregutil.selection import Selection
from dregutil.survey import survey_repository

__all__ = ["plan_removal"]

_REPOSITORIES_AT_ONCE = 8


async def plan_removal(
    registry: Registry,
    selection: Selection,
    inventory: Inventory,
    options: RemovalOptions | None = None,
    *,
    command: str = "",
) -> Plan:
    """Read the repositories of `selection` live and plan its removal; nothing is changed.

    `inventory` is what the selection was made from. Raises UnreachableError and LoginError; a repository that cannot
    be read whole is left out of the plan, which says so.
    """
    wanted: dict[Repository, set[Digest]] = defaultdict(set)
    for repository, digest in selection.touched():
        wanted[repository].add(digest)
    limit = asyncio.Semaphore(_REPOSITORIES_AT_ONCE)

    async def survey(repository: Repository) -> RepositoryGraph:
        async with limit:
            known = inventory.tags(repository)
            return await survey_repository(registry, repository, wanted[repository], known_tags=known)

    graphs = await asyncio.gather(*(survey(repository) for repository in wanted))
    return make_plan(
        selection,
        {graph.repository: graph for graph in graphs},
        options or RemovalOptions(),
        registry=registry.address.identity,
        made_at=datetime.now(UTC),
        command=command,
        also_in=_elsewhere(selection, inventory),
    )


def _elsewhere(selection: Selection, inventory: Inventory) -> Mapping[Digest, tuple[Repository, ...]]:
    """For each selected digest the repositories outside of the selection that were seen to hold it."""
    chosen = {entry.repository for entry in selection.selected}
    found: dict[Digest, tuple[Repository, ...]] = {}
    for entry in selection.selected:
        others = {repository for repository, _ in inventory.holders(entry.digest)} - chosen
        if others:
            found[entry.digest] = tuple(sorted(others))
    return found

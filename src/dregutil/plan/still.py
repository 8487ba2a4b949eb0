"""A saved plan → what of it still holds: reads the affected repositories, and changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace

from dregutil.inventory.known import Known
from dregutil.inventory.survey import survey_repository
from dregutil.oci.names import Repository
from dregutil.plan.model import Kept, Plan, Step
from dregutil.plan.recheck import recheck
from dregutil.registry.reader import Registry
from dregutil.retention.holds import Holds

__all__ = ["still_planned"]


async def still_planned(registry: Registry, plan: Plan, known: Known, holds: Holds) -> Plan:
    """`plan` with the steps that still hold; the others are in its `kept`, each with the reason. That is what a run of
    the plan would do now, if nothing changes meanwhile. `holds`: those on the registry. Raises UnreachableError and
    LoginError."""
    limit = asyncio.Semaphore(registry.repositories_at_once)

    async def dropped(repository: Repository, steps: Sequence[Step]) -> Mapping[int, str]:
        async with limit:
            graph = await survey_repository(
                registry,
                repository,
                dict.fromkeys(step.digest for step in steps),
                known_tags=known.tags.get(repository, {}),
                known_indexes=(*known.indexes.get(repository, ()), *holds.digests(repository)),
                seen=known.seen,
                likely=[*(step.tags[0] for step in steps if step.tags), *holds.tags(repository)],
                check_blobs=not plan.options.allow_irreversible,
            )
        return recheck(steps, graph, plan.options, holds=holds)

    found = await asyncio.gather(*(dropped(name, steps) for name, steps in plan.by_repository.items()))
    reasons = {number: why for one in found for number, why in one.items()}
    for step in plan.steps:  # what needs a step that is left is left, too; the order of a plan has needs first
        missing = next((need for need in step.needs if need in reasons), None)
        if missing is not None and step.number not in reasons:
            reasons[step.number] = "it belongs to something that stays"
    left = [
        Kept(step.repository, step.digest, step.tags, reasons[step.number])
        for step in plan.steps
        if step.number in reasons
    ]
    steps = tuple(step for step in plan.steps if step.number not in reasons)
    reclaim = plan.reclaim
    if left:
        freed = max(0, sum(step.frees for step in steps))
        reclaim = replace(reclaim, reclaimable_bytes=min(freed, reclaim.reclaimable_bytes), exact=False)
    return replace(plan, steps=steps, kept=(*plan.kept, *left), reclaim=reclaim)

"""The sweep of a large repository: all doomed tags go first, then their digests, which is then cheap.

Where the registry refuses that, nothing of it remains. Where a digest stays after all, its tags come back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from dregutil.apply.intents import intent_of
from dregutil.apply.put_back import if_free, put_back, put_back_tags
from dregutil.apply.run import ends_run
from dregutil.apply.steps import StepState
from dregutil.apply.work import Work
from dregutil.errors import DregutilError
from dregutil.plan.cost import tags_first_pays, tags_first_steps

__all__ = ["restore_tags", "sweep"]

_TAGS_AT_ONCE = 32  # put back


async def sweep(work: Work, carry_out: Callable[[StepState], Awaitable[None]]) -> None:
    """Remove the doomed tags of a repository in one sweep, where that is shorter.

    Where other names may be the same store, `carry_out` does steps one by one before, until they show otherwise. Raises
    UnreachableError, LoginError and JournalError; where the registry merely refuses, the tags are where they were.
    """
    run = work.run
    if run.registry.is_by_service(work.repository) or run.stop.is_set():
        return
    swept = await _worth_it(work, carry_out)
    if not swept:
        return
    graph = work.live.graph
    intents = [intent_of(state.step, graph) for state in swept]
    for state, intent in zip(swept, intents, strict=True):
        state.hand_over(intent, swept=True)
    try:
        by_name = await run.untagger.sweep(intents, run.stop.is_set, work.looks.check_copies)
    except DregutilError as error:
        if ends_run(error):
            raise
        # The registry does not let its tags be moved (immutable tags, no right to push): the plain way remains.
        for state in swept:
            state.keep_tags()
        if not run.stop.is_set():
            await work.looks.after_broken_sweep(swept)
        return
    for state in swept:
        state.sweep(by_name=by_name)
    if not run.stop.is_set():
        for state in swept:
            state.recorded()
        await work.looks.after_sweep(swept)


async def _worth_it(work: Work, carry_out: Callable[[StepState], Awaitable[None]]) -> list[StepState]:
    """The steps whose tags are to go first; none where that is not shorter."""
    graph = work.live.graph
    states = [state for state in work.steps.pending if not state.dropped and state.step.digest in graph.tags_of]
    if not tags_first_pays([state.step for state in states], len(graph.tags)):
        return []
    states = await _first_alone(work, states, carry_out)
    manifests = work.live.graph.manifests
    first = {step.number for step in tags_first_steps(state.step for state in states)}
    return [
        state for state in states if state.step.number in first and not state.dropped and state.step.digest in manifests
    ]


async def _first_alone(
    work: Work, states: list[StepState], carry_out: Callable[[StepState], Awaitable[None]]
) -> list[StepState]:
    """Carry out alone those of `states` whose digest other names may hold; returns the others."""
    left = []
    for state in states:
        if state.step.needs or not work.run.not_seen_apart(state.step):
            left.append(state)
            continue
        await carry_out(state)
        if work.run.stop.is_set():
            return []
    return left


async def restore_tags(work: Work, state: StepState) -> None:
    """Where the tags of a step went first and its digest stays after all, they come back. Raises DregutilError."""
    if state.intent is None or not state.is_swept:
        return
    registry, manifest = work.run.registry, state.intent.manifest
    if await registry.resolve(work.repository, state.step.digest) is None:
        if not state.went_by_name:
            return
        # Some servers take a manifest with its last tag, and it is needed after all.
        await put_back(registry, work.repository, manifest, below=work.live.graph.manifests)
    await put_back_tags(registry, work.repository, manifest, state.intent.tags, guard=if_free, at_once=_TAGS_AT_ONCE)

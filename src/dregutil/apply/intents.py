"""What the steps of a repository are about to take away, made durable before anything is sent, many at a time."""

from __future__ import annotations

import asyncio

from dregutil.apply.live_graph import LiveReading
from dregutil.apply.steps import Steps, StepState
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Manifest
from dregutil.plan.model import Action, Step
from dregutil.plan.outcome import Intent, Recorder

__all__ = ["Intents", "intent_of"]

_RECORDED_AHEAD = 127  # intents that share one fsync with another


def intent_of(step: Step, graph: RepositoryGraph) -> Intent:
    """What a step takes away: its manifest, which `graph` must have, with all tags that are on it."""
    tags = graph.tags_of.get(step.digest, step.tags)
    return Intent(step.number, step.repository, tags, graph.manifests[step.digest])


class Intents:
    """Records the intents of one repository's `steps`. `live` is what the repository holds, and may be read again
    meanwhile."""

    def __init__(self, recorder: Recorder, steps: Steps, live: LiveReading) -> None:
        self._recorder = recorder
        self._steps = steps
        self._live = live
        self._recording = asyncio.Lock()

    async def record(self, state: StepState, manifest: Manifest) -> None:
        """Make the intent of a step durable, with all tags that are on `manifest`, its digest.

        With it those of the steps that hang on it, which a server may take along, and of the steps that come next,
        without those that were dropped: one fsync for all of them. The repository may be read again while this waits,
        and the step may be dropped by that: look at `dropped` again afterwards. Raises JournalError.
        """
        step = state.step
        if self.covers(state):
            return
        async with self._recording:
            graph = self._live.graph
            if self.covers(state):
                return
            own = Intent(step.number, step.repository, graph.tags_of.get(step.digest, step.tags), manifest)
            following = self._steps.following(step, _RECORDED_AHEAD)
            intents = {other.step.number: intent_of(other.step, graph) for other in following if _is_next(other, graph)}
            intents[step.number] = own
            await self._recorder.intend(*intents.values())
            for number, intent in intents.items():
                if self._steps[number].outcome is None:  # others may have been settled while the disk was written
                    self._steps[number].intend(intent)

    def covers(self, state: StepState) -> bool:
        """Whether the intent of a step names all tags that are on its digest, and is durable."""
        step = state.step
        return state.covers(self._live.graph.tags_of.get(step.digest, step.tags))


def _is_next(state: StepState, graph: RepositoryGraph) -> bool:
    """Whether the intent of a step may be recorded with that of another."""
    return (
        state.step.action is Action.DELETE
        and not state.dropped
        and not state.is_recorded
        and state.outcome is None
        and state.step.digest in graph.manifests
    )

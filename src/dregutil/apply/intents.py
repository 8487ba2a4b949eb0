"""What one repository's steps are about to take away, made durable before anything is sent, many at a time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Container, Iterable, Iterator, Sequence

from dregutil.apply.run import Run
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Manifest
from dregutil.plan.model import Action, Step
from dregutil.plan.outcome import Intent

__all__ = ["Intents", "intent_of"]

_RECORDED_AHEAD = 128  # intents that share one fsync


def intent_of(step: Step, graph: RepositoryGraph) -> Intent:
    """What a step takes away: its manifest, which `graph` must have, with all tags that are on it."""
    tags = graph.tags_of.get(step.digest, step.tags)
    return Intent(step.number, step.repository, tags, graph.manifests[step.digest])


class Intents:
    """The intents of one repository's `steps` that are durable: `noted`, by step."""

    def __init__(self, run: Run, steps: Sequence[Step]) -> None:
        self.noted: dict[int, Intent] = {}
        self._run = run
        self._steps = steps
        self._place = {step.number: place for place, step in enumerate(steps)}
        self._dependents: dict[int, list[Step]] = defaultdict(list)
        for step in steps:
            for need in step.needs:
                self._dependents[need].append(step)
        self._doubted: set[int] = set()
        self._recording = asyncio.Lock()

    def has_dependents(self, step: Step) -> bool:
        """Whether other steps wait for this one."""
        return step.number in self._dependents

    def doubt(self, numbers: Iterable[int]) -> None:
        """What is noted of these steps may not have become durable: it is recorded again before they are sent."""
        self._doubted.update(numbers)

    async def record(
        self, step: Step, manifest: Manifest, reading: Callable[[], RepositoryGraph], dropped: Container[int]
    ) -> None:
        """Make the intent durable, and with it those of what hangs on it, which a server may take along, and of the
        steps that come next, without those that were dropped: one fsync for all of them.

        `reading` gives the last live reading: it may be made again while we wait, and the step may be dropped by it:
        look at `dropped` again afterwards. Raises JournalError.
        """
        if self._covers(step, reading()):
            return
        async with self._recording:
            graph = reading()
            if self._covers(step, graph):
                return
            intent = Intent(step.number, step.repository, graph.tags_of.get(step.digest, step.tags), manifest)
            place = self._place[step.number]
            following = (*self._hanging_on(step), *self._steps[place + 1 : place + _RECORDED_AHEAD])
            intents = {
                other.number: intent_of(other, graph)
                for other in following
                if other.number not in dropped and self._is_next(other, graph)
            }
            intents[step.number] = intent
            await self._run.recorder.intend(*intents.values())
            self.noted.update(intents)
            self._doubted -= intents.keys()

    def _covers(self, step: Step, graph: RepositoryGraph) -> bool:
        """Whether what is noted of a step names all tags that are on its digest, and is durable."""
        before = None if step.number in self._doubted else self.noted.get(step.number)
        return before is not None and set(graph.tags_of.get(step.digest, step.tags)) <= set(before.tags)

    def _hanging_on(self, step: Step) -> Iterator[Step]:
        for other in self._dependents.get(step.number, ()):
            yield other
            yield from self._hanging_on(other)

    def _is_next(self, step: Step, graph: RepositoryGraph) -> bool:
        return (
            step.action is Action.DELETE
            and (step.number not in self.noted or step.number in self._doubted)
            and step.number not in self._run.outcomes
            and step.digest in graph.manifests
        )

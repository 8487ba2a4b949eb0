"""What one repository of a run holds now, and which of its steps no longer hold; read again where that is old."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace

from dregutil import clock
from dregutil.apply.run import Run
from dregutil.apply.steps import Steps, StepState
from dregutil.inventory.survey import survey_repository
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.outcome import Result
from dregutil.plan.recheck import recheck
from dregutil.registry.absence import manifest_of
from dregutil.retention.holds import Holds

__all__ = ["LiveReading", "look_lives"]

_LOOK_LIVES = (10.0, 60.0)  # seconds after which a repository is read whole again before the next DELETE
_LOOK_COST = 20.0  # readings take no more than about a twentieth of the time


def look_lives(took: float) -> float:
    """Seconds for which a whole reading that took so long is good enough. Tags are looked at far more often (`looks`);
    it also sees what refers to what without a tag."""
    shortest, longest = _LOOK_LIVES
    return min(max(_LOOK_COST * took, shortest), longest)


class LiveReading:
    """The last live `graph` of a repository. Each reading drops those of its `steps` that no longer hold."""

    def __init__(self, run: Run, repository: Repository, steps: Steps) -> None:
        self.graph = RepositoryGraph(repository)
        self.own_tags = steps.own_tags
        self._run = run
        self._repository = repository
        self._steps = steps
        self._read_at = self._took = 0.0
        self._seen: dict[Tag, Digest] = {}
        self._renewing = asyncio.Lock()
        self._holds: Holds | None = None
        self._doomed: dict[Tag, set[Digest]] = defaultdict(set)
        for state in steps:
            for tag in state.step.tags:
                self._doomed[tag].add(state.step.digest)

    @property
    def read_at(self) -> float:
        """When the last reading was begun, by `clock.now`."""
        return self._read_at

    @property
    def took(self) -> float:
        """The seconds that the last reading took."""
        return self._took

    def is_doomed(self, tag: Tag, digest: Digest) -> bool:
        """Whether the plan removes this tag of this digest."""
        return digest in self._doomed.get(tag, ())

    @property
    def staying(self) -> Mapping[Tag, Digest]:
        """The tags that were to stay when they were last read, and what they stood for."""
        return {tag: digest for tag, digest in self.graph.tags.items() if not self.is_doomed(tag, digest)}

    @property
    def staying_tags(self) -> frozenset[Tag]:
        """Every tag that a reading saw, without those that the plan removes."""
        return frozenset(self._seen.keys() - self.own_tags)

    async def begin(self) -> None:
        """Take the reading that the plan was made from, if it is fresh, else read."""
        found = self._run.readings.take_fresh(self._repository)
        if found is None:
            await self.read_again()
            return
        self.graph, self._read_at, self._took = found
        self._seen.update(self.graph.tags)
        if (await self._run.current_holds()).are_read(self.graph):
            await self._drop([*self._steps], {})
        else:
            await self.read_again()  # something is held since the plan was made

    async def renew(self) -> None:
        """Read again where the last reading has become old. Drop the steps that somebody's hold is about."""
        async with self._renewing:
            holds = await self._run.current_holds()
            is_old = clock.now() - self._read_at > look_lives(self._took)
            if is_old:
                await self._read()
            else:
                await self._heed(holds)

    async def heed_holds(self) -> None:
        """Drop the steps that a hold is about which was made since: to write an intent may take long."""
        async with self._renewing:
            await self._heed(await self._run.current_holds())

    async def _heed(self, holds: Holds) -> None:
        if holds != self._holds and not holds.are_read(self.graph):
            await self._read()
        elif holds != self._holds:
            pending = self._steps.pending
            await self._drop(pending, self._gone_before(pending))

    async def read_again(self) -> None:
        """Read again in any case."""
        async with self._renewing:
            await self._read()

    async def _read(self) -> None:
        """Read the repository, and drop the steps that no longer hold.

        What is already gone, and needed by a step that is not, is read too: it may be there again. Every tag that an
        earlier reading saw and that we do not remove is asked for by name where the list omits it. What was swept is
        not read: what it holds is known, and whether it is still there its DELETE says.
        """
        pending, started, holds = self._steps.pending, clock.now(), await self._run.current_holds()
        gone, held = self._gone_before(pending), self.graph.manifests
        swept = [state.step for state in pending if state.is_swept]
        likely = [state.step for state in pending if state.step.tags and not state.is_swept]
        known = {**self._run.known.tags.get(self._repository, {}), **self._seen}
        if self._steps.removed or self._steps.swept:
            known = {tag: digest for tag, digest in known.items() if tag not in self.own_tags}
        self.graph = await survey_repository(
            self._run.registry,
            self._repository,
            dict.fromkeys((*(state.step.digest for state in pending), *gone.values())),
            known_tags=known,
            known_indexes=(*self._run.known.indexes.get(self._repository, ()), *holds.digests(self._repository)),
            seen=self._run.known.seen,
            likely=[*(step.tags[0] for step in likely), *holds.tags(self._repository)],
            check_blobs=not self._run.plan.options.allow_irreversible,
            held=[held[step.digest] for step in swept if step.digest in held],
        )
        self._read_at, self._took = started, clock.now() - started
        self._seen = {**self._seen, **self.graph.tags}
        await self._drop(pending, gone)
        self._drop_pushed_again([state for state in pending if state.is_swept], self.graph.tags)

    async def update(self, tags: Mapping[Tag, Digest]) -> None:
        """Take in that `tags` came, or stand for other digests now; then drop the steps that no longer hold.

        What is not known of those digests is read, indexes within indexes included. Raises DregutilError.
        """
        async with self._renewing:
            # What was deleted since the reading is not there, unless it is read again now.
            removed = self._steps.removed
            manifests = {digest: found for digest, found in self.graph.manifests.items() if digest not in removed}
            absent = await self._read_below(tags, manifests)
            now = {tag: digest for tag, digest in self.graph.tags.items() if digest not in removed}
            self.graph = replace(
                self.graph,
                tags={**now, **tags},
                manifests=manifests,
                absent=(self.graph.absent | absent) - manifests.keys(),
                dangling=self.graph.dangling - tags.keys(),
                presumed={tag: on for tag, on in self.graph.presumed.items() if tag not in tags},
            )
            self._seen = {**self._seen, **tags}
            pending = self._steps.pending
            await self._drop(pending, self._gone_before(pending))
            self._drop_pushed_again(pending, tags)

    def _drop_pushed_again(self, states: Iterable[StepState], tags: Mapping[Tag, Digest]) -> None:
        """Drop those of `states` whose tags went, and are among `tags` now."""
        for state in states:
            again = [tag for tag in state.step.tags if tags.get(tag) == state.step.digest]
            if again:
                state.drop(f"'{again[0]}' was pushed again")

    def forget(self, tags: Collection[Tag]) -> None:
        """Take in that `tags` went."""
        now = {tag: digest for tag, digest in self.graph.tags.items() if tag not in tags}
        self.graph = replace(self.graph, tags=now)

    async def _read_below(self, tags: Mapping[Tag, Digest], manifests: dict[Digest, Manifest]) -> set[Digest]:
        """Add to `manifests` what is not in it of what `tags` name, and of the indexes in that; returns what is not
        there."""
        pending, absent = set(tags.values()) - manifests.keys(), set[Digest]()
        while pending:
            for digest in sorted(pending):
                found = await manifest_of(self._run.registry, self._repository, digest, tags)
                if found is None:
                    absent.add(digest)
                else:
                    manifests[digest] = found
            read = pending & manifests.keys()
            children = (child for digest in read for child in manifests[digest].children if child.may_be_index)
            pending = {child.digest for child in children} - manifests.keys() - absent
        return absent

    async def _drop(self, states: Sequence[StepState], gone: Mapping[int, Digest]) -> None:
        """Drop those of `states` that no longer hold in what was read."""
        steps, options = [state.step for state in states], self._run.plan.options
        self._holds = await self._run.current_holds()
        found = recheck(steps, self.graph, options, begun=self._steps.swept, gone=gone, holds=self._holds)
        for number, why in found.items():
            self._steps[number].drop(why)

    def _gone_before(self, states: Iterable[StepState]) -> dict[int, Digest]:
        """The digests that are gone, and that had to be before one of `states`."""
        numbers = {need for state in states for need in state.step.needs}
        return {
            state.step.number: state.step.digest
            for state in self._steps
            if state.step.number in numbers and state.result in (Result.REMOVED, Result.GONE)
        }

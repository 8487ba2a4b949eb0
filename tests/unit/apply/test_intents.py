"""Intents are on the disk before anything is sent, many at a time, whatever happens meanwhile."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import cast

import pytest

from dregutil.apply.intents import Intents
from dregutil.apply.live_graph import LiveReading
from dregutil.apply.steps import Phase, Steps, StepState
from dregutil.errors import JournalError
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Action, Step, StepKind
from dregutil.plan.outcome import Intent, NoRecorder, Outcome, Result

R = Repository("r")
IMAGE = "application/vnd.oci.image.manifest.v1+json"


def image(number: int) -> Manifest:
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": Digest.of(b"c"), "size": number}
    raw = json.dumps({"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": []}).encode()
    return parse_manifest(raw, IMAGE, Digest.of(raw))


IMAGES = {number: image(number) for number in range(1, 6)}
STEPS = [Step(n, Action.DELETE, R, one.digest, (Tag(f"{n}.0"),), StepKind.IMAGE, "") for n, one in IMAGES.items()]


class Disk(NoRecorder):
    """Keeps what it is given, after `meanwhile`."""

    def __init__(self, meanwhile: Callable[[], None] = lambda: None) -> None:
        self.written: list[list[int]] = []
        self.meanwhile = meanwhile

    async def intend(self, *intents: Intent) -> None:
        await asyncio.sleep(0)
        self.meanwhile()
        self.written.append([intent.step for intent in intents])


class Live:
    """A reading of the repository, which a test may change."""

    def __init__(self) -> None:
        tags = {step.tags[0]: step.digest for step in STEPS}
        self.graph = RepositoryGraph(R, tags, {one.digest: one for one in IMAGES.values()})


def setting(disk: Disk) -> tuple[Intents, Steps, Live]:
    steps, live = Steps([StepState(step) for step in STEPS]), Live()
    return Intents(disk, steps, cast("LiveReading", live)), steps, live


async def test_what_comes_next_is_recorded_with_it_once() -> None:
    disk = Disk()
    intents, steps, _ = setting(disk)
    await asyncio.gather(*(intents.record(state, IMAGES[state.step.number]) for state in steps))
    assert [sorted(one) for one in disk.written] == [[1, 2, 3, 4, 5]]
    assert all(state.is_recorded for state in steps)


async def test_what_was_settled_while_the_disk_was_written_stays_settled() -> None:
    disk = Disk(lambda: [*steps][2].settle(Outcome(STEPS[2], Result.LEFT, "also 'stable'")))
    intents, steps, _ = setting(disk)
    await intents.record(steps[1], IMAGES[1])
    assert steps[3].phase is Phase.HELD
    assert [steps[number].is_recorded for number in (1, 2, 4, 5)] == [True] * 4


async def test_what_was_dropped_or_is_no_longer_there_is_not_recorded_with_it() -> None:
    disk = Disk()
    intents, steps, live = setting(disk)
    steps[2].drop("also 'stable'")
    steps[3].settle(Outcome(STEPS[2], Result.GONE))
    live.graph = RepositoryGraph(R, live.graph.tags, {IMAGES[n].digest: IMAGES[n] for n in (1, 2, 3, 4)})
    await intents.record(steps[1], IMAGES[1])
    assert [sorted(one) for one in disk.written] == [[1, 4]]


async def test_a_tag_that_came_since_is_recorded_anew() -> None:
    disk = Disk()
    intents, steps, live = setting(disk)
    await intents.record(steps[1], IMAGES[1])
    await intents.record(steps[1], IMAGES[1])
    assert len(disk.written) == 1
    live.graph = RepositoryGraph(R, {**live.graph.tags, Tag("new"): IMAGES[1].digest}, live.graph.manifests)
    await intents.record(steps[1], IMAGES[1])
    assert disk.written[1:] == [[1]]
    assert steps[1].intent is not None
    assert set(steps[1].intent.tags) == {Tag("1.0"), Tag("new")}


async def test_nothing_counts_as_recorded_that_the_disk_refused() -> None:
    class Full(Disk):
        async def intend(self, *_: Intent) -> None:
            raise JournalError("no space left")

    intents, steps, _ = setting(Full())
    with pytest.raises(JournalError):
        await intents.record(steps[1], IMAGES[1])
    assert not any(state.is_recorded for state in steps)
    assert {state.phase for state in steps} == {Phase.PLANNED}

"""Random sequences of pushes, removals, collections and undos on the real registries: every tag that was to stay is
whole, and every run that no collection called final can be undone, the newest first."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

import dregutil
from dregutil.errors import RefusedError
from dregutil.select.selection import MatchRules
from images import Pusher
from servers import DistributionServer
from servers.real import KINDS

pytestmark = pytest.mark.property

EXAMPLES = max(3, min(50, int(os.environ.get("DREGUTIL_LONG", "10")) // 3))
REPOSITORIES, TAGS, SEEDS = ("a", "a/b", "z"), ("1.0", "1.1", "2.0"), tuple(map(str, range(4)))
STEPS = ("push", "push", "remove", "remove", "undo", "collect")
_RULES = MatchRules(ignore_other_repositories=True)


class Sequence:
    """A registry, what it should have (`tags`), and which runs were called final (`final`)."""

    def __init__(self, server: DistributionServer, folder: Path, pick: random.Random) -> None:
        self.server = server
        self.state = folder / "state"
        self.pick = pick
        self.tags: dict[tuple[str, str], str] = {}
        self.final: set[str] = set()
        self.removed: dict[str, dict[tuple[str, str], str]] = {}

    def session(self) -> dregutil.Session:
        place = str(self.server.storage)
        return dregutil.open(self.server.url, storage=place, state_dir=self.state, contents=None)

    def push(self) -> None:
        repository, tag = self.pick.choice(REPOSITORIES), self.pick.choice(TAGS)
        with self.server, Pusher(self.server.url) as pusher:
            seeds = self.pick.sample(SEEDS, 2)
            shared = [f"layer {number}".encode() for number in self.pick.sample(range(4), 2)]
            if self.pick.random() < 0.4:
                children = [pusher.push_image(repository, seed=seed, layers=shared) for seed in seeds]
                pusher.push_index(repository, tag, children=children)
            else:
                pusher.push_image(repository, tag, seed=seeds[0], layers=shared)
            self.tags[repository, tag] = pusher.tags(repository)[tag]

    def remove(self) -> None:
        if not self.tags:
            return
        repository, tag = self.pick.choice(sorted(self.tags))
        with self.server, self.session() as registry:
            plan = registry.plan_removal(repository, tags=[tag], rules=_RULES)
            if not plan.steps:
                return  # its digest has another tag, or an index needs it
            run = registry.apply(plan)
            gone = {(repository, str(name)) for step in plan.steps for name in step.tags}
            self.removed[run.id] = {name: self.tags.pop(name) for name in gone if name in self.tags}

    def undo(self) -> None:
        with self.server, self.session() as registry:
            for record in registry.runs():
                if record.run in self.removed and self.pick.random() < 0.5:
                    found = registry.apply_undo(record, registry.plan_undo(record))
                    removed = self.removed.pop(record.run)
                    for entry in found.restored:
                        for tag in entry.tags:
                            name = (str(entry.repository), str(tag))
                            self.tags[name] = removed.get(name, str(entry.manifest.digest))

    def collect(self) -> None:
        with self.session() as registry:
            words = [self.server.command()[0], "garbage-collect", str(self.server.configuration)]
            words += ["-m"] if self.pick.random() < 0.4 else []
            keep = self.pick.choice(["7d", "0d"])
            try:
                run = registry.collect(registry.plan_collection(words, keep_undo=keep))
            except RefusedError:
                return
            assert run.is_as_predicted, run.comparison
            assert keep == "0d" or not run.final
            self.final.update(run.final)

    def check(self) -> None:
        with self.server, Pusher(self.server.url) as pusher, self.session() as registry:
            for (repository, tag), digest in self.tags.items():
                assert pusher.tags(repository).get(tag) == digest, (repository, tag)
                assert pusher.is_whole(repository, tag), (repository, tag)
            for record in sorted(registry.runs(), key=lambda record: record.run, reverse=True):
                if record.run in self.removed:
                    plan = registry.plan_undo(record)
                    lost = [entry for entry in plan.entries if entry.lost and entry.is_needed]
                    assert not lost or record.run in self.final, (record.run, lost)
                    registry.apply_undo(record, plan)


@pytest.mark.parametrize("seed", range(EXAMPLES))
@pytest.mark.parametrize("kind", ["distribution-2.8", "distribution-3"])
def test_no_sequence_damages_a_tag_or_a_promise(tmp_path: Path, kind: str, seed: int) -> None:
    server = KINDS[kind].start(tmp_path / "it")
    assert isinstance(server, DistributionServer)
    pick = random.Random(seed)
    found = Sequence(server, tmp_path, pick)
    for step in ("push", "push", "push", *pick.choices(STEPS, k=10), "remove", "collect"):
        getattr(found, step)()
    found.check()

"""A random registry under random pushes, removals, stale plans, refusals, kills at any point, resumes and undos.

After each, an independent reader looks: every tag that was not asked to go resolves, whole. A kill is what `kill -9` is
to a registry and a disk: from one moment on, nothing is sent and nothing is written any more; and what had been written
and not synced may be torn, or there in part, whatever its order.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from dregutil import repository_run
from dregutil.apply import apply_plan
from dregutil.crawl import crawl
from dregutil.errors import DregutilError
from dregutil.journal import Journal
from dregutil.outcome import RunResult
from dregutil.plan import Action, Plan, RemovalOptions, Step
from dregutil.planfile import decode_plan, encode_plan
from dregutil.record import RunRecord
from dregutil.reference import Repository
from dregutil.registry import WritableRegistry, connect_writable
from dregutil.removal import plan_removal
from dregutil.restore import BackResult, BackRun, put_back
from dregutil.restore_plan import look_back
from dregutil.run import Known
from dregutil.runs import RunStore
from dregutil.selection import MatchRules, select_tags
from dregutil.selector import TagSelector
from images import ACCEPT, Pusher
from removing import Killed, Killer
from servers import DistributionServer
from servers.memory import MemoryServer, Switches

pytestmark = pytest.mark.property

TAGS = ("1.0", "1.1", "1.2", "2.0", "latest", "stable")
NAMES = ("a", "b")
EXAMPLES = {"real": 10, "memory": 20}
if "DREGUTIL_LONG" in os.environ:
    EXAMPLES = {
        "real": int(os.environ["DREGUTIL_LONG"]) // 8,
        "memory": int(os.environ["DREGUTIL_LONG"]) // 2,
    }
STEPS = 25
# After how many effects a run is killed, and what the disk then shows of the lines that were not synced yet.
KILLS = st.one_of(st.none(), st.integers(0, 30))
TORN = st.lists(st.integers(0, 3), max_size=4)
SELECTIONS = st.tuples(
    st.lists(st.integers(0, 1), min_size=1, max_size=2, unique=True),
    st.lists(st.sampled_from(TAGS), min_size=1, max_size=4, unique=True),
    st.builds(MatchRules, match_all_tags=st.booleans(), ignore_other_repositories=st.booleans()),
    st.builds(RemovalOptions, untag=st.booleans(), keep_children=st.booleans(), keep_referrers=st.booleans()),
)
SWITCHES = st.fixed_dictionaries(
    {name: st.booleans() for name in ("untags", "last_tag_takes", "cascades", "has_referrers", "pages_tags")}
)
# What somebody else pushes during a run: before which request, a new tag or one that stays, onto which doomed digest.
PUSHES = st.lists(st.tuples(st.integers(0, 80), st.booleans(), st.integers(0, 20)), min_size=1, max_size=4)
TAGS_FIRST_PAYS = vars(repository_run)["tags_first_pays"]
_ENOUGH = 100  # examples in which chance does not leave out a whole kind of step
_numbers = itertools.count()


@dataclass
class Pushed:
    """A tag that was pushed onto a digest that a run was to delete. `listed`: the tags were listed afterwards, before
    that digest's DELETE was sent; `gap`: seconds between the list before and that DELETE, 0 where there was none."""

    repository: Repository
    tag: str
    digest: str
    is_new: bool
    listed: bool = False
    gap: float = 0.0
    deleted: bool = False


class Meddler:
    """Pushes tags onto what a run is about to delete, before some of its requests."""

    def __init__(self, trust: Trust, plan: Plan, pushes: list[tuple[int, bool, int]]) -> None:
        self.trust = trust
        self.pushes = {number: (is_new, place) for number, is_new, place in pushes}
        self.steps = [step for step in plan.steps if step.action is Action.DELETE]
        self.own = {(step.repository, tag) for step in plan.steps for tag in step.tags}
        self.raws = {
            step.number: (trust.pusher.raw(step.repository, step.digest), trust.media_type(step)) for step in self.steps
        }
        self.done: list[Pushed] = []
        self.listed_at: dict[str, float] = {}

    def arm(self, registry: WritableRegistry) -> None:
        send, number = registry._transport.send, itertools.count()

        async def meddled(method: str, url: Any, *arguments: Any, **options: Any) -> Any:
            if self.steps and (chosen := self.pushes.pop(next(number), None)) is not None:
                self._push(*chosen)
            self._note(method, url.path)
            return await send(method, url, *arguments, **options)

        registry._transport.send = meddled  # type: ignore[method-assign]

    def _push(self, is_new: bool, place: int) -> None:
        step = self.steps[place % len(self.steps)]
        name = step.repository
        staying = [tag for (repository, tag) in self.trust.must if repository == name and tag in TAGS]
        staying = [tag for tag in staying if (name, tag) not in self.own and tag not in {one.tag for one in self.done}]
        if not is_new and not staying:
            return
        tag = f"new-{next(_numbers)}" if is_new else staying[place % len(staying)]
        raw, media_type = self.raws[step.number]
        path = f"/v2/{name}/manifests/{tag}"
        status, _, _ = self.trust.pusher.request("PUT", path, raw, {"Content-Type": media_type})
        if status == 201:  # an index whose child has gone is refused
            self.trust._count("a tag was pushed onto what a run deletes")
            self.done.append(Pushed(name, tag, step.digest, is_new))

    def _note(self, method: str, path: str) -> None:
        for one in self.done:
            if one.deleted or f"/{one.repository}/" not in path:
                continue
            if path.endswith("/tags/list"):
                one.listed = True
            elif method == "DELETE" and path.endswith(f"/{one.digest}"):
                one.deleted = True
                one.gap = time.monotonic() - self.listed_at.get(str(one.repository), time.monotonic())
        if path.endswith("/tags/list"):
            self.listed_at[path.removeprefix("/v2/").removesuffix("/tags/list")] = time.monotonic()


class Trust(RuleBasedStateMachine):
    """On the real server the switches turn nothing; on the one in memory they make it like others."""

    server: ClassVar[DistributionServer | MemoryServer]
    counts: ClassVar[Counter[str]]
    gaps: ClassVar[list[float]]

    def _count(self, what: str) -> None:
        self.counts[what] += 1

    def __init__(self) -> None:
        super().__init__()
        self.run_number = next(_numbers)
        self.pusher = Pusher(self.server.url)
        self.folder = Path(tempfile.mkdtemp(prefix="dregutil-trust-"))
        self.store = RunStore(self.folder)
        self.repositories = [Repository(f"x{self.run_number}/{name}") for name in NAMES]
        self.pushed: dict[Repository, list[dict[str, Any]]] = {name: [] for name in self.repositories}
        # What must resolve; a tag that was asked to go moves over to `doomed`, where it may be in either state.
        self.must: dict[tuple[Repository, str], str] = {}
        self.doomed: dict[tuple[Repository, str], str] = {}
        self.switches = self.server.switches if isinstance(self.server, MemoryServer) else Switches()
        self.plans: list[Plan] = []
        self.cut_off: list[str] = []

    def teardown(self) -> None:
        vars(repository_run)["tags_first_pays"] = TAGS_FIRST_PAYS
        self.switches.refused.clear()
        self.switches.failing.clear()
        self.pusher.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _is_tagged(self, name: Repository, tag: str, digest: str) -> None:
        self.must[name, tag] = digest
        self.doomed.pop((name, tag), None)

    @initialize(shared=st.booleans(), nested=st.booleans(), sweeps=st.booleans(), switches=SWITCHES)
    def fill(self, shared: bool, nested: bool, sweeps: bool, switches: dict[str, bool]) -> None:
        """Versions, an index with a tagged child, signatures, a digest in both repositories."""
        for switch, value in switches.items():
            setattr(self.switches, switch, value)
        if sweeps:
            vars(repository_run)["tags_first_pays"] = lambda _, __: True  # as in a large repository
        for name in (0, 1):
            self.push_image(name, ["1.0"], 0)
            self.push_image(name, ["1.1"], 1 + (0 if shared else name))
            self.push_image(name, ["latest", "stable"], 3)
            self.push_image(name, [], 4)
            self.push_index(name, ["1.2"], [1, 3])
            self.push_referrer(name, 4, by_tag=not shared)
            if nested:
                self.push_index(name, ["2.0"], [4, 0])

    @rule(name=st.integers(0, 1), tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True), seed=st.integers(0, 5))
    def push_image(self, name: int, tags: list[str], seed: int) -> None:
        repository = self.repositories[name]
        found = self.pusher.push_image(repository, *tags, seed=f"image {seed}")
        self.pushed[repository].append(found)
        for tag in tags:
            self._is_tagged(repository, tag, found["digest"])

    @rule(
        name=st.integers(0, 1),
        tags=st.lists(st.sampled_from(TAGS), min_size=1, max_size=2, unique=True),
        places=st.lists(st.integers(0, 20), min_size=1, max_size=3),
    )
    def push_index(self, name: int, tags: list[str], places: list[int]) -> None:
        repository = self.repositories[name]
        there = [found for found in self.pushed[repository] if self.pusher.is_whole(repository, found["digest"])]
        if not there:
            return
        children = {there[place % len(there)]["digest"]: there[place % len(there)] for place in places}
        found = self.pusher.push_index(repository, *tags, children=list(children.values()))
        self.pushed[repository].append(found)
        for tag in tags:
            self._is_tagged(repository, tag, found["digest"])

    @rule(name=st.integers(0, 1), place=st.integers(0, 20), by_tag=st.booleans())
    def push_referrer(self, name: int, place: int, by_tag: bool) -> None:
        repository = self.repositories[name]
        there = [found for found in self.pushed[repository] if self.pusher.is_whole(repository, found["digest"])]
        if not there:
            return
        subject = there[place % len(there)]
        if by_tag:
            tag = f"sha256-{subject['digest'][7:]}.sig"
            found = self.pusher.push_image(repository, tag, seed=f"signature {place % 3}")
        else:
            tag = f"sha256-{subject['digest'][7:]}"
            referrer = self.pusher.push_image(repository, seed=f"referrer {place % 3}", subject=subject)
            found = self.pusher.push_index(repository, tag, children=[referrer])
        self._is_tagged(repository, tag, found["digest"])

    @rule(name=st.integers(0, 1), place=st.integers(0, 20), status=st.sampled_from([405, 409, 412, 500]))
    def refuse(self, name: int, place: int, status: int) -> None:
        """From now on a manifest's DELETE is refused, or for 500 carried out all the same."""
        there = self.pushed[self.repositories[name]]
        refused = self.switches.failing if status == 500 else self.switches.refused
        refused[there[place % len(there)]["digest"]] = status

    @rule()
    def relent(self) -> None:
        self.switches.refused.clear()
        self.switches.failing.clear()

    @rule(selection=SELECTIONS)
    def plan(self, selection: tuple[list[int], list[str], MatchRules, RemovalOptions]) -> None:
        """A plan that is carried out later, when it may be stale."""
        plan = self._plan(*selection)
        if plan.steps:
            self.plans.append(plan)

    @rule(place=st.integers(0, 5), kill_after=KILLS, torn=TORN)
    def apply_stale(self, place: int, kill_after: int | None, torn: list[int]) -> None:
        if self.plans:
            self._apply(self.plans.pop(place % len(self.plans)), Killer(kill_after, torn))

    @rule(selection=SELECTIONS, kill_after=KILLS, torn=TORN)
    def remove(
        self,
        selection: tuple[list[int], list[str], MatchRules, RemovalOptions],
        kill_after: int | None,
        torn: list[int],
    ) -> None:
        plan = self._plan(*selection)
        if plan.steps:
            self._apply(plan, Killer(kill_after, torn))

    def media_type(self, step: Step) -> str:
        _, headers, _ = self.pusher.request(
            "HEAD", f"/v2/{step.repository}/manifests/{step.digest}", headers={"Accept": ACCEPT}
        )
        return headers.get("content-type", "")

    @rule(selection=SELECTIONS, pushes=PUSHES)
    def remove_while_somebody_pushes(
        self, selection: tuple[list[int], list[str], MatchRules, RemovalOptions], pushes: list[tuple[int, bool, int]]
    ) -> None:
        """Tags come or move onto what goes: they stay, are put back, or are named. Only a name that no list has shown
        before its digest's DELETE may be lost without a word, and how long that lasts is measured."""
        plan = self._plan(*selection)
        if not plan.steps:
            return
        self._doom(plan)
        meddler = Meddler(self, plan, pushes)
        journal = self.store.new(datetime.now(UTC))
        result = self._run(plan, journal, None, meddler)
        assert result is not None
        named = {(lost.repository, str(lost.tag)) for lost in result.unmended}
        named |= {(name, str(tag)) for name, tags in result.vanished.items() for tag in tags}
        for one in meddler.done:
            here = self.pusher.tags(one.repository).get(one.tag)
            key = (one.repository, one.tag)
            self.must.pop(key, None)
            if here == one.digest:
                assert self.pusher.is_whole(one.repository, one.tag), one
                self._is_tagged(one.repository, one.tag, one.digest)
                continue
            assert here is None, one
            self.doomed[key] = one.digest
            if key in named:
                self._count("a tag that was lost was named")
            else:
                assert one.is_new, one
                assert not one.listed, one
                self._count("a new tag was lost between a list and a DELETE")
                self.gaps.append(one.gap)
        if result.error is None and not meddler.done:
            self._check_result(plan, result)

    @rule(place=st.integers(0, 3), kill_after=KILLS, torn=TORN)
    def resume(self, place: int, kill_after: int | None, torn: list[int]) -> None:
        if not self.cut_off:
            return
        run = self.cut_off[place % len(self.cut_off)]
        record = self._record(run)
        if record is None:
            self.cut_off.remove(run)
            return
        self._doom(record.plan)
        result = self._run(record.plan, self.store.journal(record), record, Killer(kill_after, torn))
        self._count("a resumed run was killed" if result is None else "a run was resumed")
        if result is not None:
            self._check_error(result)
            self.cut_off.remove(run)
            self._check_result(record.plan, result)

    @rule(place=st.integers(0, 3), kill_after=KILLS)
    def undo(self, place: int, kill_after: int | None) -> None:
        names = self.store.names()
        record = self._record(names[-1 - place % len(names)]) if names else None
        if record is None:
            return
        killer = Killer(kill_after)

        async def back(registry: WritableRegistry) -> BackRun:
            found = await look_back(registry, record)
            killer.arm(registry, None)
            return await put_back(registry, found)

        try:
            result = self._with_registry(back)
        except Killed:
            self._note_put_back(record)
            return
        self._count("an undo put something back" if result.of(BackResult.RESTORED) else "an undo found nothing to do")
        if record.run in self.cut_off:
            self.cut_off.remove(record.run)
        assert result.error is None
        assert not result.of(BackResult.FAILED)
        # What needs a manifest that another run removed since cannot come back before that run is undone.
        assert all("child" in why for _, outcome, why in result.entries if outcome == BackResult.LOST)
        for entry, outcome, _ in result.entries:
            if outcome == BackResult.LOST:
                continue
            here = self.pusher.tags(entry.repository)
            for tag in entry.tags:
                assert here[tag] == entry.manifest.digest
            for tag, digest in here.items():
                if digest == entry.manifest.digest and (entry.repository, tag) in self.doomed:
                    self._is_tagged(entry.repository, tag, digest)

    def _note_put_back(self, record: RunRecord) -> None:
        """An undo that was cut off: what it put back of a tag that was removed twice may be what the tag had first."""
        for intent in record.intents:
            here = self.pusher.tags(intent.repository)
            for tag in intent.tags:
                if (intent.repository, tag) in self.doomed and here.get(tag) == intent.manifest.digest:
                    self.doomed[intent.repository, tag] = intent.manifest.digest

    @invariant()
    def what_must_be_there_is_whole(self) -> None:
        self._count("steps")
        for name in self.repositories:
            here = self.pusher.tags(name)
            for (repository, tag), digest in self.must.items():
                if repository == name:
                    assert here.get(tag) == digest, tag
                    assert self.pusher.is_whole(name, tag), tag
            for tag, digest in here.items():
                if (name, tag) not in self.must and not self.cut_off:
                    assert self.doomed.get((name, tag)) == digest, tag

    def _plan(self, chosen: list[int], tags: list[str], rules: MatchRules, options: RemovalOptions) -> Plan:
        if self.switches.last_tag_takes:
            options = replace(options, untag=False)  # killed in it, such a server has lost a child until the resume

        async def make(registry: WritableRegistry) -> Plan:
            found = (await crawl(registry, self.repositories)).inventory
            names = [self.repositories[place] for place in chosen]
            selection = select_tags(found, names, TagSelector.build(tags), rules)
            return await plan_removal(registry, selection, found, options)

        made: Plan = self._with_registry(make)
        plan, _ = decode_plan(encode_plan(made))
        assert plan.steps == made.steps
        return plan

    def _apply(self, plan: Plan, killer: Killer) -> None:
        self._doom(plan)
        journal = self.store.new(datetime.now(UTC))
        result = self._run(plan, journal, None, killer)
        if result is None:
            self._count("a run was killed")
            self.cut_off.append(journal.run)
            return
        gone = any(outcome.result.is_done for outcome in result.outcomes)
        self._count("a run removed something" if gone else "a run removed nothing")
        self._check_error(result)
        self._check_result(plan, result)
        if result.error is None:
            self._compare_journal(journal.run, result)

    def _check_error(self, result: RunResult) -> None:
        """Nothing ends a run early but a registry that does not allow deletion."""
        assert result.error is None or self.switches.refused, result.error

    def _doom(self, plan: Plan) -> None:
        """Tags that the plan names, and that are on the digest that it names: they may go from now on."""
        for step in plan.steps:
            for tag in step.tags:
                if self.must.get((step.repository, tag)) == step.digest:
                    self.doomed[step.repository, tag] = self.must.pop((step.repository, tag))

    def _check_result(self, plan: Plan, result: RunResult) -> None:
        """The outcomes are true: what is said to be gone is gone, what is left is whole again."""
        for outcome in result.outcomes:
            step = outcome.step
            here = self.pusher.tags(step.repository)
            if outcome.result.is_done:
                assert not any(here.get(tag) == step.digest for tag in step.tags)
                if step.action is Action.DELETE:
                    assert not self.pusher.has(step.repository, step.digest)
                continue
            for tag in step.tags:
                if self.doomed.get((step.repository, tag)) == step.digest and here.get(tag) == step.digest:
                    assert self.pusher.is_whole(step.repository, tag)
                    self._is_tagged(step.repository, tag, step.digest)

    def _compare_journal(self, run: str, result: RunResult) -> None:
        record = self.store.get(run)
        assert not record.is_unfinished
        assert not record.damaged
        assert {number: settled.result for number, settled in record.outcomes.items()} == {
            outcome.step.number: outcome.result for outcome in result.outcomes
        }

    def _record(self, run: str) -> RunRecord | None:
        try:
            record = self.store.get(run)
        except DregutilError:
            return None
        return None if record.missing_steps or record.undoes else record

    def _run(
        self, plan: Plan, journal: Journal, earlier: RunRecord | None, killer: Killer | Meddler
    ) -> RunResult | None:
        async def work(registry: WritableRegistry) -> RunResult:
            if isinstance(killer, Meddler):
                killer.arm(registry)
            else:
                killer.arm(registry, journal)
            if earlier is None:
                journal.begin(plan, started=datetime.now(UTC))
            known = Known(indexes=self.store.known_indexes(plan.registry))
            return await apply_plan(registry, plan, known=known, recorder=journal, earlier=earlier)

        result: RunResult
        try:
            result = self._with_registry(work)
        except Killed:
            os.close(journal._file)
            return None
        journal.close(datetime.now(UTC) if result.error is None else None)
        return result

    def _with_registry(self, work: Any) -> Any:
        async def run() -> Any:
            async with connect_writable(self.server.url) as registry:
                return await work(registry)

        return asyncio.run(run())


@pytest.mark.parametrize("kind", ["memory", "real"])
def test_trust(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    monkeypatch.setattr(repository_run, "_SETTLE", 0.0)
    folder = Path(tmp_path_factory.mktemp("registry"))
    with MemoryServer() if kind == "memory" else DistributionServer(folder) as server:
        machine = cast("type[Trust]", type("TrustThis", (Trust,), {"server": server, "counts": Counter(), "gaps": []}))
        # Not shrunk: kills fall where they fall, so a smaller example of a failure takes hours to find.
        chosen = settings(
            parent=settings.default, max_examples=EXAMPLES[kind], stateful_step_count=STEPS, phases=(Phase.generate,)
        )
        run_state_machine_as_test(machine, settings=chosen)
        counts = dict(sorted(machine.counts.items()))
        gap = round(1000 * max(machine.gaps, default=0.0))
        print(json.dumps({"server": kind, "examples": EXAMPLES[kind], **counts, "longest gap, in ms": gap}))
        if EXAMPLES[kind] >= _ENOUGH:
            assert counts["a run was killed"] > 0
            assert counts["an undo put something back"] > 0

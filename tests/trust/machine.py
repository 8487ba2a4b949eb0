"""The state machine: pushes, removals, stale plans, refusals, kills, resumes, undos, and all disturbances."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from dregutil.apply import sweep
from dregutil.apply.undo.plan import plan_undo
from dregutil.apply.undo.run import UndoResult, UndoRun, apply_undo
from dregutil.errors import DregutilError, RefusedError
from dregutil.inventory.crawl import crawl
from dregutil.inventory.tags import Inventory
from dregutil.journal.record import RunRecord
from dregutil.journal.removed import removed_by
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.names import Digest, Reference, Repository
from dregutil.plan.file import decode_plan, encode_plan
from dregutil.plan.model import Action, Plan, RemovalOptions
from dregutil.plan.outcome import Result, RunResult
from dregutil.registry import WritableRegistry
from dregutil.select.digests import select_digests
from dregutil.select.selection import MatchRules, select_tags
from dregutil.select.selection import Selection as Chosen
from dregutil.select.selector import TagSelector
from remembering import plan_removal
from removing import Killer
from servers.memory import Switches
from trust.at_work import AtWork, Told
from trust.front import Front, Lie
from trust.meddler import Meddler
from trust.odd import ODD
from trust.trouble import (
    LIES,
    MEANWHILE,
    NAME,
    PLACE,
    PUSHES,
    SELECTIONS,
    SOME_TAGS,
    SWITCHES,
    TROUBLE,
    Selection,
    Trouble,
)
from trust.world import TAGS, World

__all__ = ["Trust"]
TAGS_FIRST_PAYS = vars(sweep)["tags_first_pays"]


class Trust(RuleBasedStateMachine):
    """The switches have no effect on the real server; on the one in memory they make it behave like others."""

    url: ClassVar[str]
    front: ClassVar[Front]
    switches: ClassVar[Switches]
    refuses: ClassVar[bool]
    counts: ClassVar[Counter[str]]
    gaps: ClassVar[list[float]]

    def __init__(self) -> None:
        super().__init__()
        self.world = World(self.url, self.counts, self.refuses)
        self.folder = Path(tempfile.mkdtemp(prefix="dregutil-trust-"))
        self.store = RunStore(self.folder)
        self.at_work = AtWork(self.world, self.store, self.front, self.gaps)
        self.plans: list[Plan] = []
        self.cut_off: list[str] = []
        self.unnamed: dict[str, set[tuple[Repository, str]]] = {}  # what a killed run deleted along
        self.damaged: set[str] = set()
        self.partly: set[str] = set()  # runs of which an undo put back some images

    def teardown(self) -> None:
        if isinstance(sys.exc_info()[1], Exception):
            print(*self.world.story, sep="\n")  # kills are not reproducible: the same steps may pass again
        vars(sweep)["tags_first_pays"] = TAGS_FIRST_PAYS
        self.switches.refused.clear()
        self.switches.failing.clear()
        self.world.pusher.close()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _name(self, number: int) -> Repository:
        return self.world.repositories[number]

    # What is pushed

    @initialize(shared=st.booleans(), nested=st.booleans(), sweeps=st.booleans(), switches=SWITCHES)
    def fill(self, shared: bool, nested: bool, sweeps: bool, switches: dict[str, bool]) -> None:
        """Versions, an index with a tagged child, signatures, a digest in both repositories."""
        for switch, value in switches.items():
            setattr(self.switches, switch, value)
        if sweeps:
            vars(sweep)["tags_first_pays"] = lambda _, __: True  # as in a large repository
        for name in (0, 1):
            self.push_image(name, ["1.0"], 0)
            self.push_image(name, ["1.1"], 1 + (0 if shared else name))
            self.push_image(name, ["latest", "stable"], 3)
            self.push_image(name, [], 4)
            self.push_index(name, ["1.2"], [1, 3])
            self.push_referrer(name, 4, by_tag=not shared)
            if nested:
                self.push_index(name, ["2.0"], [4, 0])

    @rule(name=NAME, tags=st.lists(st.sampled_from(TAGS), max_size=2, unique=True), seed=st.integers(0, 5))
    def push_image(self, name: int, tags: list[str], seed: int) -> None:
        self.world.push_image(self._name(name), tags, f"image {seed}")

    @rule(name=NAME, tags=SOME_TAGS, places=st.lists(PLACE, min_size=1, max_size=3))
    def push_index(self, name: int, tags: list[str], places: list[int]) -> None:
        there = self.world.whole(self._name(name))
        if there:
            children = {there[place % len(there)]["digest"]: there[place % len(there)] for place in places}
            self.world.push_index(self._name(name), tags, list(children.values()))

    @rule(name=NAME, tags=SOME_TAGS, kind=st.sampled_from(sorted(ODD)), place=PLACE)
    def push_odd(self, name: int, tags: list[str], kind: str, place: int) -> None:
        there = self.world.whole(self._name(name))
        if there:
            self.world.count(f"pushed: {kind}")
            self.world.push_odd(self._name(name), tags, kind, str(place % 3), there[place % len(there)])

    @rule(name=NAME, place=PLACE, by_tag=st.booleans())
    def push_referrer(self, name: int, place: int, by_tag: bool) -> None:
        there = self.world.whole(self._name(name))
        if there:
            push = self.world.push_signature if by_tag else self.world.push_fallback
            push(self._name(name), there[place % len(there)], place % 3)

    @rule(place=PLACE)
    def copy_off_a_placeholder(self, place: int) -> None:
        """`crane tag` of what a killed run left."""
        for name, here in self.world.tags().items():
            for tag in sorted(here):
                found = self.world.placeholder_on(name, tag) if (name, tag) in self.world.doomed else None
                if found is not None:
                    copy = f"copy-{place % 3}"
                    if (name, copy) not in self.world.must:
                        self.world.copies[name, copy] = self.world.pusher.push_manifest(name, copy, *found)
                        self.world.count("a tag was copied off a placeholder")
                    return

    @rule(seed=st.integers(0, 5))
    def push_over_a_copy(self, seed: int) -> None:
        """As advised if a copy may stand for several images."""
        for name, tag in list(self.world.copies)[:1]:
            self.world.push_image(name, [tag], f"image {seed}")

    # The behaviour of the registry and the disk

    @rule(name=NAME, place=PLACE, status=st.sampled_from([0, 405, 409, 412, 500]))
    def refuse(self, name: int, place: int, status: int) -> None:
        """From now on the DELETE of a manifest is refused, or for 500 processed anyway; 0: no longer."""
        if status == 0:
            self.switches.refused.clear()
            self.switches.failing.clear()
            return
        there = self.world.pushed[self._name(name)]
        refused = self.switches.failing if status == 500 else self.switches.refused
        refused[there[place % len(there)]["digest"]] = status

    @rule(place=st.integers(0, 3), where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
    def damage(self, place: int, where: float, bit: int) -> None:
        """A bit of a record flips: of an interrupted run, if there is one."""
        names = self.cut_off or self.store.names()
        if names and not self.damaged:
            run = names[place % len(names)]
            path = self.folder / "runs" / run / "journal.jsonl"
            raw = bytearray(path.read_bytes())
            if raw:
                raw[int(where * len(raw))] ^= 1 << bit
                path.write_bytes(raw)
                self.damaged.add(run)
                self.world.count("a bit of a record was flipped")

    # What is removed

    @rule(selection=SELECTIONS)
    def plan(self, selection: Selection) -> None:
        """A plan that is applied later, when it may be stale."""
        plan = self._plan(*selection)
        if plan.steps:
            self.plans.append(plan)

    @rule(place=st.integers(0, 5), trouble=TROUBLE)
    def apply_stale(self, place: int, trouble: Trouble) -> None:
        if self.plans:
            self._apply(self.plans.pop(place % len(self.plans)), trouble)

    @rule(selection=SELECTIONS, trouble=TROUBLE)
    def remove(self, selection: Selection, trouble: Trouble) -> None:
        plan = self._plan(*selection)
        if plan.steps:
            self._apply(plan, trouble)

    @rule(name=NAME, places=st.lists(PLACE, min_size=1, max_size=2), with_tags=st.booleans(), trouble=TROUBLE)
    def remove_digests(self, name: int, places: list[int], with_tags: bool, trouble: Trouble) -> None:
        """Of anything that was ever pushed, also to the other repository: images, children, indexes, referrers."""
        known = list(self.world.raws)
        if not known:
            return
        digests = [Digest(known[place * 7 % len(known)]) for place in places]
        plan = self._made(select_digests(self._name(name), digests, with_tags=with_tags), RemovalOptions())
        named = {step.digest for step in plan.steps if step.is_named}
        assert named <= set(digests)
        assert with_tags or not any(step.tags for step in plan.steps if step.is_named)
        if plan.steps:
            self.world.count("a plan of digests")
            self._apply(plan, trouble)

    @rule(selection=SELECTIONS, pushes=PUSHES)
    def remove_while_somebody_pushes(self, selection: Selection, pushes: list[tuple[int, str, int]]) -> None:
        self.remove(selection, Trouble(pushes=pushes))

    @rule(selection=SELECTIONS, pushes=st.one_of(st.just([]), PUSHES), lies=LIES)
    def remove_behind_a_liar(self, selection: Selection, pushes: list[tuple[int, str, int]], lies: list[Lie]) -> None:
        self.remove(selection, Trouble(pushes=pushes, lies=lies))

    @rule(place=st.integers(0, 3), trouble=TROUBLE)
    def resume(self, place: int, trouble: Trouble) -> None:
        if not self.cut_off:
            return
        run = self.cut_off[place % len(self.cut_off)]
        if run in self.partly:
            return  # a run of which something was put back is not resumed
        record = self._record(run)
        if record is None:
            if run not in self.damaged:
                self.cut_off.remove(run)
            return
        self._doom(record.plan)
        unnamed = {key for key in self.unnamed.pop(run, ()) if self._is_lost(*key)}
        result = self.at_work.run(record.plan, Journal(record.folder), record, trouble)
        self.world.count("a resumed run was killed" if result is None else "a run was resumed")
        if result is None:
            return
        self._check_error(result, trouble)
        self._check_result(record.plan, result, trouble)
        if result.is_finished:
            if not trouble.lies and not trouble.pushes and not self.damaged:
                named = {(lost.repository, str(lost.tag)) for lost in result.lost}
                assert unnamed <= named, (unnamed, result.lost)
                self.world.count("a tag that was lost in a kill was named", len(unnamed))
            self._finished(run)

    def _is_lost(self, name: Repository, tag: str) -> bool:
        """Whether a tag is gone, together with the digest it was moved to."""
        if tag in self.world.pusher.tags(name):
            return False
        return not self.world.pusher.has(name, self.world.doomed.get((name, tag), tag))

    @rule(place=st.integers(0, 3), trouble=TROUBLE)
    def undo(self, place: int, trouble: Trouble) -> None:
        self._undo(place, trouble, [])

    @rule(place=st.integers(0, 3), trouble=TROUBLE, images=st.lists(st.integers(0, 9), min_size=1, max_size=2))
    def undo_images(self, place: int, trouble: Trouble, images: list[int]) -> None:
        self._undo(place, trouble, images)

    def _undo(self, place: int, trouble: Trouble, picks: list[int]) -> None:
        """Undo a run, or some of its images."""
        names = self.store.names()
        record = self._record(names[-1 - place % len(names)]) if names else None
        if record is None:
            return
        tags = [(name, tag) for name, ones in removed_by(record).items() for one in ones for tag in one.tags]
        images = [Reference(*tags[pick % len(tags)]) for pick in picks if tags]
        if picks and not images:
            return
        if images:
            self.partly.add(record.run)
            self.world.count("an undo of some images")

        async def back(registry: WritableRegistry) -> UndoRun:
            try:
                found = await plan_undo(registry, record, images)
            except RefusedError:
                self.world.count("an undo of some images was refused: there is a placeholder")
                return UndoRun(())
            Killer(trouble.kill_after).arm(registry, None)
            return await apply_undo(registry, found)

        result, meddler = self.at_work.disturbed(record.plan, trouble, back)
        if result is None:
            self._note_put_back(record)
            self.world.count("an undo was killed")
        self.at_work.settle(meddler, Told(), killed=result is None)
        if result is not None:
            self._check_back(record, result, trouble, meddler, is_whole=not images)

    def _check_back(
        self, record: RunRecord, result: UndoRun, trouble: Trouble, meddler: Meddler, *, is_whole: bool
    ) -> None:
        restored = result.of(UndoResult.RESTORED)
        self.world.count("an undo put something back" if restored else "an undo found nothing to do")
        if not trouble.lies and not meddler.done:
            assert result.error is None or self.damaged, result.error
            assert not result.of(UndoResult.FAILED), result.entries
            # What needs a manifest that another run has removed cannot be restored before that run is undone.
            lost = [why for _, outcome, why in result.entries if outcome == UndoResult.LOST]
            assert self.damaged or all("child" in why or "its blob" in why for why in lost), lost
        if trouble.lies:
            self._note_put_back(record)  # what a wrong answer called a false success may exist
        elsewhere = {(name, str(tag)) for name, tag in result.moved} | meddler.touched
        for entry, outcome, _ in result.entries:
            if outcome not in (UndoResult.RESTORED, UndoResult.THERE):
                continue
            here = self.world.pusher.tags(entry.repository)
            for tag in entry.tags:
                if (entry.repository, str(tag)) not in elsewhere:
                    assert here[tag] == entry.manifest.digest, (entry.repository, tag)
            for found, digest in here.items():
                if digest == entry.manifest.digest and (entry.repository, found) in self.world.doomed:
                    self.world.is_tagged(entry.repository, found, digest)
        if is_whole and not result.is_open and not result.of(UndoResult.FAILED) and record.run in self.cut_off:
            self._finished(record.run)

    def _finished(self, run: str) -> None:
        """What appeared while a run deleted what it needs is complete by now."""
        if run in self.cut_off:
            self.cut_off.remove(run)
        if not self.cut_off and not self.damaged:
            for (name, tag), digest in list(self.world.fragile.items()):
                self.world.is_tagged(name, tag, digest)

    def _note_put_back(self, record: RunRecord) -> None:
        """An undo that was interrupted or got wrong answers: a tag that was removed twice may have its first image.

        If the registry denied what it had accepted, the tag may be on a placeholder that stands for nothing.
        """
        for intent in record.intents:
            here = self.world.pusher.tags(intent.repository)
            for tag in intent.tags:
                if (intent.repository, tag) not in self.world.doomed or tag not in here:
                    continue
                if here[tag] == intent.manifest.digest or self.world.is_on_nothing(intent.repository, tag):
                    self.world.doomed[intent.repository, tag] = here[tag]

    @invariant()
    def what_must_be_there_is_whole(self) -> None:
        self.world.count("steps")
        self.world.check(doomed_too=not self.cut_off and not self.damaged)

    def _plan(self, chosen: list[int], tags: list[str], rules: MatchRules, options: RemovalOptions) -> Plan:
        if self.switches.last_tag_takes:
            options = replace(options, untag=False)  # if killed then, a child is lost until the resume

        names = [self._name(place) for place in chosen]
        return self._made(lambda found: select_tags(found, names, TagSelector.build(tags, [MEANWHILE]), rules), options)

    def _made(self, selection: Chosen | Callable[[Inventory], Chosen], options: RemovalOptions) -> Plan:
        """The plan of a selection, made on the registry and read from its file."""

        async def make(registry: WritableRegistry) -> Plan:
            found = (await crawl(registry, self.world.repositories)).inventory
            chosen = selection(found) if callable(selection) else selection
            return await plan_removal(registry, chosen, found, options)

        made: Plan = self.at_work.with_registry(make)
        plan, _ = decode_plan(encode_plan(made))
        assert plan.steps == made.steps
        return plan

    def _apply(self, plan: Plan, trouble: Trouble) -> None:
        self._doom(plan)
        journal = self.store.new(datetime.now(UTC) + timedelta(days=trouble.clock))
        result = self.at_work.run(plan, journal, None, trouble)
        if result is None:
            self.world.count("a run was killed")
            self.cut_off.append(journal.run)
            if not trouble.lies:
                self.unnamed[journal.run] = self.at_work.lost_in_a_kill
            return
        if not self.damaged:
            assert self.store.headers()[-1].run == journal.run, "whatever the clock says"
        gone = any(outcome.result.is_done for outcome in result.outcomes)
        self.world.count("a run removed something" if gone else "a run removed nothing")
        self._check_error(result, trouble)
        self._check_result(plan, result, trouble)
        if result.is_finished:
            self._compare_journal(journal.run, result)
        else:
            self.cut_off.append(journal.run)

    def _check_error(self, result: RunResult, trouble: Trouble) -> None:
        """Nothing ends a run early except a registry that does not allow deletion, or gives wrong answers."""
        excused = self.switches.refused or trouble.lies or trouble.pushes or self.world.copies
        assert result.error is None or excused, result.error

    def _doom(self, plan: Plan) -> None:
        """Tags in the plan that are on the digest in the plan: they may be removed from now on."""
        for step in plan.steps:
            for tag in step.tags:
                for there in (self.world.must, self.world.fragile):
                    if there.get((step.repository, tag)) == step.digest:
                        self.world.doomed[step.repository, tag] = there.pop((step.repository, tag))

    def _check_result(self, plan: Plan, result: RunResult, trouble: Trouble) -> None:
        """The outcomes are true: what is reported as gone is gone, what is left is complete again."""
        pushed = bool(trouble.pushes)
        for outcome in result.outcomes:
            step = outcome.step
            here = self.world.pusher.tags(step.repository)
            if outcome.result.is_done:
                if pushed or (trouble.lies and outcome.result is Result.GONE):
                    continue  # another client pushed it again, or a wrong answer denied it
                assert not any(here.get(tag) == step.digest for tag in step.tags), outcome
                if step.action is Action.DELETE:
                    assert not self.world.pusher.has(step.repository, step.digest), outcome
                continue
            for tag in step.tags:
                if self.world.doomed.get((step.repository, tag)) == step.digest and here.get(tag) == step.digest:
                    if outcome.is_open or not result.is_finished:
                        continue
                    assert self.world.pusher.is_whole(step.repository, tag), outcome
                    self.world.is_tagged(step.repository, tag, step.digest)

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

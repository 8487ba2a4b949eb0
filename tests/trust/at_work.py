"""A disturbed run: killed, with pushes in between, with wrong answers; and what must hold of each push afterwards."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from dregutil.apply.apply import apply_plan
from dregutil.inventory.known import Known
from dregutil.journal.history import RunHistory
from dregutil.journal.record import RunRecord
from dregutil.journal.store import RunStore
from dregutil.journal.writer import Journal
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import Plan, Step
from dregutil.plan.outcome import RunResult
from dregutil.registry import WritableRegistry, connect_writable
from removing import Killed, Killer
from trust.front import Front
from trust.meddler import Meddler, Push, gap_before, why_lost
from trust.trouble import Trouble
from trust.world import World

__all__ = ["AtWork", "Told"]


@dataclass
class Told:
    """What a run reports about tags that are not as they should be. `doubtful`: about their present digests."""

    named: set[tuple[Repository, str]] = field(default_factory=set)
    vanished: set[tuple[Repository, str]] = field(default_factory=set)
    broken: set[tuple[Repository, str]] = field(default_factory=set)
    doubtful: dict[tuple[Repository, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, result: RunResult) -> Told:
        found = cls({(lost.repository, str(lost.tag)) for lost in result.unmended})
        found.vanished = {(name, str(tag)) for name, tags in result.vanished.items() for tag in tags}
        found.broken = {(one.repository, str(one.tag)) for one in result.broken}
        found.doubtful = {(one.repository, str(one.tag)): str(one.mended) for one in result.lost if one.is_doubtful}
        return found


def step_text(step: Step) -> str:
    needs = f" after {', '.join(map(str, step.needs))}" if step.needs else ""
    return f"{step.number}: {step.action.value} {step.repository} {step.digest[7:14]} ({', '.join(step.tags)}){needs}"


@dataclass
class AtWork:
    """Runs on the registry behind `front`. `gaps`: seconds between a list and a write that took what came after it.
    `lost_in_a_kill`: tags that were moved in the gap before the last kill: a resume names them."""

    world: World
    store: RunStore
    front: Front
    gaps: list[float]
    lost_in_a_kill: set[tuple[Repository, str]] = field(default_factory=set)

    def run(self, plan: Plan, journal: Journal, earlier: RunRecord | None, trouble: Trouble) -> RunResult | None:
        """Apply a plan, or resume it; None if it was killed."""
        seen = {
            name: {Tag(tag): Digest(digest) for tag, digest in tags.items()}
            for name, tags in (self.world.tags() if trouble.lies else {}).items()
        }

        async def work(registry: WritableRegistry) -> RunResult:
            Killer(trouble.kill_after, trouble.torn).arm(registry, journal)
            if earlier is None:
                journal.begin(plan, started=datetime.now(UTC) + timedelta(days=trouble.clock))
            known = Known(tags=seen, indexes=RunHistory(self.store, plan.registry).known_indexes())
            return await apply_plan(registry, plan, known=known, recorder=journal, earlier=earlier)

        self.lost_in_a_kill = set()
        found, meddler = self.disturbed(plan, trouble, work)
        result: RunResult | None = found
        if result is not None:
            self.world.story += [f"  -> {one.step.number} {one.result.value} {one.why}" for one in result.outcomes]
            self.world.story.append(f"  lost {result.lost} vanished {result.vanished} error {result.error!r}")
        told = Told() if result is None else Told.of(result)
        if result is None:
            os.close(journal._file)
        else:
            journal.close(datetime.now(UTC) if result.is_finished else None)
            self.world.count("a tag that was lost was put back", len(result.lost) - len(result.unmended))
        self.settle(meddler, told, killed=result is None)
        return result

    def disturbed(self, plan: Plan, trouble: Trouble, work: Callable[[WritableRegistry], Any]) -> tuple[Any, Meddler]:
        """The result of `work`, or None if it was killed."""
        meddler = Meddler(self.world, plan, trouble.pushes)
        then = {str(name): tags for name, tags in (self.world.tags() if trouble.lies else {}).items()}
        self.front.begin(trouble.lies, then)
        self.front.before_each = meddler.before_each
        self.world.story += [str(trouble), *(f"  {step_text(step)}" for step in plan.steps)]
        for lie in trouble.lies:
            self.world.count(f"lies: {lie.kind}")
        try:
            return self.with_registry(work), meddler
        except Killed:
            return None, meddler
        finally:
            self.front.rest()
            self.world.story += [f"  {event}" for event in self.front.events]

    def settle(self, meddler: Meddler, told: Told, *, killed: bool) -> None:
        """What was pushed in the meantime stays, complete, or is reported; or it fell into the gap that cannot be
        seen."""
        for push in meddler.done:
            key = (push.repository, push.tag)
            here = self.world.pusher.tags(push.repository).get(push.tag)
            for others in (self.world.must, self.world.doomed):
                others.pop(key, None)
            if here == push.digest:
                self._settle_there(push, key, told, killed=killed)
            elif push.kind == "copy" and here is not None:
                self.world.copies[key] = push.digest  # checked with the others
            else:
                self._settle_lost(push, key, here, told, killed=killed)

    def _settle_there(self, push: Push, key: tuple[Repository, str], told: Told, *, killed: bool) -> None:
        if push.kind == "copy":
            self.world.copies[key] = push.digest
        elif self.world.pusher.is_whole(*key) and self.world.pusher.is_whole(push.repository, push.digest):
            self.world.is_tagged(*key, push.digest)
        else:
            assert killed or key in told.broken, (push, self.front.events)
            self.world.count("a tag that is not whole was named, or waits for a resume")
            self.world.fragile[key] = push.digest

    def _settle_lost(
        self,
        push: Push,
        key: tuple[Repository, str],
        here: str | None,
        told: Told,
        *,
        killed: bool,
    ) -> None:
        is_ours = here is not None and killed and self.world.placeholder_on(*key) is not None
        if here is not None and told.doubtful.get(key) == here:
            self.world.count("a tag that is back where it was, and may have been moved, was named")
            self.world.is_tagged(*key, here)
            return
        assert here in (None, push.was_on) or is_ours, (push, here, self.front.events)
        self.world.doomed[key] = push.was_on or push.digest
        if key in told.named:
            self.world.count("a tag that was lost was named")
            return
        # It is not true that somebody else has removed it, but a client that got wrong answers cannot know.
        if key in told.vanished and any(event.lie for event in self.front.events):
            self.world.count("a tag that was lost was called gone")
            return
        why = why_lost(push, self.front.events, killed=killed)
        assert why, (push, here, self.front.events)
        self.world.count(why)
        if killed and push.kind == "moved":
            self.lost_in_a_kill.add(key)
        self.gaps.append(gap_before(push, self.front.events))

    def with_registry(self, work: Callable[[WritableRegistry], Any]) -> Any:
        async def run() -> Any:
            async with connect_writable(self.front.url) as registry:
                return await work(registry)

        return asyncio.run(run())

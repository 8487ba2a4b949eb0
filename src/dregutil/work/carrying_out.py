"""Approved plans. The worker that takes one begins its run, `apply FILE --expect SUM`; every other worker helps with
`apply --resume RUN` while the run has repositories left, and so does the next one if the first dies.

What is removed is decided by `apply` alone: it checks each step again, and claims each repository in the ledger.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dregutil.errors import DregutilError, PlanRefusedError
from dregutil.files import write_private
from dregutil.store.plans import Plans, TakenPlan
from dregutil.work.children import Finished
from dregutil.work.jobs import DONE, INSIST, Bench, is_refused, kept, since
from dregutil.work.site import Registry

__all__ = ["CarryingOut"]

_PAUSE = 30.0  # seconds until a plan is tried again; longer each time
_REST = 15.0  # seconds until this worker joins a run again


class CarryingOut:
    """Carries out the plans of a store."""

    def __init__(self, bench: Bench, plans: Plans, lease: float) -> None:
        self._bench = bench
        self._plans = plans
        self._lease = lease
        self._rests: dict[str, float] = {}

    async def find(self, busy: frozenset[str]) -> tuple[TakenPlan, bool] | None:
        """A plan for this worker, and whether it is its own: otherwise it helps. None if there is nothing to do.

        `busy`: the registries where a run is at work, so that no plan begins. Raises StoreError.
        """
        keys = [key for key in self._bench.site.registries if self._bench.is_free(key, writes=True)]
        taken = await self._bench.asking.ask(self._plans.take, keys, self._bench.holder, busy=busy)
        if taken is not None:
            return taken, True
        now = time.monotonic()
        for one in await self._bench.asking.ask(self._plans.joinable, keys, self._bench.holder):
            if self._rests.get(one.run, 0.0) <= now:
                return one, False
        return None

    async def run(self, plan: TakenPlan, *, is_own: bool) -> None:
        """Carry out a plan that was found."""
        bench, started = self._bench, time.monotonic()
        registry = bench.site.registries[plan.registry]
        with bench.lane(registry.key, "apply", writes=True):
            if not is_own:
                finished = await self._process(registry, plan, None)
                self._rests[plan.run] = time.monotonic() + _REST
                self._count(finished, started)
                return
            renew = partial(self._plans.renew, plan.sum, bench.holder)
            path = bench.site.folder / f"plan-{secrets.token_hex(8)}.jsonl"
            try:
                async with kept(bench.asking, self._lease, renew):
                    if not plan.run:
                        write_private(path, await bench.asking.ask(self._plans.body, plan.sum))
                    finished = await self._process(registry, plan, path)
                self._count(finished, started)
                await self._note(plan, finished)
            except PlanRefusedError as error:
                await bench.asking.insist(INSIST, self._plans.failed, plan.sum, bench.holder, error.message)
            except (DregutilError, OSError) as error:
                why = error.message if isinstance(error, DregutilError) else str(error.strerror)
                await self._again(plan, why)
            finally:
                with contextlib.suppress(OSError):
                    path.unlink()

    async def _process(self, registry: Registry, plan: TakenPlan, path: Path | None) -> Finished:
        words = (
            ("apply", "--resume", plan.run, "-y") if plan.run else ("apply", str(path), f"--expect={plan.sum}", "-y")
        )
        environment: Mapping[str, str] = {
            "DREGUTIL_PLANNED_BY": plan.made_by,
            "DREGUTIL_APPROVED_BY": "\n".join(plan.approved_by),
        }
        self._bench.tell(f"{'continuing ' + plan.run if plan.run else 'carrying out'} the plan {_short(plan.sum)}")
        return await self._bench.children.run(registry, words, environment)

    async def _note(self, plan: TakenPlan, finished: Finished) -> None:
        bench, ended = self._bench, finished.ended
        run, is_finished, _ = await bench.asking.insist(INSIST, self._plans.run_of, plan.sum) or ("", False, 0)
        if is_finished or (not run and ended.code in DONE):
            await bench.asking.insist(INSIST, self._plans.done, plan.sum, bench.holder, left=ended.message)
            bench.tell(f"the plan {_short(plan.sum)} is carried out{f' by {run}' if run else ''}")
        elif finished.was_stopped:
            await bench.asking.insist(INSIST, self._plans.put_back, plan.sum, bench.holder)
            bench.tell(f"the plan {_short(plan.sum)} was stopped; another worker continues it")
        elif not run and is_refused(ended):
            await bench.asking.insist(INSIST, self._plans.failed, plan.sum, bench.holder, ended.message)
            bench.tell(f"the plan {_short(plan.sum)} failed: {ended.message}")
        else:
            await self._again(plan, ended.message)

    async def _again(self, plan: TakenPlan, why: str) -> None:
        """Leave it to whoever comes next; what is missing may be there then."""
        bench = self._bench
        await bench.asking.insist(INSIST, self._plans.put_back, plan.sum, bench.holder, why=why, pause=_PAUSE)
        bench.tell(f"the plan {_short(plan.sum)} is tried again: {why or 'repositories are left'}")

    def _count(self, finished: Finished, started: float) -> None:
        is_done = finished.ended.code in DONE
        result = "done" if is_done else "stopped" if finished.was_stopped else "failed"
        self._bench.account.ended("apply", result, since(started))


def _short(sum_: str) -> str:
    return sum_.removeprefix("sha256:")[:12]

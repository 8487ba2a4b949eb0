"""The ticks of schedules: each is a process of the scheduled command, with the arguments of this worker's own
configuration."""

from __future__ import annotations

import time
from functools import partial

from dregutil.store.workers import Tick, Workers
from dregutil.work.jobs import DONE, INSIST, Bench, kept, since

__all__ = ["Ticking"]

_WRITING = ("cleanup", "collect")


class Ticking:
    """Carries out ticks. `workers` is the store."""

    def __init__(self, bench: Bench, workers: Workers) -> None:
        self._bench = bench
        self._workers = workers

    def may_begin(self, tick: Tick) -> bool:
        """Whether this worker could carry out a tick now, if it got it."""
        schedule = self._bench.site.schedules.get(tick.schedule)
        if schedule is None or schedule.run not in self._bench.site.kinds:
            return False
        key = self._bench.site.registry_of[tick.schedule].key
        return self._bench.is_free(key, writes=schedule.run in _WRITING)

    def writes(self, tick: Tick) -> bool:
        """Whether a tick is of a command that writes to its registry."""
        return self._bench.site.schedules[tick.schedule].run in _WRITING

    async def run(self, tick: Tick) -> bool:
        """Carry out a tick, if it can be claimed; returns whether it was claimed. Raises StoreError before that."""
        bench = self._bench
        schedule = bench.site.schedules[tick.schedule]
        registry = bench.site.registry_of[tick.schedule]
        with bench.lane(registry.key, schedule.run, writes=schedule.run in _WRITING):
            if not await bench.asking.ask(self._workers.claim, tick, bench.holder):
                return False
            started = time.monotonic()
            renew = partial(self._workers.renew, tick, bench.holder)
            try:
                async with kept(bench.asking, self._workers.lease, renew):
                    finished = await bench.children.run(registry, (schedule.run, *schedule.args), {})
            except OSError as error:
                await self._end(tick, schedule.run, "failed", error.strerror or str(error), started)
                return True
            ended = finished.ended
            if ended.code in DONE:
                await self._end(tick, schedule.run, "done", "", started)
            elif finished.was_stopped:
                await bench.asking.insist(INSIST, self._workers.put_back, tick, bench.holder)
                bench.account.ended(schedule.run, "stopped", since(started))
                bench.tell(f"{schedule.run} of schedule {tick.schedule} was stopped; another worker carries it out")
            else:
                await self._end(tick, schedule.run, "failed", ended.message, started)
        return True

    async def _end(self, tick: Tick, kind: str, result: str, why: str, started: float) -> None:
        bench, seconds = self._bench, since(started)
        bench.account.ended(kind, result, seconds)
        what = f"{kind} of schedule {tick.schedule}"
        bench.tell(f"{what} failed: {why}" if result == "failed" else f"{what} is done, in {seconds:.1f} s")
        state = "failed" if result == "failed" else "done"
        await bench.asking.insist(INSIST, self._workers.end, tick, bench.holder, state, why)  # type: ignore[arg-type]

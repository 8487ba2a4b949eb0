"""The ticks of schedules: each is a process of the scheduled command, with the arguments of this worker's own
configuration. A cleanup that was cut off in the middle is continued, `apply --resume RUN`, and not begun anew."""

from __future__ import annotations

import time
from functools import partial

from dregutil.errors import StoreError
from dregutil.store.workers import Tick, Workers
from dregutil.work.children import Finished
from dregutil.work.jobs import DONE, INSIST, Bench, is_refused, kept, since

__all__ = ["Ticking"]

_WRITING = ("cleanup", "collect")
_PAUSE = 30.0  # seconds until a run that was cut off is continued


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
                    finished = await self._process(tick)
                    if finished is not None:
                        await self._note(tick, finished, started)
                        return True
            except OSError as error:
                await self._end(tick, schedule.run, "failed", error.strerror or str(error), started)
                return True
            except StoreError as error:
                await self._again(tick, error.message, started)
                return True
            await self._end(tick, schedule.run, "done", "", started)
        return True

    async def give_up(self) -> None:
        """Say which ticks are carried out no more, and what is left of them. Raises StoreError."""
        found = await self._bench.asking.ask(self._workers.give_up, list(self._bench.site.schedules))
        for tick, run in found:
            kind = self._bench.site.schedules[tick.schedule].run
            why = f"its run {run} is unfinished; `apply --resume {run}` continues it" if run else "its worker died"
            self._bench.tell(f"{kind} of schedule {tick.schedule} failed, and is not tried again: {why}")

    async def _process(self, tick: Tick) -> Finished | None:
        """Carry out the command of a tick, or continue the run that it has begun; None if that is finished."""
        bench, schedule = self._bench, self._bench.site.schedules[tick.schedule]
        registry = bench.site.registry_of[tick.schedule]
        run, is_finished = await bench.asking.ask(self._workers.run_of, tick)
        if not run:
            named = {"DREGUTIL_SCHEDULED": f"{tick.at!r} {tick.schedule}"}
            return await bench.children.run(registry, (schedule.run, *schedule.args), named)
        if is_finished:
            return None
        bench.tell(f"continuing {run} of schedule {tick.schedule}")
        return await bench.children.run(registry, ("apply", "--resume", run, "-y"), {})

    async def _note(self, tick: Tick, finished: Finished, started: float) -> None:
        bench, ended = self._bench, finished.ended
        kind = bench.site.schedules[tick.schedule].run
        run, is_finished = await bench.asking.insist(INSIST, self._workers.run_of, tick) or ("", False)
        is_left = bool(run) and not is_finished and not is_refused(ended)
        is_cut_off = is_left and (ended.code not in DONE or bool(ended.message))  # else --max-time is over
        if finished.was_stopped and (is_cut_off or ended.code not in DONE):
            await bench.asking.insist(INSIST, self._workers.put_back, tick, bench.holder)
            bench.account.ended(kind, "stopped", since(started))
            bench.tell(f"{kind} of schedule {tick.schedule} was stopped; another worker carries it out")
        elif is_cut_off:
            await self._again(tick, ended.message, started)
        elif ended.code in DONE:
            await self._end(tick, kind, "done", "", started)
        else:
            await self._end(tick, kind, "failed", ended.message, started)

    async def _again(self, tick: Tick, why: str, started: float) -> None:
        bench, kind = self._bench, self._bench.site.schedules[tick.schedule].run
        pause = min(_PAUSE, self._workers.lease)
        bench.account.ended(kind, "failed", since(started))
        bench.tell(f"{kind} of schedule {tick.schedule} was cut off, and is continued: {why}")
        await bench.asking.insist(INSIST, self._workers.again, tick, bench.holder, why, pause=pause)

    async def _end(self, tick: Tick, kind: str, result: str, why: str, started: float) -> None:
        bench, seconds = self._bench, since(started)
        bench.account.ended(kind, result, seconds)
        what = f"{kind} of schedule {tick.schedule}"
        bench.tell(f"{what} failed: {why}" if result == "failed" else f"{what} is done, in {seconds:.1f} s")
        state = "failed" if result == "failed" else "done"
        await bench.asking.insist(INSIST, self._workers.end, tick, bench.holder, state, why)  # type: ignore[arg-type]

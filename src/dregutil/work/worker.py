"""A worker, from its start to its end: a round every second looks what is to be done, and begins it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING

from dregutil.errors import StoreError
from dregutil.store.database import open_database
from dregutil.store.migrations import check_version, migrate
from dregutil.store.plans import Plans
from dregutil.store.workers import RegistryState, Tick, Workers
from dregutil.work.account import Account
from dregutil.work.asking import Asking
from dregutil.work.carrying_out import CarryingOut
from dregutil.work.children import Children
from dregutil.work.jobs import Bench
from dregutil.work.listening import listening
from dregutil.work.pace import Paces
from dregutil.work.schedule import timetables
from dregutil.work.site import Site
from dregutil.work.ticking import Ticking

if TYPE_CHECKING:
    from dregutil.work.queue import Queue

__all__ = ["Worker", "run"]

ROUND = 1.0  # seconds between two looks
LEASE = 60.0  # seconds that a job is its worker's after its last sign of life
_KILLED = 3.0  # seconds to notice that jobs were killed
_LATEST = 8.0  # seconds after the grace period until the process ends, whatever waits; the chart gives it ten
_SWEEP = 60.0  # seconds between two looks for what dead workers left


class Worker:
    """One worker. `lease`: seconds after which the jobs of a dead worker are another one's."""

    def __init__(self, site: Site, tell: Callable[[str], None], *, lease: float = LEASE) -> None:
        """Raises UsageError for schedules that cannot be used, StoreError for a store without a library."""
        self._site = site
        self._tell = tell
        self._times = timetables(site.schedules)
        self._known: dict[str, float] = {}
        self._asking = Asking(open_database(site.address))
        self._workers = Workers(self._asking.database, lease=lease)
        self._plans = Plans(self._asking.database, lease=lease)
        self._account = Account(paused={one.name: False for one in site.registries.values()})
        self._paces = Paces(site)
        self._children = Children(site, self._paces.environment)
        holder = f"worker:{secrets.token_hex(8)}"  # no name of a machine: two workers may have the same
        self._bench = Bench(site, self._asking, self._children, self._account, holder, tell)
        self._ticking = Ticking(self._bench, self._workers)
        self._carrying_out = CarryingOut(self._bench, self._plans, lease)
        self._tasks: set[asyncio.Task[None]] = set()
        self._queue: Queue | None = None
        self._next_beat = self._next_sweep = 0.0
        self._was_unreachable = False

    async def run(self, stop: asyncio.Event, hurry: asyncio.Event, on_ready: Callable[[str], None]) -> None:
        """Work until `stop`; then end all jobs in good order, and with `hurry` or after the grace period at once.

        `on_ready` gets the address of `/healthz`. Raises StoreError if the store cannot be used at the start, and
        UsageError.
        """
        try:
            await self._asking.ask(self._prepare)
        except BaseException:
            self._asking.close()
            raise
        site, ended = self._site, asyncio.Event()
        async with listening(site.host, site.port, self._account, self._asking, self._workers) as address:
            on_ready(address)
            queue = self._begin_queue(ended)
            try:
                while not stop.is_set():
                    await self._round()
                    with contextlib.suppress(TimeoutError):
                        await asyncio.wait_for(stop.wait(), ROUND)
            finally:
                ended.set()
                await self._end(hurry, queue)
        self._paces.remove()
        self._asking.close()

    def _prepare(self) -> None:
        """Bring the tables up to this program's version, if the role may; otherwise they must be."""
        try:
            migrate(self._asking.database)
        except StoreError:
            check_version(self._asking.database)

    def _begin_queue(self, ended: asyncio.Event) -> asyncio.Task[None] | None:
        # A SQLite store has none. Behind a pooler nothing is told to who listens, and what is set for a connection is
        # lost: there this worker claims what is due, as it does while the queue is not connected.
        if not self._site.address.is_postgresql or not self._site.schedules or self._asking.database.is_pooled:
            return None
        from dregutil.work.queue import Queue

        self._queue = Queue(self._site.address, self._site.kinds, self._handed_out)
        return asyncio.create_task(self._queue.serve(ended))

    async def _end(self, hurry: asyncio.Event, queue: asyncio.Task[None] | None) -> None:
        self._bench.is_ending = True
        self._children.stop()
        tasks = [*self._tasks, *([queue] if queue is not None else [])]
        if tasks:
            hurrying = asyncio.create_task(hurry.wait())
            end = time.monotonic() + self._site.grace
            everything = asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.wait((everything, hurrying), timeout=self._site.grace, return_when=asyncio.FIRST_COMPLETED)
            hurrying.cancel()
            if not everything.done():
                why = "another signal" if time.monotonic() < end else "the grace period is over"
                self._tell(f"{why}: the jobs that are left are ended at once; they can be continued")
                self._children.kill()
                await asyncio.wait((everything,), timeout=_KILLED)
                everything.cancel()
                await asyncio.wait((everything,), timeout=_KILLED)
        await self._asking.insist(0.0, self._workers.leave, self._bench.holder)

    async def _round(self) -> None:
        self._account.round = time.monotonic()
        try:
            await self._look()
        except StoreError as error:
            if not self._was_unreachable:
                self._tell(f"the store cannot be used: {error.message}")
            self._was_unreachable = True
        else:
            if self._was_unreachable:
                self._tell("the store can be used again")
            self._was_unreachable = False

    async def _look(self) -> None:
        ask, workers, keys = self._asking.ask, self._workers, list(self._site.registries)
        now = await ask(workers.now)
        if time.monotonic() >= self._next_beat:
            self._account.workers = await ask(workers.beat, self._bench.holder)
            self._account.succeeded = {
                name: at for name, at in (await ask(workers.succeeded)).items() if name in self._site.schedules
            }
            self._next_beat = time.monotonic() + workers.lease / 3
        states = await ask(workers.registries, keys)
        self._account.plans = await ask(self._plans.counts, keys)
        self._account.leases = await ask(workers.held, keys)
        self._obey(states)
        busy = frozenset(key for key, state in states.items() if state.is_busy)
        await self._schedule(now, busy)
        if time.monotonic() >= self._next_sweep:
            self._next_sweep = time.monotonic() + min(_SWEEP, workers.lease / 2)
            await self._sweep()
        if "apply" in self._site.kinds:
            found = await self._carrying_out.find(busy)
            if found is not None:
                plan, is_own = found
                self._begin(self._carrying_out.run(plan, is_own=is_own))

    def _obey(self, states: Mapping[str, RegistryState]) -> None:
        """Pause what is paused, and give each process its part of the pace."""
        paused = set()
        for key, state in states.items():
            name = self._site.registries[key].name
            if state.paused_by:
                paused.add(key)
                if key not in self._bench.paused:
                    self._tell(f"{name} is paused by {state.paused_by}: nothing begins there")
                self._children.stop(key)
            elif key in self._bench.paused:
                self._tell(f"{name} is no longer paused")
            self._paces.set(key, None if state.pace is None else state.pace / max(1, self._account.workers))
        self._bench.paused = frozenset(paused)
        self._account.paused = {one.name: key in paused for key, one in self._site.registries.items()}

    async def _schedule(self, now: float, busy: frozenset[str]) -> None:
        """Put what is due into the queue, or begin it here if there is none, or it is not connected."""
        for name, schedule in self._site.schedules.items():
            if name not in self._known:
                self._known[name] = await self._asking.ask(self._workers.known, name)
            at = self._times[name].due(now, self._known[name])
            if at is None:
                continue
            if self._queue is not None and self._queue.is_connected:
                await self._queue.defer(schedule, round(at))
                self._known[name] = at
            elif await self._claimable(Tick(name, at), busy):
                self._begin(self._claimed(Tick(name, at)))

    async def _sweep(self) -> None:
        """Begin what dead workers left, and remove what is old."""
        await self._asking.ask(self._workers.forget_old)
        await self._asking.ask(self._plans.forget_old)
        if self._queue is not None:
            await self._queue.sweep()
        await self._ticking.give_up()
        for tick in await self._asking.ask(self._workers.lapsed, list(self._site.schedules)):
            if self._ticking.may_begin(tick):
                self._begin(self._claimed(tick))

    async def _claimable(self, tick: Tick, busy: frozenset[str]) -> bool:
        """Whether a tick may begin here now; what another worker has done meanwhile is noted."""
        if not self._ticking.may_begin(tick):
            return False
        if self._ticking.writes(tick) and self._site.registry_of[tick.schedule].key in busy:
            return False
        self._known[tick.schedule] = await self._asking.ask(self._workers.known, tick.schedule)
        return tick.at > self._known[tick.schedule]

    async def _claimed(self, tick: Tick) -> None:
        with contextlib.suppress(StoreError):  # it stays due
            if await self._ticking.run(tick):
                self._known[tick.schedule] = max(tick.at, self._known.get(tick.schedule, 0.0))

    async def _handed_out(self, name: str, at: int) -> None:
        """Carry out a tick that the queue hands out. Raises NotNowError for one that cannot begin here now."""
        from dregutil.work.queue import NotNowError

        tick = Tick(name, float(at))
        if name not in self._site.schedules:
            return  # of a configuration that is no longer
        try:
            state = await self._asking.ask(self._workers.registries, [self._site.registry_of[name].key])
            is_busy = self._ticking.writes(tick) and any(one.is_busy for one in state.values())
            if is_busy or not self._ticking.may_begin(tick):
                raise NotNowError
            await self._ticking.run(tick)
        except StoreError:
            raise NotNowError from None
        if self._bench.is_ending or self._site.registry_of[name].key in self._bench.paused:
            raise NotNowError  # it was stopped, perhaps

    def _begin(self, job: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(job)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell(f"a job failed: {type(error).__name__}: {error}")


def run(site: Site, tell: Callable[[str], None], on_ready: Callable[[str], None], *, lease: float = LEASE) -> None:
    """Work until SIGTERM, SIGINT or SIGHUP; a second one ends the jobs at once. Raises UsageError and StoreError."""

    async def until_stopped() -> None:
        stop, hurry, loop = asyncio.Event(), asyncio.Event(), asyncio.get_running_loop()

        def end() -> None:
            if stop.is_set():
                hurry.set()
            _end_within((0.0 if stop.is_set() else site.grace) + _LATEST)
            stop.set()

        for one in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(one) is not signal.SIG_IGN:  # as with nohup
                loop.add_signal_handler(one, end)
        await Worker(site, tell, lease=lease).run(stop, hurry, on_ready)

    asyncio.run(until_stopped())


def _end_within(seconds: float) -> None:
    """End this process after so many seconds, if it is still there: a store that hangs keeps threads and tasks waiting
    that nothing else ends. What its leases are of is another worker's then."""
    latest = threading.Timer(seconds, os._exit, (1,))
    latest.daemon = True
    latest.start()

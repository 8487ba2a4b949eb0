"""The queue of ticks on PostgreSQL: procrastinate defers each once, and hands it to one worker that listens.

Nothing relies on it: a tick is carried out by whoever claims its row. The jobs of workers that died are given out again
by us, and ended ones are deleted.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import procrastinate
from procrastinate import exceptions
from procrastinate.jobs import Job
from procrastinate.retry import BaseRetryStrategy, RetryDecision
from psycopg_pool import PoolTimeout

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress
from dregutil.work.schedule import Schedule

__all__ = ["NotNowError", "Queue"]

_TASK = "tick"
_AT_ONCE = 8  # ticks that one worker carries out
_SILENT = 30.0  # seconds without a heartbeat until a worker's jobs are given out again
_PATIENCE = 10.0  # seconds for a connection
_PAUSE = 2.0  # seconds until the queue is connected again
_LATER = 5  # seconds until a tick that could not begin is given out again


class NotNowError(Exception):
    """A tick cannot begin here now."""


class _Again(BaseRetryStrategy):
    def get_retry_decision(self, *, exception: BaseException, job: Job) -> RetryDecision | None:  # noqa: ARG002
        return RetryDecision(retry_in={"seconds": _LATER}) if isinstance(exception, NotNowError) else None


class Queue:
    """`carry_out` gets the name of a schedule and a time; it raises NotNowError for one to be given out again."""

    def __init__(
        self, address: StoreAddress, kinds: Collection[str], carry_out: Callable[[str, int], Awaitable[None]]
    ) -> None:
        for name in ("procrastinate", "psycopg.pool"):  # what ends is begun again, and said by the worker
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._address = address
        self._kinds = sorted(kinds)
        self._carry_out = carry_out
        self._app: procrastinate.App | None = None

    async def serve(self, stop: asyncio.Event) -> None:
        """Hand out ticks until `stop`, and wait for those that are being carried out then. A lost connection is made
        again."""
        while not stop.is_set():
            app = self._made()
            with contextlib.suppress(exceptions.ProcrastinateException, PoolTimeout, OSError):
                async with app.open_async():
                    self._app = app
                    await self._work(app, stop)
            self._app = None
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), _PAUSE)

    @property
    def is_connected(self) -> bool:
        return self._app is not None

    async def defer(self, schedule: Schedule, at: int) -> None:
        """Put a tick into the queue, once, however many workers do so. Raises StoreError."""
        if self._app is None:
            raise StoreError("the queue is not connected")
        args: dict[str, Any] = {"schedule": schedule.name, "timestamp": at}
        deferrer = self._app.tasks[_TASK].configure(queue=schedule.run, task_kwargs=args)
        try:
            await deferrer.job_manager.defer_periodic_job(deferrer.job, schedule.name, at)
        except (exceptions.ProcrastinateException, PoolTimeout, OSError) as error:
            raise StoreError(f"a tick could not be put into the queue: {error}") from error

    async def sweep(self) -> None:
        """Give out again what workers that died had, and forget what has failed."""
        if self._app is None:
            return
        manager = self._app.job_manager
        with contextlib.suppress(exceptions.ProcrastinateException, PoolTimeout, OSError):
            for job in await manager.get_stalled_jobs(seconds_since_heartbeat=_SILENT):
                await manager.retry_job(job)
            await manager.prune_stalled_workers(seconds_since_heartbeat=_SILENT)
            await manager.delete_old_jobs(
                nb_hours=24, include_failed=True, include_cancelled=True, include_aborted=True
            )

    def _made(self) -> procrastinate.App:
        options = "-c search_path=dregutil,public -c timezone=UTC"
        settings: dict[str, Any] = {"options": options, "application_name": "dregutil work", "connect_timeout": 10}
        password = self._address.password()
        if password is not None:
            settings["password"] = password
        connector = procrastinate.PsycopgConnector(
            conninfo=self._address.url, kwargs=settings, min_size=1, max_size=4, timeout=_PATIENCE
        )
        app = procrastinate.App(connector=connector)

        async def tick(timestamp: int, schedule: str) -> None:
            await self._carry_out(schedule, timestamp)

        app.task(name=_TASK, retry=_Again())(tick)
        return app

    async def _work(self, app: procrastinate.App, stop: asyncio.Event) -> None:
        worker = asyncio.create_task(
            app.run_worker_async(
                queues=self._kinds,
                concurrency=_AT_ONCE,
                fetch_job_polling_interval=2.0,
                delete_jobs="always",
                install_signal_handlers=False,
                stalled_worker_timeout=_SILENT,
            )
        )
        stopping = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((worker, stopping), return_when=asyncio.FIRST_COMPLETED)
            worker.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await worker
        finally:
            stopping.cancel()

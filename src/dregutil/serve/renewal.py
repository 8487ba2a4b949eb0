"""Keeps what is shown fresh: reads the registry again, makes the report again, and what follows from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

from dregutil.serve.answers import RequestError
from dregutil.serve.child import Ended
from dregutil.serve.events import Events
from dregutil.serve.jobs import Jobs
from dregutil.serve.model import Job, JobKind
from dregutil.serve.reported import Reported

__all__ = ["Renewal"]

_READ_CODES = (0, 3)  # 3: some repositories could not be read, and the rest was
_SERVER = "dregutil serve"
_AGAIN_AFTER = 300.0  # seconds, the least between two readings
_LOOKED_EVERY = 10.0  # seconds
_ALL = "read all of the registry again"


class Renewal:
    """The work in the background. `cache` is the file of the tags, None without one; `every` in seconds, 0: only when
    asked for. `after` holds what is called, in order, once a new report is there."""

    def __init__(self, jobs: Jobs, events: Events, reported: Reported, *, cache: Path | None, every: float) -> None:
        self.after: list[Callable[[], Awaitable[object]]] = []
        self._jobs = jobs
        self._events = events
        self._reported = reported
        self._cache = cache
        self._every = every
        self._seen = 0.0  # when the file of the tags had been written last, as far as this server has to do with it
        self._is_stale = False  # another program wrote it, and no report was begun since
        self._running: set[str] = set()  # jobs of this server
        jobs.watchers.append(self._watch)
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Refresh at once if what is known is too old, and then again and again; and make the report again once another
        program has changed the file of the tags, as a cleanup by night does. Until this task is cancelled."""
        while True:
            if self._every and not self._seconds_left():
                # Without a file of tags, each report reads the registry.
                await self._attempt(self.report if self._cache is None else self.refresh)
                await asyncio.sleep(min(self._every, _AGAIN_AFTER))  # also if it failed, or the file was not written
            elif self._reported.body is None or self._is_behind():
                await self._attempt(self.report)
            await asyncio.sleep(_LOOKED_EVERY)

    async def refresh(self, by: str = _SERVER, *, full: bool = False) -> Job:
        """Begin to read the registry again; return the job, or the one that does so already. Raises RequestError."""
        waiting = self._jobs.pending("refresh")
        words = ("refresh", "--full") if full else ("refresh",)
        if waiting is not None and (not full or waiting.what == _ALL):
            return waiting
        return await self._jobs.start(
            "refresh",
            _ALL if full else "read the registry again",
            by,
            words,
            then=self._on_read,
            done_codes=_READ_CODES,
        )

    async def report(self, by: str = _SERVER, *, check: bool = False) -> Job:
        """Begin to make the report again; return the job, or the one that does so already. Raises RequestError."""
        kind: JobKind = "check" if check else "report"
        what = "look for what is broken" if check else "make the report"
        waiting = self._jobs.pending(kind)
        if waiting is not None and waiting.state == "waiting":
            return waiting
        out = self._reported.path.with_name("work") / f"report-{time.monotonic_ns()}.json"
        words = ["report", "--no-plan", "--format", "json", "-o", str(out), *(["--check"] if check else [])]

        async def then(_ended: Ended) -> None:
            self._reported.replace(out)
            self._events.changed("report")
            await self.follow()

        return await self._jobs.start(kind, what, by, words, then=then, done_codes=_READ_CODES)

    async def follow(self) -> None:
        """Make what follows from a report."""
        for begin in self.after:
            await begin()

    def changed(self) -> None:
        """A run has ended, or the registry was read: the report is made again."""

        async def attempt() -> None:
            with suppress(RequestError):  # the server ends
                await self.report()

        task = asyncio.create_task(attempt())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _on_read(self, _ended: Ended) -> None:
        self.changed()

    async def _attempt(self, begin: Callable[[], Awaitable[Job]]) -> None:
        with suppress(RequestError):  # too many jobs wait
            await self._jobs.ended(await begin())

    def _is_behind(self) -> bool:
        """Whether another program has written the file of the tags after the last report was begun."""
        is_busy = (
            self._running or self._jobs.is_writing or self._jobs.pending("refresh") or self._jobs.pending("report")
        )
        return not is_busy and not self._tasks and (self._is_stale or self._is_written_by_others())

    def _is_written_by_others(self) -> bool:
        changed, made = self._changed_at(), self._reported.made
        return made is not None and changed > made.timestamp() and changed != self._seen

    def _watch(self, job: Job) -> None:
        """Jobs write the file of the tags as well, a plan after each report does: only what was written while none of
        them ran is another program's, or each round would begin the next one."""
        if job.state == "running" and job.id not in self._running:
            if not self._running and self._is_written_by_others():
                self._is_stale = True
            if job.kind in ("report", "check"):  # made from what is there now
                self._is_stale = False
            self._running.add(job.id)
        elif job.state in ("done", "failed") and job.id in self._running:
            self._running.discard(job.id)
            self._seen = self._changed_at()

    def _changed_at(self) -> float:
        """When the file of the tags was written, in seconds since 1970; 0 if there is none."""
        try:
            return 0.0 if self._cache is None else self._cache.stat().st_mtime
        except OSError:
            return 0.0

    def _seconds_left(self) -> float:
        """Until what is known is too old."""
        made = self._reported.made
        read = self._changed_at() if self._cache is not None else made.timestamp() if made else 0.0
        return max(0.0, read + self._every - time.time())

"""Jobs: commands of this program that the server runs as processes of their own, and what is known of them.

There is a lane for those that change the registry, one for those that read it, and one for holds; in each lane one job
runs at a time, and the others wait. What a process prints goes to a file, its progress comes through a pipe, and of its
errors the last one becomes the job's message. No secret is in a job's command line.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from dregutil.errors import DregutilError
from dregutil.journal.actor import host_name
from dregutil.pages.label import label
from dregutil.serve.answers import RequestError
from dregutil.serve.child import Child, Ended, left
from dregutil.serve.events import Events
from dregutil.serve.model import Job, JobKind
from dregutil.serve.program import Program

__all__ = ["Ended", "Jobs", "Then"]

Then = Callable[[Ended], Awaitable[dict[str, str] | None]]
"""What follows a process that ended well: it returns the job's `result`, and may raise DregutilError."""

_WRITING: frozenset[JobKind] = frozenset(("apply", "undo", "resume"))
_MOST_KEPT = 100
_MOST_WAITING = 50
_LONGEST = 1000  # characters of a message
_SHOWN_WORDS = 30  # of a command
_DEFECT = "this is a defect; the server's log says more"

_log = logging.getLogger("dregutil.serve")


@dataclass(slots=True)
class _Work:
    """A job that has not ended."""

    job: Job
    words: Sequence[str]
    lane: str
    done_codes: Collection[int]
    environment: dict[str, str]
    then: Then | None
    child: Child | None = None
    is_cancelled: bool = False


class Jobs:
    """The jobs of this server. `folder` is for what they print. `watchers` are called with each change of a job."""

    def __init__(self, program: Program, folder: Path, events: Events) -> None:
        self._program = program
        self._folder = folder
        self._events = events
        self.watchers: list[Callable[[Job], None]] = []
        self._jobs: OrderedDict[str, Job] = OrderedDict()
        self._works: dict[str, _Work] = {}
        self._lanes: dict[str, asyncio.Lock] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._is_ending = False

    @property
    def all(self) -> list[Job]:
        """The newest first."""
        return list(reversed(self._jobs.values()))

    @property
    def is_writing(self) -> bool:
        """Whether a job that changes the registry runs or waits."""
        return any(work.lane == "write" for work in self._works.values())

    def get(self, job: str) -> Job:
        """Raises RequestError (404)."""
        if job not in self._jobs:
            raise RequestError(404, "there is no such job", "jobs are kept while the server runs, the last 100 of them")
        return self._jobs[job]

    def pending(self, kind: JobKind) -> Job | None:
        """A job of this kind that waits or runs."""
        return next((work.job for work in self._works.values() if work.job.kind == kind), None)

    async def start(
        self,
        kind: JobKind,
        what: str,
        by: str,
        argv: Sequence[str],
        *,
        then: Then | None = None,
        done_codes: Collection[int] = (0,),
        environment: dict[str, str] | None = None,
    ) -> Job:
        """Start a command, or let it wait for the others of its lane; return the job as it is then.

        `argv` holds the command and its options, without the global ones: `("refresh", "--full")`; `what` says in a few
        words what it is, `by` is the name of who wants it. With an exit code of `done_codes` the job is done once
        `then` has returned, otherwise it has failed. `environment` is added to that of the process. Raises RequestError
        (503) at the end of the server, or if too many jobs wait.
        """
        if self._is_ending:
            raise RequestError(503, "the server is ending: no new work begins", "try again when it runs again")
        if len(self._works) >= _MOST_WAITING:
            raise RequestError(503, "too many jobs are waiting", "try again when some of them have ended")
        job = Job(
            id=secrets.token_hex(8),
            kind=kind,
            what=label(what),
            by=label(by),
            command=label(self._program.shown(_shortened(argv)), _LONGEST),
        )
        lane = "write" if kind in _WRITING else "hold" if kind == "hold" else "read"
        work = _Work(job, argv, lane, done_codes, environment or {}, then)
        self._works[job.id] = work
        self._put(work)
        self._tasks[job.id] = asyncio.create_task(self._run(work), name=f"job {kind}")
        return self._jobs[job.id]

    async def ended(self, job: Job) -> Job:
        """Wait for the end of a job; return it as it is then."""
        task = self._tasks.get(job.id)
        if task is not None:
            await asyncio.wait([task])
        return self.get(job.id)

    def cancel(self, job: str) -> Job:
        """End a job as Ctrl-C would, or let one that waits not begin; return it as it is. Raises RequestError (404)."""
        work = self._works.get(job)
        if work is not None:
            self._stop(work)
        return self.get(job)

    async def close(self) -> None:
        """Begin nothing new, end what runs as Ctrl-C would, and wait for that."""
        self._is_ending = True
        for work in tuple(self._works.values()):
            self._stop(work)
        if self._tasks:
            await asyncio.wait(tuple(self._tasks.values()))

    def _stop(self, work: _Work) -> None:
        if not work.is_cancelled:  # a second signal would end a run in the middle
            work.is_cancelled = True
            if work.child is not None:
                work.child.signal(signal.SIGINT)

    async def _run(self, work: _Work) -> None:
        try:
            async with self._lanes.setdefault(work.lane, asyncio.Lock()):
                if work.is_cancelled:
                    self._put(work, state="failed", ended=_now(), message="it was cancelled before it began")
                    return
                self._put(work, state="running", started=_now())
                await self._carry_out(work)
        finally:
            del self._works[work.job.id], self._tasks[work.job.id]

    async def _carry_out(self, work: _Work) -> None:
        def on_progress(done: int, total: int, noun: str) -> None:
            self._put(work, done=done, total=total, noun=label(noun))

        actor = f"{work.job.by}@{host_name()}"  # records name who wanted it
        environment = {**self._program.environment, "DREGUTIL_ACTOR": actor, **work.environment}
        work.child = Child(self._program.argv(work.words), environment, self._folder / work.job.id, on_progress)
        try:
            ended = await work.child.run()
            if ended.code not in work.done_codes:
                self._put(work, state="failed", ended=_now(), **_said(ended.message, ended.advice))
                return
            result = None if work.then is None else await work.then(ended)
            message = ended.message or (left(ended.errors) if work.lane == "write" else "")
            self._put(work, state="done", ended=_now(), result=result, **_said(message, ended.advice))
        except DregutilError as error:
            self._put(work, state="failed", ended=_now(), **_said(error.message, error.advice))
        except OSError as error:
            self._put(work, state="failed", ended=_now(), **_said(f"the process failed: {error.strerror}", ""))
        except Exception as error:  # noqa: BLE001 - what follows a process is not lost without a word
            _log.error("a job failed: %s: %s", type(error).__name__, error, exc_info=_log.isEnabledFor(logging.DEBUG))
            self._put(work, state="failed", ended=_now(), **_said("its result could not be used", _DEFECT))
        finally:
            work.child.remove()

    def _put(self, work: _Work, **changed: object) -> None:
        work.job = msgspec.structs.replace(work.job, **changed)
        self._jobs[work.job.id] = work.job
        ended = [job for job in self._jobs if job not in self._works]
        for job in ended[: max(0, len(self._jobs) - _MOST_KEPT)]:
            del self._jobs[job]
        self._events.job(work.job)
        for watch in self.watchers:
            watch(work.job)


def _said(message: str, advice: str) -> dict[str, str | None]:
    return {"message": label(message, _LONGEST) or None, "advice": label(advice, _LONGEST) or None}


def _shortened(words: Sequence[str]) -> Sequence[str]:
    return words if len(words) <= _SHOWN_WORDS else (*words[:_SHOWN_WORDS], "…")


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)

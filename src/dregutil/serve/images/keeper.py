"""The index that a server searches: opened, replaced when a job has built another, and searched in one thread.

Searches run one after another in a thread of their own, so that events and other pages are answered meanwhile.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from dregutil.errors import CacheError, DregutilError
from dregutil.serve.answers import RequestError
from dregutil.serve.child import Ended
from dregutil.serve.events import Events
from dregutil.serve.images.index import ImageIndex
from dregutil.serve.images.search import Searcher
from dregutil.serve.jobs import Jobs
from dregutil.serve.model import Job

__all__ = ["Images"]

_Found = TypeVar("_Found")


async def _no_plan() -> Path | None:
    return None


class Images:
    """The index in a file. `tonight` returns the file of the plan whose verdicts are shown, None if there is none."""

    def __init__(self, path: Path, jobs: Jobs, events: Events, *, cache: Path | None) -> None:
        """`cache` is the file of the tags, of which the index is made; None without one."""
        self.tonight: Callable[[], Awaitable[Path | None]] = _no_plan
        self._tasks: set[asyncio.Task[None]] = set()
        self._path = path
        self._cache = cache
        self._jobs = jobs
        self._events = events
        self._searcher: Searcher | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="images")

    @property
    def is_there(self) -> bool:
        return self._searcher is not None

    @property
    def rows(self) -> int | None:
        """How many tags are in the index; None while there is none."""
        return None if self._searcher is None else self._searcher.index.rows

    def load(self) -> None:
        """Open what is on the disk; what cannot be used is built again."""
        with suppress(CacheError):
            index = ImageIndex.open(self._path)
            if index is not None:
                self._take(index)

    async def begin(self) -> None:
        """Build an index if there is none, and tags were read before: what they were is shown at once."""
        if self._searcher is None and self._cache is not None and self._cache.exists():
            await self.build()

    async def build(self, by: str = "dregutil serve") -> Job | None:
        """Begin to build the index again; return the job, or the one that waits to do so. None without a cache file."""
        if self._cache is None:
            return None
        waiting = self._jobs.pending("index")
        if waiting is not None and waiting.state == "waiting":
            return waiting
        plan = await self.tonight()
        words = ["index-images", "--out", str(self._path), *(() if plan is None else ("--plan", str(plan)))]
        return await self._jobs.start("index", "index the images", by, words, then=self._on_built)

    def build_after(self, job: Job) -> None:
        """Build the index again when a job has ended, whether it was done or failed."""
        task = asyncio.create_task(self._build_after(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _build_after(self, job: Job) -> None:
        await self._jobs.ended(job)
        with suppress(DregutilError):  # the server ends
            await self.build()

    async def ask(self, question: Callable[[Searcher], _Found]) -> _Found:
        """The answer to a question about the index that is there. Raises RequestError (503) if none is, and what the
        question raises; an index that turns out to be damaged is built again."""
        searcher = self._searcher
        if self._cache is None:
            raise RequestError(503, "without a cache file there is no search", "start the server without -c None")
        if searcher is None:
            raise self._missing()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, question, searcher)
        except CacheError:
            if self._searcher is searcher:
                self._searcher = None
                await self.build()
            raise

    def _missing(self) -> RequestError:
        """The error where there is no index: it is being made, or could not be."""
        last = next((job for job in self._jobs.all if job.kind == "index"), None)
        if last is None or last.state != "failed":
            return RequestError(503, "there is no index of images yet", "it is built when the registry was read")
        return RequestError(503, f"the index of images could not be made: {last.message}", last.advice or "")

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)
        if self._searcher is not None:
            self._searcher.index.close()

    async def _on_built(self, _ended: Ended) -> None:
        index = ImageIndex.open(self._path)
        if index is None:
            raise CacheError(f"the index of images {self._path} was not written")
        self._take(index)
        self._events.changed("images")

    def _take(self, index: ImageIndex) -> None:
        former, self._searcher = self._searcher, Searcher(index)
        if former is not None:
            self._thread.submit(former.index.close)  # after the searches that have it

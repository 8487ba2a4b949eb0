"""Questions to the store from the event loop: in threads, with their time, and with what is known of its health."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import ParamSpec, TypeVar

from dregutil.errors import StoreError
from dregutil.store.database import Database

__all__ = ["Asking"]

_THREADS = 2  # each has a connection
_PAUSE = 1.0  # seconds between two tries

P = ParamSpec("P")
T = TypeVar("T")


class Asking:
    """`seconds` is how long questions have taken together; `answered` is the time of the last answer, on the clock of
    `time.monotonic`."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.seconds = 0.0
        self.answered = time.monotonic()
        self._threads = ThreadPoolExecutor(_THREADS, "dregutil-store")

    async def ask(self, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """The answer. Raises StoreError."""
        started = time.monotonic()
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, partial(question, *args, **kwargs))
        finally:
            self.seconds += time.monotonic() - started
        self.answered = time.monotonic()
        return answer

    async def insist(self, limit: float, question: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T | None:
        """The answer; asked again for `limit` seconds while the store cannot be used, and then None."""
        end = time.monotonic() + limit
        while True:
            try:
                return await self.ask(question, *args, **kwargs)
            except StoreError:
                if time.monotonic() >= end:
                    return None
            await asyncio.sleep(_PAUSE)

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
        self.database.close()

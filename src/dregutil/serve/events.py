"""Server-sent events: what happens, to every page that is open.

A page that does not read loses its connection once so many events wait for it, and asks again when it connects anew.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Literal

import msgspec
from aiohttp import web

from dregutil.errors import escaped_json
from dregutil.serve.answers import RequestError
from dregutil.serve.model import Job

__all__ = ["Changed", "Events"]

Changed = Literal["report", "images", "plans", "runs", "store"]

_MOST_WAITING = 256  # events for one client
_MOST_CLIENTS = 200
_COMMENT_EVERY = 15.0  # seconds
_LONGEST_WRITE = 30.0  # seconds


class Events:
    """Tells all who listen."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[bytes | None]] = set()
        self._is_closed = False

    def job(self, job: Job) -> None:
        """A job has begun, moved on or ended."""
        self._tell("job", msgspec.json.encode(job))

    def changed(self, what: Changed) -> None:
        """Something is new: pages read it again."""
        self._tell("changed", msgspec.json.encode({"what": what}))

    def close(self) -> None:
        """End all connections."""
        self._is_closed = True
        for queue in tuple(self._queues):
            self._end(queue)

    def _tell(self, name: str, data: bytes) -> None:
        text = f"event: {name}\ndata: {escaped_json(data.decode())}\n\n".encode()
        for queue in tuple(self._queues):
            if queue.qsize() >= _MOST_WAITING:
                self._end(queue)
            else:
                queue.put_nowait(text)

    def _end(self, queue: asyncio.Queue[bytes | None]) -> None:
        self._queues.discard(queue)
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(None)

    @contextmanager
    def _heard(self) -> Iterator[asyncio.Queue[bytes | None]]:
        if self._is_closed or len(self._queues) >= _MOST_CLIENTS:
            raise RequestError(503, "too many pages listen to this server", "close some of them")
        queue: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """The answer to one client, until it goes away or the server ends."""
        with self._heard() as queue:
            response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
            await response.prepare(request)
            with suppress(ConnectionError, TimeoutError):
                await _written(response, b"retry: 2000\n\n")
                while (text := await _next(queue)) is not None:
                    await _written(response, text)
            return response


async def _next(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    try:
        return await asyncio.wait_for(queue.get(), _COMMENT_EVERY)
    except TimeoutError:
        return b":\n\n"


async def _written(response: web.StreamResponse, text: bytes) -> None:
    async with asyncio.timeout(_LONGEST_WRITE):
        await response.write(text)

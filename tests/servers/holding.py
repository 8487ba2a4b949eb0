"""A proxy in front of a registry that notes when each request arrived, and can hold the DELETEs of manifests back."""

from __future__ import annotations

import asyncio
import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from images import ACCEPT
from servers.http import LOST, Answer, Proxy, Request

__all__ = ["Arrival", "HoldingProxy"]

_AT_ONCE = 64
_LONGEST_HOLD = 60.0


@dataclass(frozen=True)
class Arrival:
    """A request to a path of manifests, and when it arrived (seconds since 1970)."""

    at: float
    method: str
    repository: str
    reference: str
    was_there: bool = True  # for a DELETE: what it names


class HoldingProxy(Proxy):
    """`arrived` has every request. While it holds, a DELETE of a manifest that is there waits for `let_go`."""

    def __init__(self, upstream: int) -> None:
        super().__init__(upstream)
        self.arrived: list[Arrival] = []
        self._passes = -1  # how many DELETEs are not held; negative: all
        self._held: list[Arrival] = []
        self._waiting: list[asyncio.Future[None]] = []
        self._workers = ThreadPoolExecutor(_AT_ONCE)

    def hold(self, after: int = 0) -> None:
        """Hold the DELETEs of manifests that are there, after so many that are not held."""
        self._passes = after

    def let_go(self) -> None:
        """Forward what is held, and whatever comes."""
        self._passes = -1
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._release)

    @property
    def held(self) -> list[Arrival]:
        """The DELETEs that wait."""
        return list(self._held)

    def writes(self) -> list[Arrival]:
        """The writes that arrived: PUT, POST, PATCH, DELETE."""
        return [one for one in self.arrived if one.method not in ("GET", "HEAD")]

    def deletions(self) -> list[Arrival]:
        """The DELETEs of what was there."""
        return [one for one in self.writes() if one.method == "DELETE" and one.was_there]

    async def respond(self, request: Request) -> Answer:
        now, loop = time.time(), asyncio.get_running_loop()
        is_deletion = request.method == "DELETE"
        was_there = not is_deletion or await loop.run_in_executor(self._workers, self._is_there, request)
        arrival = Arrival(now, request.method, *_named(request.path), was_there)
        self.arrived.append(arrival)
        if is_deletion and was_there:
            await self._held_back(arrival)
        return await loop.run_in_executor(self._workers, self.answer, request)

    def answer(self, request: Request) -> Answer:
        try:
            return self._forward(request)
        except (OSError, http.client.HTTPException):
            return LOST

    async def _held_back(self, arrival: Arrival) -> None:
        if self._passes:
            self._passes -= self._passes > 0
            return
        self._held.append(arrival)
        waiting = asyncio.get_running_loop().create_future()
        self._waiting.append(waiting)
        await asyncio.wait_for(waiting, _LONGEST_HOLD)

    def _release(self) -> None:
        self._held.clear()
        for one in self._waiting:
            if not one.done():
                one.set_result(None)
        self._waiting.clear()

    def _is_there(self, request: Request) -> bool:
        """Whether a DELETE is of a manifest that the registry has, and not a question whether it deletes."""
        found = self._forward(Request("HEAD", request.target, request.path, {}, {"accept": ACCEPT}))
        return found.status == 200


def _named(path: str) -> tuple[str, str]:
    repository, _, reference = path.removeprefix("/v2/").rpartition("/manifests/")
    return repository, reference

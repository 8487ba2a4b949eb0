"""A TCP proxy that adds latency: LISTEN-PORT UPSTREAM-PORT SECONDS. Each chunk waits half of it, each way.

On uvloop, and with one timer for all chunks that wait: what the proxy costs is taken from those whom it serves.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from typing import cast

import uvloop


class _Line:
    """All chunks that are under way, oldest first: each waits equally long."""

    def __init__(self, delay: float) -> None:
        self.delay = delay
        self._waiting: deque[tuple[float, _Side, bytes]] = deque()
        self._loop = asyncio.get_running_loop()

    def put(self, side: _Side, data: bytes) -> None:
        due = self._loop.time() + self.delay
        self._waiting.append((due, side, data))
        if len(self._waiting) == 1:
            self._loop.call_at(due, self._pass_on)

    def _pass_on(self) -> None:
        now = self._loop.time()
        while self._waiting and self._waiting[0][0] <= now:
            _, side, data = self._waiting.popleft()
            side.pass_on(data)
        if self._waiting:
            self._loop.call_at(self._waiting[0][0], self._pass_on)


class _Side(asyncio.Protocol):
    def __init__(self, line: _Line, upstream: int | None) -> None:
        self.line = line
        self.upstream = upstream
        self.other: asyncio.Transport | None = None
        self.waiting: list[bytes] = []
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        if self.upstream is not None:
            loop = asyncio.get_running_loop()
            self.task = loop.create_task(self._connect(loop, self.upstream))

    async def _connect(self, loop: asyncio.AbstractEventLoop, port: int) -> None:
        transport, side = await loop.create_connection(lambda: _Side(self.line, None), "127.0.0.1", port)
        side.other = self.transport
        self.other = transport
        for data in self.waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        self.line.put(self, data)

    def pass_on(self, data: bytes) -> None:
        if self.other is None:
            self.waiting.append(data)
        elif not self.other.is_closing():
            self.other.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


async def main(port: int, upstream: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    line = _Line(delay / 2)
    server = await loop.create_server(lambda: _Side(line, upstream), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

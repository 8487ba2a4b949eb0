"""A TCP proxy that adds latency: LISTEN-PORT UPSTREAM-PORT SECONDS. Each chunk waits half of it, each way."""

from __future__ import annotations

import asyncio
import sys
from typing import cast


class _Side(asyncio.Protocol):
    def __init__(self, delay: float, upstream: int | None) -> None:
        self.delay = delay
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
        transport, side = await loop.create_connection(lambda: _Side(self.delay, None), "127.0.0.1", port)
        side.other = self.transport
        self.other = transport
        for data in self.waiting:
            transport.write(data)

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(self.delay, self._pass_on, data)

    def _pass_on(self, data: bytes) -> None:
        if self.other is None:
            self.waiting.append(data)
        elif not self.other.is_closing():
            self.other.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


async def main(port: int, upstream: int, delay: float) -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: _Side(delay / 2, upstream), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))

"""`python bench/faults.py`: a crawl of 10,200 tags with faults on 5 % of the requests, and one without.

A proxy in a separate process is in front of the real registry: one of 20 requests is reset before it is forwarded, or
its answer is cut off in the middle, alternating. Prints a Markdown table.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from crawl import REPOSITORIES, TAGS, TOTAL
from support import OURS, fill, timed

from servers import DistributionServer, Process, free_port

EVERY = 20


class Faults(asyncio.Protocol):
    """One connection; its requests are sequential and have no bodies."""

    number = 0
    breaks = False

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.server: asyncio.Transport | None = None
        self.cuts = False

    def data_received(self, data: bytes) -> None:
        Faults.number += 1
        turn = Faults.number % (2 * EVERY) if self.breaks and Faults.number > EVERY else 1
        if turn == 0:
            self.transport.abort()
            return
        self.cuts = turn == EVERY
        if self.server is None:
            self.connecting = asyncio.ensure_future(self._connect(data))
        else:
            self.server.write(data)

    async def _connect(self, data: bytes) -> None:
        loop = asyncio.get_running_loop()
        self.server, _ = await loop.create_connection(lambda: _Back(self), "127.0.0.1", self.upstream)
        self.server.write(data)

    def answered(self, data: bytes) -> None:
        if self.cuts:
            self.transport.write(data[: len(data) // 2])
            self.transport.close()
        elif not self.transport.is_closing():
            self.transport.write(data)

    def connection_lost(self, _: Exception | None) -> None:
        if self.server is not None:
            self.server.abort()


class _Back(asyncio.Protocol):
    def __init__(self, front: Faults) -> None:
        self.front = front

    def data_received(self, data: bytes) -> None:
        self.front.answered(data)

    def connection_lost(self, _: Exception | None) -> None:
        self.front.transport.close()


class FaultyServer(Process):
    def __init__(self, folder: Path, upstream: int, breaks: str) -> None:
        super().__init__(folder, free_port())
        self.arguments = [str(upstream), breaks]

    def command(self) -> list[str]:
        return [sys.executable, __file__, "serve", str(self.port), *self.arguments]


async def serve(port: int, upstream: int, breaks: str) -> None:
    Faults.breaks = breaks == "breaks"
    server = await asyncio.get_running_loop().create_server(lambda: Faults(upstream), "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    walls = {}
    try:
        registry = DistributionServer(folder / "full", cache=True)
        fill(registry.storage, REPOSITORIES, TAGS)
        with registry:
            for breaks in ("", "breaks"):
                with FaultyServer(folder, registry.port, breaks) as proxy:
                    command = [OURS, "-reg", f"http://{proxy.host}", "-c", "read.json", "refresh"]
                    walls[breaks] = statistics.median(timed(command, folder).wall for _ in range(3))
                read = json.loads((folder / "read.json").read_text())
                if sum(map(len, read.values())) != TOTAL:
                    raise RuntimeError("the crawl is not complete")
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| crawl of 10,200 tags | seconds | target |\n|---|---|---|")
    print(f"| without faults, through the proxy | {walls['']:.1f} | |")
    print(f"| resets and half bodies on 5 % | {walls['breaks']:.1f} ({walls['breaks'] / walls['']:.2f} ×) | 2 × |")


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]))
    else:
        main()

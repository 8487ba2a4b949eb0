"""`python bench/memory.py`: a crawl of 1,000,000 tags of a simulated server, compared with 10,000.

The server runs in a separate process and answers each request with a few prepared bytes. Prints peak memory and time
per tag.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import cast

from support import OURS

from servers import Process, free_port

TAGS = 1000


class Simulated(asyncio.Protocol):
    """A registry of `repositories`, each with TAGS tags; all digests differ."""

    repositories = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        if "/manifests/" in path:
            name, _, tag = path.removeprefix("/v2/r").partition("/manifests/t")
            head = f"Docker-Content-Digest: sha256:{int(name) * TAGS + int(tag):064x}\r\n"
            head += "Content-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 400"
            body = ""
        else:
            listed = {"repositories": [f"r{number}" for number in range(self.repositories)]}
            if "/tags/" in path:
                listed = {"tags": [f"t{number}" for number in range(TAGS)]}
            body = json.dumps(listed)
            head = f"Content-Type: application/json\r\nContent-Length: {len(body)}"
        self.transport.write(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n{body}".encode())


class SimulatedServer(Process):
    def __init__(self, folder: Path, repositories: int) -> None:
        super().__init__(folder, free_port())
        self.repositories = repositories

    def command(self) -> list[str]:
        return [sys.executable, __file__, "serve", str(self.port), str(self.repositories)]


async def serve(port: int, repositories: int) -> None:
    Simulated.repositories = repositories
    server = await asyncio.get_running_loop().create_server(Simulated, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    print("| tags | time per tag | peak memory |\n|---|---|---|")
    for repositories in (10, 1000):
        with tempfile.TemporaryDirectory() as folder, SimulatedServer(Path(folder), repositories) as server:
            started = time.perf_counter()
            command = [str(OURS), "-reg", f"http://{server.host}", "refresh"]
            child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = status
            wall = time.perf_counter() - started
        tags = repositories * TAGS
        print(f"| {tags:,} | {wall / tags * 1e6:.0f} µs | {used.ru_maxrss / 1024:.0f} MB |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3])))
    else:
        main()

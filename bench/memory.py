"""`python bench/memory.py [TAGS …]`: a registry of 10,000, 1,000,000 and 10,000,000 tags, 100 in each repository: two
refreshes, and what reads the cache of the last one. CPU time, and the peak memory of the whole process.

The server is simulated: it runs in a separate process and answers each request with a few prepared bytes. Ten million
tags are read once only, which takes about 20 minutes.
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

TAGS = 100
AGAIN = "refresh again"
COMMANDS = {
    "refresh": ["refresh"],
    AGAIN: ["refresh"],
    "`ls --top 20`": ["ls", "--top", "20", "--no-read"],
    "`list-tag-names` of one repository": ["list-tag-names", "r7"],
    "`query-tags` of a tenth": ["query-tags", "-r", "**", "-t", "<1.10"],
}
SPREAD = 2**255 // 7 | 1  # so that digests begin differently
_MOST_AGAIN = 1_000_000
_PAGE = 10_000  # repositories in a page of the catalog


class Simulated(asyncio.Protocol):
    """A registry of `repositories`, each with the same TAGS tags; all digests differ."""

    repositories = 0
    tags = json.dumps({"tags": [f"1.{number}" for number in range(TAGS)]})

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        if "/manifests/" in path:
            name, _, tag = path.removeprefix("/v2/r").partition("?")[0].partition("/manifests/1.")
            head = f"Docker-Content-Digest: sha256:{(int(name) * TAGS + int(tag) + 1) * SPREAD % 2**256:064x}\r\n"
            head += "Content-Type: application/vnd.oci.image.manifest.v1+json\r\nContent-Length: 400"
            body = ""
        else:
            body, link = self.tags, ""
            if "/tags/" not in path:
                first = int(path.partition("last=r")[2].partition("&")[0] or -1) + 1
                names = [f"r{number}" for number in range(first, min(first + _PAGE, self.repositories))]
                body = json.dumps({"repositories": names})
                link = f'Link: </v2/_catalog?n=10000&last={names[-1]}>; rel="next"\r\n' if len(names) == _PAGE else ""
            head = f"{link}Content-Type: application/json\r\nContent-Length: {len(body)}"
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


def measure(tags: int) -> None:
    with tempfile.TemporaryDirectory() as name, SimulatedServer(folder := Path(name), tags // TAGS) as server:
        env = {**os.environ, "XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
        for what, arguments in COMMANDS.items():
            if what == AGAIN and tags > _MOST_AGAIN:
                continue
            started = time.perf_counter()
            command = [str(OURS), "-reg", f"http://{server.host}", *arguments]
            child = subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL, env=env)
            _, status, used = os.wait4(child.pid, 0)
            child.returncode = status
            wall, cpu = time.perf_counter() - started, used.ru_utime + used.ru_stime
            failed = f", **exit {os.waitstatus_to_exitcode(status)}**" if status else ""
            print(
                f"| {tags:,} | {what}{failed} | {cpu:.2f} s, {cpu / tags * 1e6:.1f} µs a tag | {wall:.2f} s "
                f"| {used.ru_maxrss / 1024:.0f} MB |",
                flush=True,
            )


def main(sizes: list[int]) -> None:
    print("| tags | what | CPU | wall clock | peak memory |\n|---|---|---|---|---|")
    for tags in sizes:
        measure(tags)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), int(sys.argv[3])))
    else:
        main([int(size) for size in sys.argv[1:]] or [10_000, 1_000_000, 10_000_000])

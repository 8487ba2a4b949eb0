"""`python bench/throttled.py`: a crawl of 10,200 tags of a server that accepts 200 requests per second.

Above that the server answers 429: it counts per second, or has a token bucket, with and without Retry-After. It runs in
a separate process, answers each request with a few prepared bytes, and counts its refusals. Prints a Markdown table.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
import time
import urllib.request
from pathlib import Path
from typing import cast

from support import OURS, timed

from servers import Process, free_port
from virtual import Bucket, Window

REPOSITORIES, TAGS, RATE = 200, 51, 200
WANTED = 1.3 * REPOSITORIES * TAGS / RATE
KINDS = {
    "counts each second": lambda: Window(RATE),
    "bucket, 200 at once": lambda: Bucket(RATE, 200),
    "bucket, 20 at once": lambda: Bucket(RATE, 20),
}


class Throttled(asyncio.Protocol):
    """A registry of REPOSITORIES repositories with TAGS tags each."""

    limit: Bucket | Window
    asks = False
    answered = refused = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        path = data.split(b" ", 2)[1].decode()
        status, head, body = "200 OK", "Content-Type: application/json", ""
        if path == "/counts":
            body = json.dumps([Throttled.answered, Throttled.refused])
        elif not self.limit.lets_through(time.monotonic()):
            Throttled.refused += 1
            status, head = "429 Too Many Requests", "Retry-After: 1" if self.asks else "X-Wait: unknown"
        elif "/manifests/" in path:
            Throttled.answered += 1
            name, _, tag = path.removeprefix("/v2/r").partition("/manifests/t")
            head = f"Docker-Content-Digest: sha256:{int(name) * TAGS + int(tag):064x}\r\n"
            head += "Content-Type: application/vnd.oci.image.manifest.v1+json"
        else:
            Throttled.answered += 1
            names = {"tags": [f"t{number}" for number in range(TAGS)]} if "/tags/" in path else None
            body = json.dumps(names or {"repositories": [f"r{number}" for number in range(REPOSITORIES)]})
        self.transport.write(f"HTTP/1.1 {status}\r\n{head}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())


class ThrottledServer(Process):
    def __init__(self, folder: Path, kind: str, asks: str) -> None:
        super().__init__(folder, free_port())
        self.arguments = [kind, asks]

    def command(self) -> list[str]:
        return [sys.executable, __file__, "serve", str(self.port), *self.arguments]


async def serve(port: int, kind: str, asks: str) -> None:
    Throttled.limit, Throttled.asks = KINDS[kind](), asks == "asks"
    server = await asyncio.get_running_loop().create_server(Throttled, "127.0.0.1", port)
    await server.serve_forever()


def main() -> None:
    print(f"| server, 429 above {RATE}/s | Retry-After | seconds (at most {WANTED:.0f}) | refused (under 3 %) |")
    print("|---|---|---|---|")
    for kind in KINDS:
        for asks in ("", "asks"):
            with tempfile.TemporaryDirectory() as folder, ThrottledServer(Path(folder), kind, asks) as server:
                url = f"http://{server.host}"
                found = timed([OURS, "-reg", url, "refresh"], Path(folder))
                with urllib.request.urlopen(f"{url}/counts") as answer:
                    answered, refused = json.load(answer)
            if answered < REPOSITORIES * TAGS:
                raise RuntimeError(f"only {answered} requests succeeded")
            share = refused / (answered + refused)
            print(f"| {kind} | {'1 s' if asks else 'none'} | {found.wall:.1f} | {share:.1%} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]), sys.argv[3], sys.argv[4]))
    else:
        main()

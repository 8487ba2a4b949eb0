"""How fast pulls become known: notifications a second, alone and in envelopes of 50, and megabytes of access logs.

    python bench/pulls.py [SECONDS] [MEGABYTES]

The listener runs in a process of its own, and every notification is on the disk when it is answered.
"""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from dregutil.oci.names import Digest
from dregutil.pulls.agents import IgnoredAgents
from dregutil.pulls.log_files import read_log

_CLIENTS = 32
_IMAGES = 10_000


def _event(number: int) -> dict[str, object]:
    digest = Digest.of(str(number % _IMAGES).encode())
    return {
        "id": f"cbca0cc2-5cbd-43d3-a70e-{number:012}",
        "timestamp": "2026-11-26T16:12:30.187009457Z",
        "action": "pull",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "size": 410,
            "digest": digest,
            "repository": f"shop/{number % 50}",
            "url": f"http://127.0.0.1:5000/v2/shop/{number % 50}/manifests/{digest}",
            "tag": "1.0",
        },
        "request": {"addr": "127.0.0.1:46576", "method": "GET", "useragent": "containerd/2.1"},
        "source": {"addr": "vm:5000", "instanceID": "45edeee1-f00c-4d33-90b5-1f8f95f21a5a"},
    }


async def _post(url: str, seconds: float, size: int) -> tuple[float, float]:
    """Notifications and events a second."""
    sent, begin = 0, time.monotonic()
    first = random.randrange(10**11)

    async def client(session: aiohttp.ClientSession) -> None:
        nonlocal sent
        while time.monotonic() - begin < seconds:
            number, sent = first + sent * size, sent + 1
            body = json.dumps({"events": [_event(number + place) for place in range(size)]}).encode()
            async with session.post(url, data=body) as answer:
                assert answer.status == 204

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=_CLIENTS)) as session:
        await asyncio.gather(*(client(session) for _ in range(_CLIENTS)))
    rate = sent / (time.monotonic() - begin)
    return rate, rate * size


def _listen(folder: Path, seconds: float) -> None:
    program = Path(sys.executable).with_name("dregutil")
    options = ["-reg", "registry.example.com", "--state-dir", str(folder), "listen", "--addr", "127.0.0.1:0"]
    with subprocess.Popen([program, *options], stderr=subprocess.PIPE, text=True) as listener:
        assert listener.stderr is not None
        url = listener.stderr.readline().split()[2].rstrip(";")
        for size in (1, 50):
            posts, events = asyncio.run(_post(url, seconds, size))
            print(f"| {size} | {posts:,.0f} | {events:,.0f} |", flush=True)
        listener.terminate()


def _write_log(path: Path, megabytes: int, share: float) -> None:
    """Lines as nginx writes them; a `share` of them asks for a manifest."""
    chance = random.Random(1)
    digests = [Digest.of(str(number).encode()) for number in range(_IMAGES)]
    lines = []
    for number in range(20_000):
        digest = chance.choice(digests)
        what = f"manifests/{digest if number % 2 else number % 500}" if chance.random() < share else f"blobs/{digest}"
        clock = f"{number // 3600 % 24:02}:{number // 60 % 60:02}:{number % 60:02}"
        lines.append(
            f'10.0.0.{number % 250} - - [26/Nov/2026:{clock} +0000] "GET /v2/shop/{number % 50}/{what} HTTP/1.1" '
            '200 517 "-" "containerd/2.1"\n'
        )
    block = "".join(lines).encode()
    with path.open("wb") as file:
        for _ in range(megabytes * 1_000_000 // len(block) + 1):
            file.write(block)


def main() -> None:
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    megabytes = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        print("| events in one | notifications/s | events/s |\n|---|---|---|")
        _listen(folder, seconds)
        print("\n| lines that ask for a manifest | MB/s | lines/s | CPU seconds for 1 GB |\n|---|---|---|---|")
        for share in (0.2, 1.0):
            _write_log(folder / "access.log", megabytes, share)
            begin = time.process_time()
            found = read_log(str(folder / "access.log"), lambda _: None, ignored=IgnoredAgents(), now=int(time.time()))
            took = time.process_time() - begin
            size = (folder / "access.log").stat().st_size / 1e6
            row = (f"{share:.0%}", f"{size / took:,.0f}", f"{found.lines / took:,.0f}", f"{took / size * 1000:.0f}")
            print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()

"""`python bench/serve_idle.py [TAGS …]`: the memory of `dregutil serve` while nobody asks, and after searches; by
default with 1,000,000 tags. The goal is 120 MB.

The cache file and the content database are those of bench/serve.py. The report and the index are made by the jobs of
the server, whose memory is given back when they end; how long they take is shown, too. The registry does not answer:
nothing is read from it.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serve import NAME, REGISTRY, generate
from support import OURS

ASKED = 200
DEADLINE = 3600.0  # seconds for the first report and index


def main(sizes: list[int]) -> None:
    print("| tags | when | resident | proportional | took |\n|---|---|---|---|---|")
    for tags in sizes:
        folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
        try:
            generate(folder, tags)
            (folder / "cache" / "dregutil").mkdir(parents=True)
            for path in folder.glob("contents.sqlite*"):
                path.rename(folder / "cache" / "dregutil" / path.name)
            (folder / NAME).touch()
            with served(folder) as (process, ask):
                measure(tags, process, ask)
            with served(folder) as (process, ask):
                print(row(tags, "after a restart", process, 0.0), flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def measure(tags: int, process: int, ask: Ask) -> None:
    started = time.perf_counter()
    ask.until("/api/v1/session", lambda found: found["images"] is not None)
    ask.until("/api/v1/jobs", lambda found: all(job["state"] not in ("running", "waiting") for job in found["jobs"]))
    print(row(tags, "idle, all made", process, time.perf_counter() - started), flush=True)
    started = time.perf_counter()
    for number in range(ASKED):
        ask(f"/api/v1/images?q=app{number}&sort=size&desc=1&limit=500")
        ask(f"/api/v1/images?offset={number * tags // ASKED}&sort=frees&limit=500")
        ask("/api/v1/report")
    print(row(tags, f"after {3 * ASKED} requests", process, time.perf_counter() - started), flush=True)


def row(tags: int, when: str, process: int, seconds: float) -> str:
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    resident, proportional = (int(re.findall(rf"^{name}:\s+(\d+)", text, re.M)[0]) / 1024 for name in ("Rss", "Pss"))
    return f"| {tags:,} | {when} | {resident:.0f} MB | {proportional:.0f} MB | {seconds:.1f} s |"


class Ask:
    """A browser that has the cookie."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
        self._connection.request("GET", token)
        answered = self._connection.getresponse()
        answered.read()
        self._cookie = answered.headers["Set-Cookie"].partition(";")[0]

    def __call__(self, path: str) -> Any:
        self._connection.request("GET", path, headers={"Cookie": self._cookie})
        return json.loads(self._connection.getresponse().read())

    def until(self, path: str, is_so: Any) -> None:
        end = time.monotonic() + DEADLINE
        while not is_so(self(path)):
            if time.monotonic() > end:
                raise TimeoutError(f"{path}: {self('/api/v1/jobs')}")
            time.sleep(0.5)


@contextmanager
def served(folder: Path) -> Iterator[tuple[int, Ask]]:
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_STATE_HOME": str(folder / "state"),
        "TMPDIR": str(folder),
    }
    command = [OURS, "-reg", REGISTRY, "serve", "--addr", "127.0.0.1:0", "--refresh-every", "365d"]
    with subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found = re.search(r":(\d+)(/\?token=\S+)", process.stderr.readline())
        assert found is not None
        try:
            yield process.pid, Ask(int(found[1]), found[2])
        finally:
            process.terminate()
            process.wait(60)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [1_000_000])

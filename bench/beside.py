"""`python bench/beside.py [REPOSITORIES CLIENTS]`: what 50 clients of `serve` cost a run that it carries out.

200 repositories of 51 tags on distribution 2.8.2, of which a policy removes half. The same plan is approved and carried
out over HTTP on a fresh registry each time, in turn without clients and with them. A client is an open page: it has the
event stream, and each second it reads one of the answers that the screens ask for. Median of three; goal: 1.10 ×.
"""

from __future__ import annotations

import http.client
import itertools
import shutil
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support import compile_ours, fill

from listening import until
from program import Program
from servers import DistributionServer
from serving import Serving

ROUNDS = 3
TAGS = 51
EVERY = 1.0  # seconds between two requests of a client
PATHS = ("session", "report", "images?limit=100", "images?q=app1&sort=frees&desc=1", "plans", "runs", "jobs")
POLICY = """version: 1
defaults: {max_remove: 100%, unknown_date: first_seen, min_age: 0s}
policies:
  - name: newest
    repositories: ["**"]
    keep: {last: 26}
    order: version
"""


def main(repositories: int = 200, clients: int = 50) -> None:
    compile_ours()
    taken: dict[int, list[float]] = {0: [], clients: []}
    answers: list[float] = []
    for number in (0, clients) * ROUNDS:
        folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
        try:
            seconds, removed, waited = _apply(folder, repositories, number)
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        taken[number].append(seconds)
        answers += waited
    alone, beside = (statistics.median(found) for found in taken.values())
    per_second = len(answers) / sum(taken[clients])
    print("| what | measured | target |\n|---|---|---|")
    print(f"| {removed:,} tags removed, no clients | {alone:.1f} s | |")
    print(f"| the same with {clients} clients, {per_second:.0f} answers per second | {beside:.1f} s | |")
    print(f"| ratio | {beside / alone:.2f} × | 1.10 × |")
    slowest = statistics.quantiles(answers, n=20)[-1]
    print(f"| an answer meanwhile, median / 95 % | {statistics.median(answers) * 1e3:.0f} / {slowest * 1e3:.0f} ms | |")


def _apply(folder: Path, repositories: int, clients: int) -> tuple[float, int, list[float]]:
    """Seconds that the run took, the tags that it removed, and the seconds that each answer took."""
    registry = DistributionServer(folder, cache=True)
    fill(registry.storage, repositories, TAGS)
    policy = folder / "policy.yml"
    policy.write_text(POLICY)
    with registry, Serving(Program(registry.url, folder), ("-f", str(policy), "-c", "cache.json")) as serving:
        plan = until(lambda: _waiting(serving), 300)
        until(lambda: serving.get("images?limit=1").status == 200, 300)
        assert serving.post(f"plans/{plan['sum']}/approve").status == 200
        with _reading(serving, clients) as waited:
            confirmed = serving.get(f"plans/{plan['sum']}").json["plan"]["confirm_tags"]
            begun = time.perf_counter()
            started = serving.post(f"plans/{plan['sum']}/apply", {"confirm_tags": confirmed})
            job = until(lambda: _ended(serving, started.json["id"]), 600)
            seconds = time.perf_counter() - begun
        assert job["state"] == "done", job
        return seconds, plan["tags"], waited


def _waiting(serving: Serving) -> dict[str, Any]:
    found = serving.get("plans")
    plans = found.json["plans"] if found.status == 200 else []
    return plans[0] if plans else {}


def _ended(serving: Serving, job: str) -> dict[str, Any]:
    found = serving.get(f"jobs/{job}").json
    return found if found["state"] in ("done", "failed") else {}


@contextmanager
def _reading(serving: Serving, clients: int) -> Iterator[list[float]]:
    """So many clients read until the end."""
    stop, waited = threading.Event(), []
    streams = [_stream(serving) for _ in range(clients)]
    threads = [threading.Thread(target=_read, args=(serving, number, stop, waited)) for number in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield waited
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        for stream in streams:
            stream.close()


def _stream(serving: Serving) -> http.client.HTTPConnection:
    connection = http.client.HTTPConnection("127.0.0.1", serving.port)
    connection.request("GET", "/api/v1/events", headers={"Cookie": serving.cookie})
    assert connection.getresponse().status == 200
    return connection


def _read(serving: Serving, number: int, stop: threading.Event, waited: list[float]) -> None:
    """One answer after another, over one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", serving.port)
    known: dict[str, str] = {}
    stop.wait(EVERY * (number % 50) / 50)
    with suppress(ConnectionError):
        for path in itertools.islice(itertools.cycle(PATHS), number % len(PATHS), None):
            if stop.is_set():
                break
            asked = time.perf_counter()
            tag = {"If-None-Match": known[path]} if path in known else {}
            connection.request("GET", f"/api/v1/{path}", headers={"Cookie": serving.cookie} | tag)
            answer = connection.getresponse()
            answer.read()
            known |= {path: found} if (found := answer.headers.get("ETag")) else {}
            waited.append(time.perf_counter() - asked)
            stop.wait(EVERY)
    connection.close()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

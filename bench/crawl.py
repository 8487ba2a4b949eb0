"""`python bench/crawl.py`: `refresh` compared with the older tool and the server's maximum rate; a query from the
cache.

200 repositories of 51 tags in a real registry, on loopback and with 20 ms delay; prints a Markdown table.
"""

from __future__ import annotations

import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

from support import OURS, UNHURRIED, DelayProxy, fill, older_tool, timed, wrk_rate

from servers import DistributionServer

REPOSITORIES, TAGS = 200, 51
FEW = 4  # repositories that the older tool reads with the delay: all 200 would take minutes
TOTAL = REPOSITORIES * TAGS


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    try:
        rows = [*_loopback(folder), *_delayed(folder), *_query(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | measured | target |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _ours(folder: Path, url: str, connections: int, tags: int) -> tuple[float, float]:
    """Tags per second, and CPU microseconds per tag, of the whole process without its start-up; the median of three."""
    start = min((timed([OURS, "--version"], folder) for _ in range(3)), key=lambda found: found.wall)
    runs = [timed([OURS, "-reg", url, "--concurrency", str(connections), "refresh"], folder) for _ in range(3)]
    wall = statistics.median(run.wall for run in runs) - start.wall
    cpu = statistics.median(run.cpu for run in runs) - start.cpu
    return tags / wall, cpu / tags * 1e6


def _paths() -> list[str]:
    return [f"/v2/team{n % 10}/app{n}/manifests/1.{tag}" for n in range(REPOSITORIES) for tag in range(TAGS)]


def _loopback(folder: Path) -> list[tuple[str, str, str]]:
    server = DistributionServer(folder / "full", cache=True)
    fill(server.storage, REPOSITORIES, TAGS)
    with server:
        rate = wrk_rate(server.url, _paths(), 32, folder)
        ours, cpu = _ours(folder, server.url, 32, TOTAL)
        # The older tool reads the first page of the catalog only: 100 repositories.
        old = timed([older_tool(), "-reg", server.url, "--refresh", "-c", "old.json", "list-repo-names"], folder)
        old_tags = sum(map(len, json.loads((folder / "old.json").read_text()).values()))
    older = old_tags / old.wall
    return [
        ("loopback: maximum rate of the server (wrk, 32 connections)", f"{rate:,.0f}/s", ""),
        ("loopback: dregutil, share of the server's maximum rate", f"{ours:,.0f} tags/s, {ours / rate:.0%}", "80 %"),
        ("loopback: dregutil compared with the older tool, per tag", f"{ours / older:.1f} × ({older:,.0f}/s)", "2.5 ×"),
        ("CPU of dregutil per tag", f"{cpu:.0f} µs", "150 µs"),
    ]


def _delayed(folder: Path) -> list[tuple[str, str, str]]:
    server, few = (DistributionServer(folder / name, cache=True, variables=UNHURRIED) for name in ("full", "few"))
    fill(few.storage, FEW, TAGS)
    with server, few:
        with DelayProxy(folder / "proxy", server.port, 0.02) as proxy:
            url = f"http://{proxy.host}"
            rate = wrk_rate(url, _paths(), 64, folder)
            ours, _ = _ours(folder, url, 64, TOTAL)
        with DelayProxy(folder / "proxy", few.port, 0.02) as proxy:
            url = f"http://{proxy.host}"
            old = timed([older_tool(), "-reg", url, "--refresh", "-c", "few.json", "list-repo-names"], folder)
    older = FEW * TAGS / old.wall
    return [
        (
            "20 ms: maximum rate of the server (wrk, 64 connections)",
            f"{rate:,.0f}/s, {rate / older:.0f} × the older tool",
            "",
        ),
        (
            "20 ms, 64 connections: dregutil compared with the older tool, per tag",
            f"{ours / older:.0f} × ({older:,.0f}/s)",
            "50 ×",
        ),
    ]


def _query(folder: Path) -> list[tuple[str, str, str]]:
    tags = {f"r{n}": {f"1.{tag}": f"sha256:{n * 100 + tag:064x}" for tag in range(100)} for n in range(100)}
    (folder / "q_cache.json").write_text(json.dumps(tags))
    query = [OURS, "-reg", "q", "query-tags", "-r", "r1", "-t", "<1.4"]
    ours = statistics.median(timed(query, folder).wall for _ in range(9))
    bare = statistics.median(timed([sys.executable, "-c", "pass"], folder).wall for _ in range(9))
    return [
        (
            "a query from a cache of 10,000 tags, in addition to `python -c pass`",
            f"{(ours - bare) * 1e3:.0f} ms",
            "150 ms",
        )
    ]


if __name__ == "__main__":
    main()

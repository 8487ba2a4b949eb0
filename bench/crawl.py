"""`python bench/crawl.py`: `refresh` compared with the older tool and the server's maximum rate; a query from the
cache.

200 repositories of 51 tags in real registries (distribution 2.8 and 3), on loopback and with 20 ms delay; prints a
Markdown table. `python bench/crawl.py loopback` leaves out the delay and the query; with the `src` folder of another
version after it, that version reads the same registries, in turn with this one.
"""

from __future__ import annotations

import compileall
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support import OURS, ROOT, UNHURRIED, DelayProxy, Timed, compile_ours, fill, older_tool, timed, wrk_rate

from servers import DistributionServer
from servers.real import Distribution3Server

OUR_SOURCE = ROOT / "src"
REPOSITORIES, TAGS = 200, 51
FEW = 4  # repositories that the older tool reads with the delay: all 200 would take minutes
TOTAL = REPOSITORIES * TAGS
START = 10  # tags of the refresh that is taken off as start-up
ROUNDS = 5
SERVERS = {"2.8": DistributionServer, "3": Distribution3Server}


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    compile_ours()
    try:
        rows = [row for name in SERVERS for row in _loopback(folder, name)]
        if "loopback" not in sys.argv:
            rows += [*_delayed(folder), *_query(folder)]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | measured | target |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _refresh(folder: Path, url: str, connections: int, source: Path = OUR_SOURCE) -> Timed:
    """A refresh by the version in `source`; each has its own cache and records."""
    own = "ours" if source == OUR_SOURCE else "other"
    options = ["-reg", url, "-c", f"{own}.json", "--concurrency", str(connections), "--state-dir", own, "refresh"]
    return timed([sys.executable, "-m", "dregutil", *options], folder, PYTHONPATH=str(source))


def _ours(folder: Path, url: str, connections: int) -> float:
    """Tags per second, without the start of the program; the median of three."""
    start = min((timed([OURS, "--version"], folder) for _ in range(3)), key=lambda found: found.wall)
    return TOTAL / (statistics.median(_refresh(folder, url, connections).wall for _ in range(3)) - start.wall)


def _paths() -> list[str]:
    return [f"/v2/team{n % 10}/app{n}/manifests/1.{tag}" for n in range(REPOSITORIES) for tag in range(TAGS)]


def _loopback(folder: Path, name: str) -> list[tuple[str, str, str]]:
    """One server; wrk, `refresh`, and a refresh of another one with ten tags, in turn."""
    kind = SERVERS[name]
    server = kind(folder / f"full-{name}", cache=True, variables=UNHURRIED)
    few = kind(folder / f"few-{name}", cache=True, variables=UNHURRIED)
    fill(server.storage, REPOSITORIES, TAGS)
    fill(few.storage, 1, START)
    other = Path(sys.argv[2]).resolve() if len(sys.argv) > 2 else OUR_SOURCE
    compileall.compile_dir(other, quiet=1)
    rates: list[float] = []
    pairs: dict[Path, list[tuple[Timed, Timed]]] = {OUR_SOURCE: [], other: []}  # a few tags and all, by either version
    with server, few:
        for _ in range(ROUNDS):
            rates.append(wrk_rate(server.url, _paths(), 32, folder, seconds=3))
            for one, found in pairs.items():
                found.append((_refresh(folder, few.url, 32, one), _refresh(folder, server.url, 32, one)))
        older = _older_rate(folder, server.url) if name == "2.8" else None
    rate = statistics.median(rates)
    ours = (TOTAL - START) / (_median(pairs[OUR_SOURCE], "wall", 1) - _median(pairs[OUR_SOURCE], "wall", 0))
    start_cpu, cpu = _start_and_tag(pairs[OUR_SOURCE])
    rows = [
        (f"distribution {name}: maximum rate of the server (wrk, 32 connections)", f"{rate:,.0f}/s", ""),
        (f"distribution {name}: dregutil, share of that rate", f"{ours:,.0f} tags/s, {ours / rate:.0%}", "80 %"),
        (f"distribution {name}: CPU of dregutil per tag", f"{cpu:.0f} µs", "65 µs" if name == "3" else "115 µs"),
        (f"distribution {name}: CPU of a refresh of {START} tags", f"{start_cpu:.2f} s", "0.20 s"),
    ]
    if other != OUR_SOURCE:
        other_start, other_cpu = _start_and_tag(pairs[other])
        what = f"distribution {name}: CPU compared with the other version"
        compared = f"{cpu / other_cpu:.2f} × ({other_cpu:.0f} µs)"
        rows.append((f"{what}, per tag", compared, ""))
        rows.append((f"{what}, {START} tags", f"{start_cpu / other_start:.2f} × ({other_start:.2f} s)", ""))
    if older:
        what = f"distribution {name}: dregutil compared with the older tool, per tag"
        rows.append((what, f"{ours / older:.1f} × ({older:,.0f}/s)", "2.5 ×"))
    return rows


def _median(pairs: Sequence[tuple[Timed, Timed]], what: str, which: int) -> float:
    return statistics.median(getattr(pair[which], what) for pair in pairs)


def _start_and_tag(pairs: Sequence[tuple[Timed, Timed]]) -> tuple[float, float]:
    """CPU seconds of a refresh of a few tags, and microseconds of each further tag."""
    start = _median(pairs, "cpu", 0)
    return start, (_median(pairs, "cpu", 1) - start) / (TOTAL - START) * 1e6


def _older_rate(folder: Path, url: str) -> float:
    """Tags per second of the older tool, which reads the first page of the catalog only: 100 repositories."""
    old = timed([older_tool(), "-reg", url, "--refresh", "-c", "old.json", "list-repo-names"], folder)
    return sum(map(len, json.loads((folder / "old.json").read_text()).values())) / old.wall


def _delayed(folder: Path) -> list[tuple[str, str, str]]:
    server, few = (DistributionServer(folder / name, cache=True, variables=UNHURRIED) for name in ("full-2.8", "few"))
    fill(few.storage, FEW, TAGS)
    with server, few:
        with DelayProxy(folder / "proxy", server.port, 0.02) as proxy:
            url = f"http://{proxy.host}"
            rate = wrk_rate(url, _paths(), 64, folder)
            ours = _ours(folder, url, 64)
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

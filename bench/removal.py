"""`python bench/removal.py`: removal and undo against the older tool's removal; what the journal costs.

2,000 digests across 100 repositories of a real registry, on loopback and behind 20 ms; prints a table in Markdown.
Of three removals and undos the median.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from support import OURS, UNHURRIED, DelayProxy, fill, older_tool, timed

import dregutil
from dregutil.journal import Journal
from dregutil.outcome import NoRecorder
from servers import DistributionServer

REPOSITORIES, TAGS, DOOMED = 100, 30, 20
FEW = 5  # repositories that the older tool cleans behind the delay
NAMES = [f"team{n % 10}/app{n}" for n in range(REPOSITORIES)]
SELECTOR = f"<1.{DOOMED}"


def main() -> None:
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    try:
        rows = [
            *_against_older(folder, "loopback, 64 connections", 0.0, 64, len(NAMES), "1.0 ×"),
            *_against_older(folder, "20 ms, 64 connections", 0.02, 64, FEW, "12 ×"),
            *_journal(folder),
        ]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | measured | wanted |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _against_older(
    folder: Path, what: str, delay: float, connections: int, older_names: int, wanted: str
) -> list[tuple[str, str, str]]:
    variables = UNHURRIED if delay else None
    server = DistributionServer(folder / f"delay{delay:g}", cache=True, variables=variables)
    fill(server.storage, REPOSITORIES, TAGS)
    with server:
        if not delay:
            return _rows(folder, server.url, what, connections, older_names, wanted)
        with DelayProxy(folder / "proxy", server.port, delay) as proxy:
            return _rows(folder, f"http://{proxy.host}", what, connections, older_names, wanted)


def _rows(
    folder: Path, url: str, what: str, connections: int, older_names: int, wanted: str
) -> list[tuple[str, str, str]]:
    ours = [OURS, "-reg", url, "-c", "ours.json", "--concurrency", str(connections), "--state-dir", folder / "state"]
    old = [older_tool(), "-reg", url, "-c", "old.json"]
    timed([*ours, "--refresh", "list-repo-names", "--quiet"], folder)
    doomed = REPOSITORIES * DOOMED
    removals, undos = [], []
    for _ in range(3):
        removals.append(timed([*ours, "remove-tags", "-r", *NAMES, "-t", SELECTOR], folder))
        assert removals[-1].output.count("sha256:") == doomed, removals[-1].output[-500:]
        undos.append(timed([*ours, "undo"], folder))
        assert f"put back {doomed:,} tags" in undos[-1].output, undos[-1].output[:500]
    removal, undo = (sorted(found, key=lambda run: run.wall)[1] for found in (removals, undos))
    shutil.copy(folder / "ours.json", folder / "old.json")  # each tool reads the other's
    older = timed([*old, "remove-tags", "-r", *NAMES[:older_names], "-t", SELECTOR], folder)
    ratio = (doomed / removal.wall) / (older_names * DOOMED / older.wall)
    return [
        (
            f"{what}: removal against the older tool, per digest",
            f"{ratio:.1f} × ({doomed / removal.wall:,.0f}/s, {older_names * DOOMED / older.wall:,.0f}/s)",
            wanted,
        ),
        (
            f"{what}: undo against the removal, time",
            f"{undo.wall / removal.wall:.2f} × ({undo.wall:.1f} s, {removal.wall:.1f} s)",
            "1.5 ×",
        ),
    ]


def _journal(folder: Path) -> list[tuple[str, str, str]]:
    """The same removal with its record and without, each on a registry of its own, in turn."""
    walls: dict[bool, list[float]] = {True: [], False: []}
    for number, recorded in enumerate((True, False, True, False)):
        server = DistributionServer(folder / f"journal{number}", cache=True)
        fill(server.storage, REPOSITORIES, TAGS)
        with server:
            (folder / f"run{number}").mkdir()
            walls[recorded].append(asyncio.run(_removal(server.url, folder / f"run{number}", recorded)))
    cost = min(walls[True]) / min(walls[False]) - 1
    return [("what the journal adds to a removal on loopback", f"{cost:.0%}", "30 %")]


async def _removal(url: str, folder: Path, recorded: bool) -> float:
    async with dregutil.connect_writable(url) as registry:
        inventory = (await dregutil.crawl(registry)).inventory
        names = [dregutil.Repository.parse(name) for name in NAMES]
        selection = dregutil.select_tags(inventory, names, dregutil.TagSelector.build([SELECTOR]))
        started = time.perf_counter()
        plan = await dregutil.plan_removal(registry, selection, inventory)
        recorder: Journal | NoRecorder = NoRecorder()
        if recorded:
            recorder = Journal(folder)
            recorder.begin(plan, started=datetime.now(UTC))
        await dregutil.apply_plan(registry, plan, recorder=recorder)
        if isinstance(recorder, Journal):
            recorder.close(datetime.now(UTC))
        return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())

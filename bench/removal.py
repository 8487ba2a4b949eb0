"""`python bench/removal.py`: removal and undo compared with the older tool's removal; the cost of the journal.

2,000 digests in 100 repositories of a real registry, on loopback and with 20 ms delay; prints a Markdown table with the
medians of three rounds. In each round, the removal with its undo, the older tool's removal, and the bare requests of
the removal, sent by a program that does nothing else, each have their own registry. It keeps its storage in memory,
because a disk on which thousands of files were just deleted is slow to create others, and runs Go's garbage collection
less often, because it shares two cores with its clients. The rows "defaults" are on disk, with Go's default.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from support import OURS, UNHURRIED, DelayProxy, compile_ours, fill, older_tool, replayed, timed

from dregutil.apply.apply import apply_plan
from dregutil.inventory.crawl import crawl
from dregutil.journal.oci_layout import LaidOutRecorder
from dregutil.journal.writer import Journal
from dregutil.oci.names import Repository
from dregutil.plan.live import plan_removal
from dregutil.plan.outcome import NoRecorder
from dregutil.registry import connect_writable
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from servers import DistributionServer

REPOSITORIES, TAGS, DOOMED = 100, 30, 20
FEW = 25  # repositories that the older tool cleans with the delay
ROUNDS = 3
CONNECTIONS = 64
NAMES = [f"team{n % 10}/app{n}" for n in range(REPOSITORIES)]
SELECTOR = f"<1.{DOOMED}"
MEMORY = Path("/dev/shm")


@dataclass(frozen=True)
class Setting:
    """The environment of a round. `delay`: seconds per round trip; `older_names`: how many repositories the older tool
    cleans."""

    what: str
    delay: float = 0.0
    older_names: int = REPOSITORIES
    in_memory: bool = True
    wanted: str = ""


@dataclass
class Walls:
    """Seconds in each round, for all digests."""

    removal: list[float] = field(default_factory=list)
    undo: list[float] = field(default_factory=list)
    older: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)


def main() -> None:
    compile_ours()
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
    settings = (
        Setting("loopback", wanted="1.0 ×"),
        Setting("20 ms", delay=0.02, older_names=FEW, wanted="12 ×"),
        Setting("loopback, defaults", in_memory=False),
    )
    try:
        rows = [row for setting in settings for row in _rows(folder, setting)]
        rows += _journal(folder)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print("| what | measured | target |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")


def _rows(folder: Path, setting: Setting) -> list[tuple[str, str, str]]:
    walls = Walls()
    parts = (partial(_ours, walls), partial(_older, walls), partial(_bare, walls))
    for number in range(ROUNDS):
        for part in parts if number % 2 == 0 else reversed(parts):
            place = Path(tempfile.mkdtemp(dir=folder))
            with _registry(place, setting) as port:
                part(place, port, setting)
    removal, undo, older, requests = (
        statistics.median(found) for found in (walls.removal, walls.undo, walls.older, walls.requests)
    )
    digests = REPOSITORIES * DOOMED
    what = setting.what
    return [
        (
            f"{what}: removal against the older tool, per digest",
            f"{older / removal:.2f} × ({digests / removal:,.0f}/s, {digests / older:,.0f}/s)",
            setting.wanted,
        ),
        (
            f"{what}: removal against its bare requests, time",
            f"{removal / requests:.2f} × ({removal:.2f} s, {requests:.2f} s)",
            "",
        ),
        (
            f"{what}: undo against the removal, time",
            f"{undo / removal:.2f} × ({undo:.2f} s, {removal:.2f} s)",
            "1.5 ×" if setting.wanted else "",
        ),
    ]


@contextmanager
def _registry(folder: Path, setting: Setting) -> Iterator[int]:
    """A filled, warm registry, and the port at which it is reached."""
    in_memory = setting.in_memory and MEMORY.is_dir()
    storage = Path(tempfile.mkdtemp(prefix="dregutil-bench-", dir=MEMORY if in_memory else folder))
    try:
        server = DistributionServer(storage, cache=True, variables=UNHURRIED if setting.in_memory else None)
        fill(server.storage, REPOSITORIES, TAGS)
        with server:
            timed([*_command(folder, server.port), "--refresh", "list-repo-names", "--quiet"], folder)
            if not setting.delay:
                yield server.port
                return
            with DelayProxy(folder / "proxy", server.port, setting.delay) as proxy:
                yield proxy.port
    finally:
        if in_memory:
            shutil.rmtree(storage, ignore_errors=True)  # on disk it is kept until the end: see above


def _command(folder: Path, port: int) -> list[str | Path]:
    state = ["--state-dir", folder / "state", "--concurrency", str(CONNECTIONS)]
    return [OURS, "-reg", f"http://127.0.0.1:{port}", "-c", "ours.json", *state]


def _ours(walls: Walls, folder: Path, port: int, _: Setting) -> None:
    removal = timed([*_command(folder, port), "remove-tags", "-r", *NAMES, "-t", SELECTOR], folder)
    assert removal.output.count("sha256:") == REPOSITORIES * DOOMED, removal.output[-500:]
    undo = timed([*_command(folder, port), "undo", "-y"], folder)
    assert f"put back {REPOSITORIES * DOOMED:,} tags" in undo.output, undo.output[:500]
    walls.removal.append(removal.wall)
    walls.undo.append(undo.wall)


def _older(walls: Walls, folder: Path, port: int, setting: Setting) -> None:
    names = NAMES[: setting.older_names]
    command = [older_tool(), "-reg", f"http://127.0.0.1:{port}", "-c", "ours.json"]  # each tool reads the other's cache
    older = timed([*command, "remove-tags", "-r", *names, "-t", SELECTOR], folder)
    walls.older.append(older.wall * REPOSITORIES / len(names))


def _bare(walls: Walls, folder: Path, port: int, _: Setting) -> None:
    """Only the requests of a removal: no client that checks before and after a deletion is faster."""
    tags: dict[str, dict[str, str]] = json.loads((folder / "ours.json").read_text())
    doomed = [f"1.{number}" for number in range(DOOMED)]
    lists = [f"GET /v2/{name}/tags/list" for name in NAMES]
    before = [
        f"{'GET' if tag in doomed else 'HEAD'} /v2/{name}/manifests/{tag}" for name in NAMES for tag in tags[name]
    ]
    allowed = [f"DELETE /v2/{name}/manifests/sha256:{'0' * 64}" for name in NAMES]
    deletes = [f"DELETE /v2/{name}/manifests/{tags[name][tag]}" for name in NAMES for tag in doomed]
    after = [f"HEAD /v2/{name}/manifests/{tag}" for name in NAMES for tag in tags[name] if tag not in doomed]
    walls.requests.append(replayed(port, CONNECTIONS, [lists + before, allowed, deletes + lists + after], folder))


def _journal(folder: Path) -> list[tuple[str, str, str]]:
    """The same removal with its record and without, alternating, each on its own registry."""
    walls: dict[bool, list[float]] = {True: [], False: []}
    for number in range(2 * ROUNDS):
        recorded = number % 2 == 0
        place = Path(tempfile.mkdtemp(dir=folder))
        with _registry(place, Setting("loopback")) as port:
            walls[recorded].append(asyncio.run(_removal(f"http://127.0.0.1:{port}", place, recorded)))
    cost = statistics.median(walls[True]) / statistics.median(walls[False]) - 1
    return [("what the journal and the layout add to a removal on loopback", f"{cost:.0%}", "30 %")]


async def _removal(url: str, folder: Path, recorded: bool) -> float:
    async with connect_writable(url) as registry:
        inventory = (await crawl(registry)).inventory
        names = [Repository.parse(name) for name in NAMES]
        selection = select_tags(inventory, names, TagSelector.build([SELECTOR]))
        started = time.perf_counter()
        plan = await plan_removal(registry, selection, inventory)
        if recorded:
            journal = Journal(_made(folder / "run"))
            journal.begin(plan, started=datetime.now(UTC))
            recorder = LaidOutRecorder(journal, journal.folder / "layout")
            await apply_plan(registry, plan, recorder=recorder)
            journal.close(datetime.now(UTC))
            recorder.finish()
        else:
            await apply_plan(registry, plan, recorder=NoRecorder())
        return time.perf_counter() - started


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main())

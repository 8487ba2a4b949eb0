"""`python bench/looks.py OTHER`: what the looks around each batch of DELETEs cost, compared with another version.

`OTHER` is the `src` of another version (`git archive 547bc09 src | tar -x -C DIR`). Both remove the same tags,
alternating, each from its own registry; the medians of the rounds. Requests and the CPU of client and server are shown
besides the wall clock, because they are more reliable on a shared machine. The gap is the longest time between the
beginning of a look and a DELETE that relies on it.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Setting:
    what: str
    repositories: int
    tags: int
    doomed: int
    rounds: int


SETTINGS = (
    Setting("20 of 30 tags of 40 repositories", 40, 30, 20, 2),
    Setting("100 of 500 tags of one repository", 1, 500, 100, 2),
    Setting("1,800 of 2,400 tags of one repository, swept", 1, 2400, 1800, 1),
)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("other", type=Path)
    parser.add_argument("--ours", type=Path, default=ROOT / "src")
    args = parser.parse_args()
    print("| what | requests | CPU, client and server | wall clock | longest gap |\n|---|---|---|---|---|")
    for setting in SETTINGS:
        print(_row(setting, {"ours": args.ours.resolve(), "other": args.other.resolve()}), flush=True)


def _row(setting: Setting, trees: Mapping[str, Path]) -> str:
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in trees}
    for number in range(setting.rounds):
        for name, tree in trees.items() if number % 2 == 0 else reversed(trees.items()):
            found[name].append(_round(setting, tree))
    ours, other = (
        {key: statistics.median(entry[key] for entry in found[name]) for key in ("requests", "cpu", "wall", "gap")}
        for name in ("ours", "other")
    )
    cells = [f"{ours['requests'] / other['requests']:.2f} × ({ours['requests']:,.0f}, {other['requests']:,.0f})"]
    cells += [f"{ours[key] / other[key]:.2f} × ({ours[key]:.2f} s, {other[key]:.2f} s)" for key in ("cpu", "wall")]
    return f"| {setting.what} | {' | '.join(cells)} | {ours['gap'] * 1000:.0f} ms |"


def _round(setting: Setting, tree: Path) -> dict[str, Any]:
    from support import fill

    from servers import DistributionServer

    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-", dir=memory if memory.is_dir() else None))
    try:
        server = DistributionServer(folder, cache=True)
        fill(server.storage, setting.repositories, setting.tags)
        with server:
            own = {"XDG_STATE_HOME": str(folder / "state"), "XDG_CACHE_HOME": str(folder / "cache")}
            env = {**os.environ, **own, "PYTHONPATH": str(tree)}
            before = _server_cpu(server)
            command = [sys.executable, __file__, "--one", server.url, f"<1.{setting.doomed}"]
            done = subprocess.run(command, env=env, check=True, stdout=subprocess.PIPE, text=True)
            result: dict[str, Any] = json.loads(done.stdout)
            assert result["removed"] == setting.repositories * setting.doomed, result
            result["cpu"] += _server_cpu(server) - before
            return result
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _server_cpu(server: Any) -> float:
    """CPU seconds used by a server."""
    fields = Path(f"/proc/{server._process.pid}/stat").read_text().rpartition(")")[2].split()  # noqa: SLF001
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _found(*places: str) -> Any:
    """The first of these names of the package that there is: it has moved between versions."""
    for place in places:
        module, _, name = place.rpartition(".")
        with suppress(ModuleNotFoundError, AttributeError):
            return getattr(importlib.import_module(f"dregutil.{module}"), name)
    raise SystemExit(f"none of {', '.join(places)} is in this version")


async def _one(url: str, selector: str) -> dict[str, Any]:
    """Remove with the library on the path, and return what it took."""
    crawl = _found("inventory.crawl.crawl", "crawl.crawl")
    select_tags = _found("select.selection.select_tags", "selection.select_tags")
    selectors = _found("select.selector.TagSelector", "selector.TagSelector")
    plan_removal = _found("plan.live.plan_removal", "removal.plan_removal")
    apply_plan = _found("apply.apply.apply_plan", "apply.apply_plan")
    known = _found("inventory.known.Known", "apply.run.Known", "run.Known")
    surveys = _found("inventory.fresh_surveys.FreshSurveys", "inventory.readings.Readings", "readings.Readings")
    recorders = _found("plan.outcome.NoRecorder", "outcome.NoRecorder")

    async with _found("registry.connect_writable")(url) as registry:
        inventory = (await crawl(registry)).inventory
        sent: Counter[str] = Counter()
        send = registry._transport.send  # noqa: SLF001 - counted where they are sent

        async def counted(method: str, *arguments: Any, **options: Any) -> Any:
            sent[method] += 1
            return await send(method, *arguments, **options)

        registry._transport.send = counted  # type: ignore[method-assign]  # noqa: SLF001
        readings = surveys()
        selection = select_tags(inventory, sorted(inventory.as_mapping()), selectors.build([selector]))
        started, cpu = time.perf_counter(), time.process_time()
        plan = await plan_removal(registry, selection, inventory, readings=readings)
        result = await apply_plan(registry, plan, known=known(), readings=readings, recorder=recorders())
        return {
            "requests": sum(sent.values()),
            "sent": sent,
            "removed": sum(outcome.result.value == "removed" for outcome in result.outcomes),
            "wall": time.perf_counter() - started,
            "cpu": time.process_time() - cpu,
            "gap": getattr(result, "longest_gap", 0.0),
        }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(asyncio.run(_one(sys.argv[2], sys.argv[3]))))
    else:
        main()

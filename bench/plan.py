"""`python bench/plan.py [STEPS …]`: a plan made, written, read and applied dry, 40,000 steps unless told otherwise.

Half of the 40 tags of each repository go. The registry is in memory: what it would answer is neither counted as CPU nor
sent; the manifests that a plan is made from count as memory. CPU and peak memory of each part; a plan is made in one
process and read in another, as by two commands.
"""

from __future__ import annotations

import asyncio
import gc
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from dregutil.inventory.known import Known
from dregutil.inventory.tags import Inventory
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan import still
from dregutil.plan.brake import braked_repositories
from dregutil.plan.cost import plan_seconds
from dregutil.plan.file import read_plan, write_plan
from dregutil.plan.make import make_plan
from dregutil.plan.model import Plan, RemovalOptions
from dregutil.plan.reclaim import with_reclaim
from dregutil.report.removal import plan_lines
from dregutil.retention.holds import Holds
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from dregutil.storage.garbage_collector import GarbageCollector, Generation

TAGS = 40
CONFIG = {"mediaType": "application/vnd.oci.image.config.v1+json", "size": 2}
LAYER = {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "size": 1000}
_Found = TypeVar("_Found")


def main(arguments: list[str]) -> int:
    gc.set_threshold(50_000, 20, 20)  # as the program
    if arguments[:1] == ["--make"]:
        make(Path(arguments[1]), int(arguments[2]) * 2 // TAGS)
    elif arguments[:1] == ["--apply"]:
        apply(Path(arguments[1]), int(arguments[2]))
    else:
        print("| steps | what | CPU | peak memory |\n|---|---|---|---|", flush=True)
        for steps in arguments or ["40000"]:
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "plan.jsonl")
                for what in (["--make", path, steps], ["--apply", path, steps]):
                    subprocess.run([sys.executable, __file__, *what], check=True)
    return 0


def make(path: Path, repositories: int) -> None:
    timed = _Timed(repositories * TAGS // 2)
    graphs = {graph.repository: graph for graph in map(_graph, range(repositories))}
    inventory = Inventory({name: graph.tags for name, graph in graphs.items()})
    selector = TagSelector.build([f"<1.{TAGS // 2}"])
    selection = timed("select", lambda: select_tags(inventory, tuple(graphs), selector))
    options, now = RemovalOptions(), datetime.now(UTC)
    bare = timed(
        "plan",
        lambda: make_plan(selection, graphs, options, registry="localhost:5000", made_at=now, command="bench"),
    )
    assert len(bare.steps) == timed.steps
    plan = timed("compute the freed space", lambda: with_reclaim(bare, graphs, (GarbageCollector(Generation.V2),)))
    timed("brake, estimate", lambda: (braked_repositories(plan), plan_seconds(plan, 0.01, 32)))
    timed("show it", lambda: _length(plan_lines(plan)))
    timed("write it", lambda: write_plan(path, plan))


def apply(path: Path, steps: int) -> None:
    timed = _Timed(steps)
    plan = timed("read it", lambda: read_plan(path)[0])
    registry = _Registry()
    now = timed("check it again", lambda: registry.still_planned(plan), besides=lambda: registry.seconds)
    assert len(now.steps) == timed.steps
    timed("show it, applied dry", lambda: _length(plan_lines(now, is_saved=True)))


class _Registry:
    """Answers the readings of a plan from memory. `seconds`: the CPU that it took for that."""

    repositories_at_once = 8

    def __init__(self) -> None:
        self.seconds = 0.0

    def still_planned(self, plan: Plan) -> Plan:
        module: Any = still
        module.survey_repository = self.survey
        stand_in: Any = self
        return asyncio.run(still.still_planned(stand_in, plan, Known(), Holds()))

    async def survey(self, _: object, repository: Repository, *__: object, **___: object) -> RepositoryGraph:
        started = time.process_time()
        graph = _graph(int(repository.rpartition("app")[2]))
        self.seconds += time.process_time() - started
        return graph


def _length(lines: Iterable[str]) -> int:
    return sum(map(len, lines))


def _graph(number: int) -> RepositoryGraph:
    """The tags of a repository, and the manifests of those that go: what is read to plan their removal."""
    tags, manifests = {}, {}
    for place in range(TAGS):
        if place < TAGS // 2:
            manifest = _manifest(number, place)
            manifests[manifest.digest] = manifest
            tags[Tag(f"1.{place}")] = manifest.digest
        else:
            tags[Tag(f"1.{place}")] = Digest(f"sha256:{number * TAGS + place:064x}")
    return RepositoryGraph(Repository(f"team{number % 10}/app{number}"), tags, manifests)


def _manifest(repository: int, tag: int) -> Manifest:
    config, layer = (f"sha256:{repository:060x}{tag % size:04x}" for size in (1000, 8))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {**CONFIG, "digest": config},
        "layers": [{**LAYER, "digest": layer}],
    }
    raw = json.dumps(body).encode()
    return parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


class _Timed:
    """Runs the parts of a plan of so many `steps`, and prints a row for each."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def __call__(self, what: str, work: Callable[[], _Found], besides: Callable[[], float] = float) -> _Found:
        """`besides`: the seconds of CPU, after the work, that do not count."""
        Path("/proc/self/clear_refs").write_text("5")  # the peak from here on
        started = time.process_time()
        found = work()
        cpu = time.process_time() - started - besides()
        status = Path("/proc/self/status").read_text()
        peak = int(status.partition("VmHWM:")[2].split()[0]) * 1024 / 1e6
        print(f"| {self.steps:,} | {what} | {cpu:.2f} s | {peak:,.0f} MB |", flush=True)
        return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

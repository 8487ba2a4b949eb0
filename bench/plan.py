"""`python bench/plan.py`: from the inventory to a plan that removes half of 80,000 images in 2,000 repositories."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeVar

from dregutil.inventory.tags import Inventory
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.manifest import OCI_MANIFEST, Manifest, parse_manifest
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.brake import braked_repositories
from dregutil.plan.cost import plan_seconds
from dregutil.plan.file import encode_plan
from dregutil.plan.make import make_plan
from dregutil.plan.model import RemovalOptions
from dregutil.plan.reclaim import with_reclaim
from dregutil.report.removal import plan_lines
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from dregutil.storage.garbage_collector import GarbageCollector, Generation

REPOSITORIES, TAGS = 2_000, 40
_Found = TypeVar("_Found")


def main() -> None:
    graphs = {graph.repository: graph for graph in map(_graph, range(REPOSITORIES))}
    inventory = Inventory({name: graph.tags for name, graph in graphs.items()})
    print("| what | measured |\n|---|---|")
    selection = _timed("select", lambda: select_tags(inventory, tuple(graphs), TagSelector.build([f"<1.{TAGS // 2}"])))
    bare = _timed(
        "plan",
        lambda: make_plan(
            selection, graphs, RemovalOptions(), registry="localhost:5000", made_at=datetime.now(UTC), command="bench"
        ),
    )
    assert len(bare.steps) == REPOSITORIES * TAGS // 2
    plan = _timed("compute the freed space", lambda: with_reclaim(bare, graphs, (GarbageCollector(Generation.V2),)))
    _timed(
        "brake, estimate, output",
        lambda: (braked_repositories(plan), plan_seconds(plan, 0.01, 32), plan_lines(plan, unmatched=0)),
    )
    _timed("write the plan", lambda: sum(len(line) for line in encode_plan(plan)))


def _graph(number: int) -> RepositoryGraph:
    manifests = [_manifest(number, tag) for tag in range(TAGS)]
    tags = {Tag(f"1.{place}"): manifest.digest for place, manifest in enumerate(manifests)}
    name = Repository(f"team{number % 10}/app{number}")
    return RepositoryGraph(name, tags, {manifest.digest: manifest for manifest in manifests})


def _manifest(repository: int, tag: int) -> Manifest:
    config, layer = (f"sha256:{repository:060x}{tag % size:04x}" for size in (1000, 8))
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config, "size": 2},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": layer, "size": 1000}],
    }
    raw = json.dumps(body).encode()
    return parse_manifest(raw, OCI_MANIFEST, Digest.of(raw))


def _timed(what: str, work: Callable[[], _Found]) -> _Found:
    started = time.process_time()
    found = work()
    print(f"| {what} | {time.process_time() - started:.2f} s |", flush=True)
    return found


if __name__ == "__main__":
    sys.exit(main())

"""`python bench/storage.py`: reading a registry's storage from a local folder, with a warm page cache; and the cost of
a plan's exact figure.

Prints the lines for docs/benchmarks.md.
"""

from __future__ import annotations

import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from support import fill

from dregutil.inventory.health.storage import examine_storage
from dregutil.storage.garbage_collector import GarbageCollector, Generation, Marks, mark, marked_repositories
from dregutil.storage.opened import read_storage
from dregutil.storage.stored import StoredRegistry
from servers import new_folder

REPOSITORIES, TAGS = 200, 50


def main() -> int:
    folder = new_folder()
    try:
        fill(folder, REPOSITORIES, TAGS)
        for place in (folder / "docker/registry/v2/repositories").glob("*/*/_manifests/tags"):
            shutil.copytree(place / "1.0", place / "latest")
        measure(folder)
    finally:
        shutil.rmtree(folder)
    return 0


def measure(folder: Path) -> None:
    stored = read_storage(str(folder))
    tags = sum(len(held.tags) for held in stored.repositories.values())
    seconds = [timed(lambda: read_storage(str(folder))) for _ in range(5)]
    what = f"{tags:,} tags, {len(stored.manifests):,} manifests, {len(stored.blobs):,} blobs"
    print(f"| reading {what} | {sorted(seconds)[2]:.2f} s | 3 s |")
    collector = GarbageCollector(Generation.V2)
    repositories = marked_repositories(stored, collector)
    print(f"| marking as the garbage collector does | {timed(lambda: mark(repositories, collector)):.2f} s | |")
    seconds_each = timed(lambda: remove_all(stored, collector))
    print(f"| the freed bytes of each of {len(stored.manifests):,} steps | {seconds_each:.2f} s | |")
    print(f"| checking for damage | {timed(lambda: list(examine_storage(stored))):.2f} s | |")


def remove_all(stored: StoredRegistry, collector: GarbageCollector) -> None:
    marks = Marks(marked_repositories(stored, collector), collector)
    for held in stored.repositories.values():
        for digest in held.revisions:
            marks.delete(held.repository, digest)


def timed(act: Callable[[], object]) -> float:
    started = time.perf_counter()
    act()
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())

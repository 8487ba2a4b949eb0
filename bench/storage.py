"""`python bench/storage.py [REPOSITORIES]`: reading a registry's storage from a local folder, 51 tags in each of 200
repositories, with a warm page cache; and the cost of a plan's exact figure. `python bench/storage.py s3
[REPOSITORIES]`: the requests that reading 20 such repositories from S3 takes; the store is moto, in its own process.

Prints the lines for docs/benchmarks.md.
"""

from __future__ import annotations

import gc
import os
import re
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

from obstore.store import S3Store
from support import fill

from dregutil.inventory.health.storage import examine_storage
from dregutil.storage.garbage_collector import GarbageCollector, Generation, Marks, mark, marked_repositories
from dregutil.storage.opened import read_storage
from dregutil.storage.stored import StoredRegistry
from servers import new_folder
from servers.s3 import S3Server

TAGS = 50
BUCKET = "bench"


def main(arguments: list[str]) -> int:
    gc.set_threshold(50_000, 20, 20)  # as the program
    is_s3 = arguments[:1] == ["s3"]
    number = int(arguments[-1]) if arguments[is_s3:] else 20 if is_s3 else 200
    folder = new_folder()
    try:
        fill(folder / "storage", number, TAGS)
        for place in (folder / "storage/docker/registry/v2/repositories").glob("*/*/_manifests/tags"):
            shutil.copytree(place / "1.0", place / "latest")
        if is_s3:
            count_requests(folder)
        else:
            measure(folder / "storage")
    finally:
        shutil.rmtree(folder)
    return 0


def count_requests(folder: Path) -> None:
    """Reads the storage from S3, and counts what the store was asked, by its log."""
    with S3Server(folder / "s3") as server:
        assert server.request("PUT", f"/{BUCKET}") == 200
        os.environ.update(server.settings)
        store = S3Store(BUCKET, client_options={"allow_http": True})
        paths = [path for path in (folder / "storage").rglob("*") if path.is_file()]
        for path in paths:
            store.put(str(path.relative_to(folder / "storage")), path.read_bytes())
        log = server.folder / "server.log"
        before = log.stat().st_size
        stored = read_storage(f"s3://{BUCKET}")
        asked = log.read_bytes()[before:].decode()
    listings = len(re.findall(rf'"GET /{BUCKET}\?', asked))
    reads = len(re.findall(rf'"GET /{BUCKET}/[^?]', asked))
    tags = sum(len(held.tags) for held in stored.repositories.values())
    links = tags + sum(len(held.revisions) for held in stored.repositories.values())
    print(f"| listing {len(paths):,} keys on S3 | {listings} requests | {-(-len(paths) // 1000)} |")
    print(f"| reading {links:,} links and {len(stored.manifests):,} manifests there | {reads:,} requests | |")


def measure(folder: Path) -> None:
    stored = read_storage(str(folder))
    tags = sum(len(held.tags) for held in stored.repositories.values())
    seconds, cpu = zip(*(timed_cpu(lambda: read_storage(str(folder))) for _ in range(5)), strict=True)
    what = f"{tags:,} tags, {len(stored.manifests):,} manifests, {len(stored.blobs):,} blobs"
    rates = f"{tags / sorted(seconds)[2]:,.0f} tags/s, {tags / sorted(cpu)[2]:,.0f} a second of CPU"
    print(f"| reading {what} | {sorted(seconds)[2]:.2f} s, {sorted(cpu)[2]:.2f} s of CPU: {rates} | 40,000 tags/s |")
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


def timed_cpu(act: Callable[[], object]) -> tuple[float, float]:
    """Seconds of wall clock, and of CPU."""
    started = time.process_time()
    return timed(act), time.process_time() - started


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""`python bench/inventory.py [TAGS]`: what a registry of ten million tags takes once it was read, 100 tags in each
repository: packed in memory, recorded, written to the cache file, read again. CPU of each step, and memory."""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TypeVar

from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag

TAGS = 100
SPREAD = 2**255 // 7 | 1  # so that digests begin differently
_Found = TypeVar("_Found")


def main(tags: int) -> None:
    print("| what | CPU | memory after it | peak so far |\n|---|---|---|---|")
    inventory = _timed("pack", lambda: _inventory(tags // TAGS))
    with tempfile.TemporaryDirectory() as name:
        history, cache = TagHistory(Path(name), "registry.example.com"), CacheFile(Path(name) / "cache.json")
        _timed("record when tags came", lambda: history.record(inventory, now=datetime.now(UTC)))
        _timed("write the cache file", lambda: cache.write(inventory))
        found = _timed("read it again", cache.read) or Inventory()
        _timed("record an equal crawl", lambda: history.record(found, now=datetime.now(UTC)))
    _timed("count the digests", lambda: found.digest_count)
    tenth = [digest for _, digest in islice(found.held(), 0, None, 10)]
    _timed("find what a tenth of them shares", lambda: found.shared(tenth))
    _timed("compare both", lambda: sum(found.tags(one) != inventory.tags(one) for one in found.repositories))


def _inventory(repositories: int) -> Inventory:
    inventory = Inventory()
    for place in range(repositories):
        first = place * TAGS + 1
        tags = {Tag(f"1.{tag}"): Digest(f"sha256:{(first + tag) * SPREAD % 2**256:064x}") for tag in range(TAGS)}
        inventory.replace(Repository(f"r{place}"), tags)
    return inventory


def _timed(what: str, work: Callable[[], _Found]) -> _Found:
    started = time.process_time()
    found = work()
    cpu = time.process_time() - started
    held = int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() / 1e6
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(f"| {what} | {cpu:.1f} s | {held:,.0f} MB | {peak:,.0f} MB |", flush=True)
    return found


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10_000_000)

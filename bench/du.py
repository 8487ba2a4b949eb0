"""`python bench/du.py [TAGS …]`: `du` and `find` with a warm content database; by default of 10,200 and 5,000,000 tags.

The database and the cache file are generated: repositories of up to 51 tags, or of 5,000. Each tag has its own
manifest, config and top layer, on nine layers, some of which are shared by the tags of a repository or of a team.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from support import OURS

from dregutil.inventory.contents.database import CONFIG, LAYER, ContentDatabase
from dregutil.inventory.contents.referrer_lists import ReferrerLists
from dregutil.inventory.contents.sums import BLOB_SUM, CONTENT_SUM, MANIFEST_SUM, SUM_USERS

NAME = "registry_example_com_cache.json"
LAYERS = 10


def main(sizes: list[int]) -> None:
    print("| tags | what | CPU | wall clock | peak memory | content database |\n|---|---|---|---|---|---|")
    for tags in sizes:
        folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
        try:
            size = generate(folder, tags)
            for what, command in commands().items():
                cpu, wall, memory = measure(folder, command)
                took = f"{cpu:.2f} s | {wall:.2f} s | {memory:,.0f} MB"
                print(f"| {tags:,} | {what} | {took} | {size / 1e9:.2f} GB |", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def commands() -> dict[str, list[str]]:
    """`find` of a layer that one tag has and of one that twenty have. The first `find` reads all tags, and is measured
    alone."""
    alone, shared = (f"sha256:{key('layer', *names).hex()}" for names in ((LAYERS - 1, 0, 7), (5, 0, 0)))
    found = {f"du, {by}": ["du", "--top", "20", "--by", by] for by in ("repo", "tag", "layer")}
    first = {"du, first": ["du", "--top", "20"]}  # checks every row
    return {**first, **found, "find, first": ["find", alone], "find": ["find", alone], "find of 20": ["find", shared]}


def measure(folder: Path, asked: list[str]) -> tuple[float, float, float]:
    """Seconds of CPU and of wall clock, and MB: the best of three runs if one takes less than ten seconds."""
    least, best, memory = float("inf"), float("inf"), 0.0
    is_first = not any(folder.glob("cache/dregutil/tags/*"))
    for _ in range(1 if asked[0] == "find" and is_first else 3):
        started = time.perf_counter()
        command = [OURS, "-reg", "registry.example.com", *asked, "--quiet"]
        script = (
            "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL);"
            "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
            "print(used.ru_utime + used.ru_stime, used.ru_maxrss); sys.exit(code)"
        )
        done = subprocess.run(
            [sys.executable, "-S", "-c", script, *map(str, command)],
            cwd=folder,
            env={"XDG_CACHE_HOME": str(folder / "cache"), "PATH": "/usr/bin:/bin", "TMPDIR": str(folder)},
            capture_output=True,
            text=True,
            check=True,
        )
        best = min(best, time.perf_counter() - started)
        cpu, most = done.stdout.split()
        least, memory = min(least, float(cpu)), int(most) * 1024 / 1e6
        if best > 10:
            break
    return least, best, memory


def generate(folder: Path, tags: int) -> int:
    """Fill a content database and a cache file; return the size of the database in bytes."""
    path = folder / "cache" / "dregutil" / "contents.sqlite"
    database = ContentDatabase.open(path)
    connection = database.connection
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -3000000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("DROP INDEX part_blob")
    connection.execute("BEGIN")
    filled = Filler(connection)
    separator = "{"
    with (folder / NAME).open("w") as cache:
        for repository, listed in repositories(tags):
            found = {f"1.{tag}": f"sha256:{filled.add(repository, tag).hex()}" for tag in range(listed)}
            filled.flush()
            cache.write(f"{separator}{json.dumps(f'team{repository % 20}/app{repository}')}: {json.dumps(found)}")
            separator = ", "
        cache.write("}")
    for table, found in (("blob", BLOB_SUM), ("content", CONTENT_SUM), ("manifest", MANIFEST_SUM)):
        connection.execute(f"UPDATE {table} SET sum = {found}")
    connection.execute(SUM_USERS)
    connection.execute("COMMIT")
    connection.execute("CREATE INDEX part_blob ON part (blob)")
    connection.execute("PRAGMA journal_mode = WAL")
    ReferrerLists(database, "registry.example.com").write(has_api=False)  # nothing is asked
    database.close()
    return path.stat().st_size


def repositories(tags: int) -> Iterator[tuple[int, int]]:
    most, number = (51 if tags < 100_000 else 5000), 0
    while tags > 0:
        yield number, min(most, tags)
        tags -= most
        number += 1


class Filler:
    """Rows for the database, buffered until `flush`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.last = 0
        self.shared: dict[bytes, int] = {}
        self.blobs: list[tuple[int, bytes, int]] = []
        self.manifests: list[tuple[int]] = []
        self.contents: list[tuple[int]] = []
        self.parts: list[tuple[int, int, int]] = []

    def add(self, repository: int, tag: int) -> bytes:
        manifest = key("manifest", repository, tag)
        whole = self.blob(manifest, 2500)
        self.manifests.append((whole,))
        config = self.blob(key("config", repository, tag), 8000)
        self.contents += ((whole,), (config,))
        self.parts.append((whole, config, CONFIG))
        for layer in range(LAYERS):
            size = 10_000_000 // (layer + 1)
            if layer == LAYERS - 1:
                found = self.blob(key("layer", layer, repository, tag), size)
            else:
                found = self.shared_blob(
                    key("layer", layer, *((repository % 20,) if layer < 4 else (repository, tag // 20))), size
                )
            self.parts.append((whole, found, LAYER))
        return manifest

    def shared_blob(self, digest: bytes, size: int) -> int:
        if digest not in self.shared:
            self.shared[digest] = self.blob(digest, size)
        return self.shared[digest]

    def blob(self, digest: bytes, size: int) -> int:
        self.last += 1
        self.blobs.append((self.last, digest, size))
        return self.last

    def flush(self) -> None:
        execute = self.connection.executemany
        execute("INSERT INTO blob (id, digest, size) VALUES (?, ?, ?)", self.blobs)
        media_type = "application/vnd.oci.image.manifest.v1+json"
        execute(
            f"INSERT INTO manifest (id, media_type, kind, whole) VALUES (?, '{media_type}', 'image', 1)", self.manifests
        )
        execute("INSERT INTO content (id, deflated) VALUES (?, zeroblob(700))", self.contents)
        execute("INSERT INTO part VALUES (?, ?, ?)", sorted(self.parts))
        self.blobs, self.manifests, self.contents, self.parts = [], [], [], []


def key(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [10_200, 5_000_000])

"""`python bench/du.py [TAGS …]`: `du` from a warm content database; by default of 10,200 and of 5,000,000 tags.

The database and the cache file are generated: repositories of up to 51 tags, or of 5,000; each tag has a manifest, a
config and a top layer of its own, on nine layers of which each repository's and each team's tags share some.
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

from dregutil.content_database import CONFIG, LAYER, ContentDatabase

NAME = "registry_example_com_cache.json"
LAYERS = 10


def main(sizes: list[int]) -> None:
    print("| tags | by | wall clock | memory at the peak | content database |\n|---|---|---|---|---|")
    for tags in sizes:
        folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
        try:
            size = generate(folder, tags)
            for by in ("repo", "tag", "layer"):
                wall, memory = measure(folder, by)
                print(f"| {tags:,} | {by} | {wall:.2f} s | {memory:,.0f} MB | {size / 1e9:.2f} GB |", flush=True)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def measure(folder: Path, by: str) -> tuple[float, float]:
    """The best of three for what takes less than ten seconds."""
    best, memory = float("inf"), 0.0
    for _ in range(3):
        started = time.perf_counter()
        command = [OURS, "-reg", "registry.example.com", "du", "--top", "20", "--by", by, "--quiet"]
        script = (
            "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL);"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss); sys.exit(code)"
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
        memory = int(done.stdout) * 1024 / 1e6
        if best > 10:
            break
    return best, memory


def generate(folder: Path, tags: int) -> int:
    """Fill a content database and a cache file; the database's size in bytes."""
    path = folder / "cache" / "dregutil" / "contents.sqlite"
    database = ContentDatabase.open(path)
    connection = database.connection
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    separator = "{"
    with (folder / NAME).open("w") as cache:
        for repository, listed in repositories(tags):
            found = {f"1.{tag}": f"sha256:{add(connection, repository, tag).hex()}" for tag in range(listed)}
            cache.write(f"{separator}{json.dumps(f'team{repository % 20}/app{repository}')}: {json.dumps(found)}")
            separator = ", "
        cache.write("}")
    connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path.stat().st_size


def repositories(tags: int) -> Iterator[tuple[int, int]]:
    most, number = (51 if tags < 100_000 else 5000), 0
    while tags > 0:
        yield number, min(most, tags)
        tags -= most
        number += 1


def add(connection: sqlite3.Connection, repository: int, tag: int) -> bytes:
    manifest = key("manifest", repository, tag)
    whole = blob(connection, manifest, 2500)
    connection.execute(
        "INSERT INTO manifest VALUES (?, 'application/vnd.oci.image.manifest.v1+json', 'image', 1)", (whole,)
    )
    connection.execute("INSERT INTO content VALUES (?, ?)", (whole, b"x" * 700))
    parts = [(blob(connection, key("config", repository, tag), 8000), CONFIG)]
    for layer in range(LAYERS):
        shared = (repository % 20,) if layer < 4 else (repository, tag // 20) if layer < 9 else (repository, tag)
        parts.append((blob(connection, key("layer", layer, *shared), 10_000_000 // (layer + 1)), LAYER))
    connection.executemany("INSERT INTO part VALUES (?, ?, ?)", [(whole, part, role) for part, role in parts])
    return manifest


def key(*parts: object) -> bytes:
    return hashlib.sha256(repr(parts).encode()).digest()


def blob(connection: sqlite3.Connection, digest: bytes, size: int) -> int:
    connection.execute("INSERT OR IGNORE INTO blob (digest, size) VALUES (?, ?)", (digest, size))
    (found,) = connection.execute("SELECT id FROM blob WHERE digest = ?", (digest,)).fetchone()
    return int(found)


if __name__ == "__main__":
    main([int(text) for text in sys.argv[1:]] or [10_200, 5_000_000])

"""`python bench/serve.py [TAGS …]`: the index of images of `serve`, and searches in it; by default of 1,000,000 tags.

The content database and the cache file are generated: repositories of up to 100 tags, each tag with its own manifest,
config and top layer, on nine layers that a repository or a team shares, and six labels. Each search is asked for with
other values each time, so that no answer was kept. The goal is 200 ms at the server. The times of searches are CPU: a
search uses one core, and waits for nothing else.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

from du import key

from dregutil.inventory.contents.database import CONFIG, LAYER, ContentDatabase
from dregutil.inventory.contents.referrer_lists import ReferrerLists
from dregutil.inventory.contents.sums import BLOB_SUM, CONTENT_SUM, MANIFEST_SUM, SUM_USERS
from dregutil.serve.images.index import ImageIndex
from dregutil.serve.images.query import parse_query
from dregutil.serve.images.search import SORTS, Searcher

REGISTRY = "registry.example.com"
NAME = "registry_example_com_cache.json"
LAYERS = 10
TAGS = 100  # of a repository
ASKED = 20  # times each search
PAGE = 100  # rows
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def main(sizes: list[int]) -> None:
    for tags in sizes:
        folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
        try:
            measured("--generate", folder, tags)
            print(f"\n{tags:,} tags:\n\n| the index | wall clock | CPU | peak memory | on the disk |")
            print("|---|---|---|---|---|", flush=True)
            for what, change in (
                ("built", 0),
                ("built again", 0),
                ("built again after 1 % of the tags moved", tags // 100),
            ):
                move(folder, change)
                print(f"| {what} | {build(folder)} | {size(folder):,.0f} MB |", flush=True)
            print(
                "\n| search | found | first page p50 | p95 | deep page p50 | p95 |\n|---|---|---|---|---|---|",
                flush=True,
            )
            measured("--search", folder, tags)
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def search(folder: Path, tags: int) -> None:
    index = ImageIndex.open(folder / "images.sqlite")
    assert index is not None
    for what, queries in searches(tags).items():
        print(row(index, what, queries), flush=True)
    print("\n| sorted by | first page | middle page | last page |\n|---|---|---|---|")
    for sort in SORTS:
        print(sorted_by(index, sort), flush=True)


def searches(tags: int) -> dict[str, Callable[[random.Random], str]]:
    """Each kind of search, as a function that makes one."""
    repositories = max(1, tags // TAGS)
    return {
        "a repository": lambda r: f"app{r.randrange(repositories)}:",
        "a word of most names": lambda r: r.choice(("team", "app", "-", "a", "1")),
        "a word of many tags": lambda r: f"{r.randrange(10)}.{r.randrange(10)}",
        "two words": lambda r: f"team{r.randrange(20)} .{r.randrange(10)}",
        "three words of most tags": lambda r: f"{r.randrange(10)} . {r.choice('abcdef')}",
        "a word of no name": lambda r: f"nothing{r.randrange(1000)}",
        "the beginning of a digest": lambda r: f"sha256:{r.randrange(1 << 16):04x}",
        "a label of every image": lambda r: r.choice(("label:maintainer", "label:org.opencontainers.image.revision")),
        "a label of a team": lambda r: f"label:team=team{r.randrange(20)}",
        "a label of one image": lambda r: (
            f"label:org.opencontainers.image.revision={revision(r.randrange(repositories), r.randrange(TAGS))}"
        ),
        "a layer of a team": lambda r: f"layer:sha256:{key('layer', 0, r.randrange(20)).hex()}",
        "a base": lambda r: f"base:{name_of(r.randrange(repositories))}:{tag_of(0, 0)}",
        "a platform": lambda r: f"platform:{r.choice(('arm64', 'linux', 'linux/amd64'))}",
        "older": lambda r: f"older:{r.randrange(1, 700)}d",
        "larger": lambda r: f"larger:{r.randrange(20, 40)}MB",
        "a word, a label, older": lambda r: (
            f"app{r.randrange(10)} label:team=team{r.randrange(20)} older:{r.randrange(700)}d"
        ),
    }


def row(index: ImageIndex, what: str, make: Callable[[random.Random], str]) -> str:
    source = random.Random(what)
    first: list[float] = []
    deep: list[float] = []
    found: list[int] = []
    for number in range(ASKED):
        searcher = Searcher(index)  # has no answers yet
        searcher.search(parse_query("is:held"))  # what every search needs is there
        query, sort = parse_query(make(source)), SORTS[number % len(SORTS)]
        started = time.process_time()
        total = searcher.search(query, sort=sort, is_descending=number % 2 == 0, limit=PAGE).total
        first.append(time.process_time() - started)
        found.append(total)
        searcher = Searcher(index)
        started = time.process_time()
        searcher.search(query, sort=sort, is_descending=number % 2 == 0, offset=total // 2, limit=PAGE)
        deep.append(time.process_time() - started)
    times = " | ".join(f"{percentile(values, 50)} | {percentile(values, 95)}" for values in (first, deep))
    return f"| {what} | {int(statistics.median(found)):,} | {times} |"


def sorted_by(index: ImageIndex, sort: str) -> str:
    searcher, everything = Searcher(index), parse_query("")
    cells = []
    for offset in (0, index.rows // 2, max(0, index.rows - PAGE)):
        times = []
        for number in range(10):
            started = time.process_time()
            searcher.search(everything, sort=sort, is_descending=number % 2 == 0, offset=offset, limit=PAGE)
            times.append(time.process_time() - started)
        cells.append(percentile(times, 95))
    return f"| {sort} | {' | '.join(cells)} |"


def percentile(values: list[float], which: int) -> str:
    ordered = sorted(values)
    return f"{ordered[min(len(ordered) - 1, len(ordered) * which // 100)] * 1000:.0f} ms"


def build(folder: Path) -> str:
    """Wall clock, CPU and memory of the job."""
    return measured(
        "-m", "dregutil", "-reg", REGISTRY, "-c", NAME, "index-images", "--out", folder / "images.sqlite", folder=folder
    )


def measured(*arguments: object, folder: Path | None = None) -> str:
    """Wall clock, CPU and peak memory of Python with arguments, without those of this process; of this program with an
    option, what it prints goes on."""
    command = [sys.executable, *([] if arguments[0] == "-m" else [__file__]), *map(str, arguments)]
    script = (
        "import resource, subprocess, sys; code = subprocess.call(sys.argv[1:]);"
        "used = resource.getrusage(resource.RUSAGE_CHILDREN);"
        "print(used.ru_utime + used.ru_stime, used.ru_maxrss, file=sys.stderr); sys.exit(code)"
    )
    started = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-S", "-c", script, *command],
        stderr=subprocess.PIPE,
        text=True,
        check=True,
        cwd=folder,
        env=environment(folder),
    )
    wall = time.perf_counter() - started
    cpu, most = done.stderr.split()[-2:]
    return f"{wall:.1f} s | {float(cpu):.1f} s | {int(most) * 1024 / 1e6:,.0f} MB"


def environment(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return dict(os.environ)
    return {**os.environ, "XDG_CACHE_HOME": str(folder), "XDG_STATE_HOME": str(folder), "TMPDIR": str(folder)}


def size(folder: Path) -> float:
    return (folder / "images.sqlite").stat().st_size / 1e6


def move(folder: Path, tags: int) -> None:
    """Put so many tags onto the digest of another, as pushes would."""
    if not tags:
        return
    path = folder / NAME
    cache: dict[str, dict[str, str]] = json.loads(path.read_text())
    source = random.Random(7)
    digests = [digest for found in cache.values() for digest in found.values()]
    for name in source.choices(list(cache), k=tags):
        cache[name][source.choice(list(cache[name]))] = source.choice(digests)
    path.write_text(json.dumps(cache))


def name_of(repository: int) -> str:
    return f"team{repository % 20}/app{repository}"


def tag_of(repository: int, tag: int) -> str:
    return f"{tag % 7}.{tag}.{repository % 50}-{revision(repository, tag)[:7]}" if tag else "latest"


def revision(repository: int, tag: int) -> str:
    return key("revision", repository, tag).hex()[:40]


def generate(folder: Path, tags: int) -> None:
    """Fill a content database and a cache file."""
    database = ContentDatabase.open(folder / "dregutil" / "contents.sqlite")
    connection = database.connection
    for pragma in ("synchronous = OFF", "journal_mode = OFF", "cache_size = -1000000"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("DROP INDEX part_blob")
    connection.execute("BEGIN")
    filled, separator = Filler(connection), "{"
    with (folder / NAME).open("w") as cache:
        for repository in range((tags + TAGS - 1) // TAGS):
            here = range(min(TAGS, tags - repository * TAGS))
            found = {tag_of(repository, tag): f"sha256:{filled.add(repository, tag).hex()}" for tag in here}
            filled.flush()
            cache.write(f"{separator}{json.dumps(name_of(repository))}: {json.dumps(found)}")
            separator = ", "
        cache.write("}")
    for table, found_sum in (("blob", BLOB_SUM), ("content", CONTENT_SUM), ("manifest", MANIFEST_SUM)):
        connection.execute(f"UPDATE {table} SET sum = {found_sum}")
    connection.execute(SUM_USERS)
    connection.execute("COMMIT")
    connection.execute("CREATE INDEX part_blob ON part (blob)")
    connection.execute("PRAGMA journal_mode = WAL")
    ReferrerLists(database, REGISTRY).write(has_api=False)
    database.close()


class Filler:
    """Rows for the database, buffered until `flush`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.connection = connection
        self.last = 0
        self.shared: dict[bytes, int] = {}
        self.blobs: list[tuple[int, bytes, int]] = []
        self.manifests: list[tuple[int]] = []
        self.contents: list[tuple[int, bytes]] = []
        self.parts: list[tuple[int, int, int]] = []

    def add(self, repository: int, tag: int) -> bytes:
        """An image; returns the key of its digest."""
        config = config_of(repository, tag)
        layers = [*layers_of(repository, tag)]
        descriptors = ",".join(
            f'{{"mediaType":"application/vnd.oci.image.layer.v1.tar+gzip","digest":"sha256:{one.hex()}","size":{size}}}'
            for one, size, _ in layers
        )
        config_key = sha256(config).digest()
        raw = (
            f'{{"schemaVersion":2,"mediaType":"{MANIFEST}","config":{{"mediaType":'
            f'"application/vnd.oci.image.config.v1+json","digest":"sha256:{config_key.hex()}","size":{len(config)}}},'
            f'"layers":[{descriptors}]}}'
        ).encode()
        manifest = sha256(raw).digest()
        whole, below = self.blob(manifest, len(raw)), self.blob(config_key, len(config))
        self.manifests.append((whole,))
        self.contents += ((whole, zlib.compress(raw, 1)), (below, zlib.compress(config, 1)))
        self.parts.append((whole, below, CONFIG))
        for layer, size, is_shared in layers:
            found = self.shared_blob(layer, size) if is_shared else self.blob(layer, size)
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
        execute(
            f"INSERT INTO manifest (id, media_type, kind, whole) VALUES (?, '{MANIFEST}', 'image', 1)", self.manifests
        )
        execute("INSERT INTO content (id, deflated) VALUES (?, ?)", self.contents)
        execute("INSERT INTO part VALUES (?, ?, ?)", sorted(self.parts))
        self.blobs, self.manifests, self.contents, self.parts = [], [], [], []


def layers_of(repository: int, tag: int) -> Iterator[tuple[bytes, int, bool]]:
    """The layers of an image from the base on: the key of each, its size, and whether others have it."""
    for layer in range(LAYERS):
        size = 10_000_000 // (layer + 1) + (tag * 100_000 if layer == LAYERS - 1 else 0)
        if layer == LAYERS - 1 and tag:
            yield key("layer", layer, repository, tag), size, False
        elif tag or layer < LAYERS - 1:
            yield key("layer", layer, *((repository % 20,) if layer < 4 else (repository, tag // 20))), size, True


def config_of(repository: int, tag: int) -> bytes:
    day = (repository * 7 + tag) % 700
    labels = {
        "team": f"team{repository % 20}",
        "maintainer": "somebody@example.com",
        "org.opencontainers.image.revision": revision(repository, tag),
        "org.opencontainers.image.version": f"1.{tag}",
        "org.opencontainers.image.source": f"https://git.example.com/{name_of(repository)}",
        "org.opencontainers.image.title": name_of(repository),
    }
    return json.dumps(
        {
            "created": f"{2025 - day // 360}-{day % 360 // 30 + 1:02}-{day % 28 + 1:02}T12:00:00Z",
            "os": "linux",
            "architecture": ("amd64", "amd64", "arm64")[tag % 3],
            "config": {"Labels": labels, "Env": ["PATH=/usr/local/bin:/usr/bin"]},
            "history": [{"created_by": f"RUN step {number}"} for number in range(10)],
        }
    ).encode()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--generate"]:
        generate(Path(sys.argv[2]), int(sys.argv[3]))
    elif sys.argv[1:2] == ["--search"]:
        search(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main([int(text) for text in sys.argv[1:]] or [1_000_000])

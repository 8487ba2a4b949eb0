"""`python bench/parquet.py [TAGS]`: `store export --parquet` of 1,000,000 tags, on SQLite and PostgreSQL.

They are in repositories of 50; each has its own manifest. Once no
manifest is known, once a fifth of them with their configs and nine layers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from dregutil.oci.manifest import OCI_MANIFEST
from dregutil.oci.names import Digest
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, Row, open_database
from dregutil.store.migrations import migrate
from servers.postgres import Postgres

TAGS = 50  # of a repository
KEY = "registry.example.com"
KNOWN = 5  # one of so many
CONTENT = ("digest", "media_type", "deflated", "at")
COLUMNS = ("registry", "repository", "name", "digest", "came", "gone", "version")
CHILD = """
import json, resource, sys, time
from pathlib import Path
from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.parquet.export import export_parquet
before = resource.getrusage(resource.RUSAGE_SELF)
wall = time.perf_counter()
database = open_database(StoreAddress.parse(sys.argv[1]))
found = export_parquet(database, Path(sys.argv[2]))
after = resource.getrusage(resource.RUSAGE_SELF)
size = sum(one.path.stat().st_size for one in found.files)
rows = sum(one.rows for one in found.files)
cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
print(json.dumps([rows, size / 1e6, cpu, time.perf_counter() - wall, before.ru_maxrss / 1e3, after.ru_maxrss / 1e3]))
"""


def main(tags: int) -> None:
    print("| store | contents | rows | files | CPU | wall clock | memory before | peak |")
    print("|---|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory(prefix="dregutil-bench-") as name:
        folder = Path(name)
        for what, url in stores(folder):
            database = open_database(StoreAddress.parse(url))
            migrate(database)
            fill(database, tags)
            for known in (False, True):
                if known:
                    with database.transaction() as transaction:
                        transaction.put("content", CONTENT[:1], CONTENT, contents(tags))
                done = subprocess.run(
                    [sys.executable, "-c", CHILD, url, str(folder / "lake")], capture_output=True, check=True
                )
                rows, size, cpu, wall, before, peak = json.loads(done.stdout)
                print(
                    f"| {what} | {f'one of {KNOWN}' if known else 'none'} | {rows:,} | {size:,.0f} MB | {cpu:.1f} s"
                    f" | {wall:.1f} s | {before:,.0f} MB | {peak:,.0f} MB |",
                    flush=True,
                )
            database.close()


def stores(folder: Path) -> Iterator[tuple[str, str]]:
    yield "SQLite", f"sqlite://{folder}/store.sqlite"
    with postgres() as server:
        yield "PostgreSQL", server.new_database()


@contextmanager
def postgres() -> Iterator[Postgres]:
    with Postgres() as server:
        os.environ["PGPASSWORD"] = server.password
        yield server


def fill(database: Database, tags: int) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO inventory (registry, version, read_at) VALUES (:key, 1, {now})", {"key": KEY})
        transaction.put("tag", COLUMNS[:3], COLUMNS, rows(tags))


def rows(tags: int) -> Iterator[Row]:
    for number in range(tags):
        name = f"team{number // TAGS % 97}/service{number // TAGS}"
        yield KEY, name, f"1.{number % TAGS}.0", digest_of(number), 1.7e9 + number, None, 1


def digest_of(number: int) -> str:
    if number % KNOWN == 0:
        return Digest.of(manifest(number)[0])
    return Digest.of(b"manifest %d" % number)


def manifest(number: int) -> tuple[bytes, bytes]:
    """The bytes of a manifest and of its config: eight layers are those of its repository, one is its own."""
    config = b'{"created": "2026-01-02T03:04:05Z", "os": "linux", "architecture": "amd64", "number": %d}' % number
    layers = [(b"layer %d of %d" % (n, number // TAGS), 1 << 20) for n in range(8)] + [(b"own %d" % number, 1 << 16)]
    body = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": Digest.of(config),
            "size": len(config),
        },
        "layers": [
            {"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": Digest.of(raw), "size": size}
            for raw, size in layers
        ],
    }
    return json.dumps(body).encode(), config


def contents(tags: int) -> Iterator[Row]:
    for number in range(0, tags, KNOWN):
        raw, config = manifest(number)
        yield Digest.of(raw), OCI_MANIFEST, zlib.compress(raw), 1.7e9
        yield Digest.of(config), "", zlib.compress(config), 1.7e9


if __name__ == "__main__":
    main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000)

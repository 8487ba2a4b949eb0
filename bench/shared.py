"""What a store on PostgreSQL adds: a registry's tags, and the records of when they came, from one machine to another.

    python bench/shared.py [TAGS]

The server is Debian's, on the same machine. Two state folders stand for two machines.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.facts import SharedFacts
from dregutil.store.inventory import SharedCache
from dregutil.store.migrations import migrate
from servers.postgres import Postgres

_REGISTRY = "registry.example.com"
_PER_REPOSITORY = 50
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)


def made_inventory(tags: int, *, generation: int) -> Inventory:
    """Of each thousand tags one is on another digest in each generation."""

    def digest(number: int) -> Digest:
        seed = f"{number} {generation if number % 1000 == 0 else 0}"
        return Digest(f"sha256:{hashlib.sha256(seed.encode()).hexdigest()}")

    found = Inventory()
    for number in range(tags // _PER_REPOSITORY):
        first = number * _PER_REPOSITORY
        named = {Tag(f"1.{n}"): digest(first + n) for n in range(_PER_REPOSITORY)}
        found.replace(Repository(f"team-{number % 100}/image-{number}"), named)
    return found


def _timed(what: str, work: Callable[[], object]) -> None:
    begin, used = time.perf_counter(), time.process_time()
    work()
    print(f"| {what} | {time.perf_counter() - begin:.1f} | {time.process_time() - used:.1f} |", flush=True)


def _measure(database: Database, folder: Path, tags: int) -> None:
    before, after = made_inventory(tags, generation=0), made_inventory(tags, generation=1)
    here, there = (SharedCache(lambda: database, folder / name, _REGISTRY) for name in "ab")
    _timed("tags: first written", lambda: here.write(before))
    _timed("tags: first read on another machine", there.read)
    _timed("tags: read again", there.read)
    _timed("tags: written, 0.1 % changed", lambda: here.write(after))
    _timed("tags: read on the other machine", there.read)
    facts = SharedFacts(database, _REGISTRY)
    first, second = (TagHistory(folder / name, _REGISTRY, facts) for name in "ab")
    _timed("history: first recorded", lambda: first.record(before, now=_BEGIN))
    _timed("history: first copied to another machine", second.bring)
    _timed("history: recorded, 0.1 % changed", lambda: first.record(after, now=_BEGIN + timedelta(days=1)))
    _timed("history: copied to the other machine", second.bring)
    _timed("history: nothing to copy", second.bring)


def _sizes(database: Database) -> tuple[float, float]:
    """In MB: the tags, and the history."""
    with database.transaction() as transaction:
        size = "pg_total_relation_size(oid)"
        (of_tags,) = transaction.rows(f"SELECT sum({size}) FROM pg_class WHERE relname ~ '^tag_[0-9]+$'")[0]
        (of_history,) = transaction.rows("SELECT pg_total_relation_size('shared_row')")[0]
    return float(of_tags) / 1e6, float(of_history) / 1e6


def main() -> None:
    tags = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with Postgres() as server, tempfile.TemporaryDirectory() as folder:
        os.environ["PGPASSWORD"] = server.password
        database = open_database(StoreAddress.parse(server.new_database()))
        migrate(database)
        print(f"{tags:,} tags\n\n| | seconds | seconds of this process |\n|---|---|---|")
        _measure(database, Path(folder), tags)
        of_tags, of_history = _sizes(database)
        print(f"\nIn the database: tags {of_tags:,.0f} MB, history {of_history:,.0f} MB.")
        database.close()


if __name__ == "__main__":
    main()

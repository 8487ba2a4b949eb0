"""`python bench/many_tags.py [REGISTRIES TAGS]`: a store of 10,000,000 tags, and how long its queries take.

Ten registries of 1,000,000 tags each, on Debian's PostgreSQL: the tags, when they came, and 1,000 runs of 100 steps on
one of the registries. Then `dregutil serve` starts on a machine that knows the contents of that registry's images
(those of bench/serve.py) and nothing else, and answers all that its pages ask for; and a few commands look things up.
PostgreSQL itself counts the time of each statement (pg_stat_statements). The goal is 300 ms for the slowest one while a
page waits; what a machine copies when it starts is apart. The registry does not answer: nothing is read from it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from serve import NAME, REGISTRY, generate
from shared import made_inventory

from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Tag
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.facts import SharedFacts
from dregutil.store.inventory import SharedCache
from dregutil.store.migrations import migrate
from dregutil.store.open import open_runs
from program import Program
from servers.postgres import Postgres
from serving import Serving

GOAL = 300.0  # ms
RUNS, STEPS = 1_000, 100
_BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
_STATISTICS = "shared_preload_libraries = 'pg_stat_statements'\n"


def main(registries: int = 10, tags: int = 1_000_000) -> None:
    names = [REGISTRY, *(f"registry-{number}.example.com" for number in range(1, registries))]
    postgres = Postgres()
    with (postgres.folder / "data" / "postgresql.conf").open("a") as file:
        file.write(_STATISTICS)
    with postgres, tempfile.TemporaryDirectory(prefix="dregutil-bench-") as text:
        folder = Path(text)
        os.environ["PGPASSWORD"] = postgres.password
        address = StoreAddress.parse(postgres.new_database())
        database = open_database(address)
        migrate(database)
        with database.transaction() as transaction:
            transaction.execute("CREATE EXTENSION pg_stat_statements")
        first = folder / "first"
        first.mkdir()
        inventory = _inventory_of_images(first, tags)
        for name in names:
            if name != REGISTRY:
                inventory = made_inventory(tags, generation=0)
            with _said(f"{name}: {tags:,} tags written"):
                SharedCache(lambda: database, folder / "filler", name).write(inventory)
                facts = SharedFacts(database, name)
                TagHistory(folder / "filler", name, facts).record(inventory, now=_BEGIN)
            if name == REGISTRY:
                shown = inventory
        with _said(f"{RUNS:,} runs of {STEPS} steps written"):
            _record_runs(address, folder / "filler", REGISTRY, shown)
        with database.transaction() as transaction:
            transaction.execute("ANALYZE")
        print(f"\n{_sizes(database)}\n", flush=True)
        program = _Program(REGISTRY, first)
        with _said("serve starts, and copies what it needs"), _statistics(database, "copies"):
            serving = Serving(program, ("--store", address.url, "--refresh-every", "0"), _environment(first, postgres))
            serving.start()
            _wait(serving)
        try:
            with _statistics(database, "pages"):
                _pages(serving, shown)
        finally:
            serving.end()
        with _statistics(database, "commands"):
            _commands(program, address, _environment(first, postgres))
        database.close()


class _Program(Program):
    """The tags are those of the store."""

    def command(self, arguments: tuple[str, ...], state: Path | None = None) -> list[str]:
        return [one for one in super().command(arguments, state) if one not in ("-c", "None")]


def _environment(folder: Path, postgres: Postgres) -> dict[str, str]:
    return {"PGPASSWORD": postgres.password, "XDG_CACHE_HOME": str(folder / "cache"), "TMPDIR": str(folder)}


def _inventory_of_images(folder: Path, tags: int) -> Inventory:
    """The tags of images whose contents the machine with this folder knows."""
    generate(folder, tags)
    (folder / "cache").mkdir()
    (folder / "dregutil").rename(folder / "cache" / "dregutil")
    found = CacheFile(folder / NAME).read()
    assert found is not None
    return found


def _record_runs(address: StoreAddress, state: Path, registry: str, inventory: Inventory) -> None:
    runs = open_runs(address, state)
    digest = Digest.of(b"gone")
    for number in range(RUNS):
        repository = inventory.repositories[number % len(inventory.repositories)]
        steps = tuple(
            Step(n, Action.DELETE, repository, digest, (Tag(f"0.{n}"),), StepKind.IMAGE, "old: beyond last: 3")
            for n in range(1, STEPS + 1)
        )
        made = _BEGIN + timedelta(hours=number)
        with runs.lock(registry):
            journal = runs.begin(Plan(registry, made, "dregutil cleanup", steps), made)
            with runs.ledger.database.transaction() as transaction:
                transaction.execute("UPDATE target SET looked = TRUE WHERE run = :run", {"run": journal.run})
            journal.close(made + timedelta(minutes=1))
    runs.close()


def _wait(serving: Serving) -> None:
    """Until its jobs have ended."""
    while serving.get("images").status != 200:
        states = [job["state"] for job in serving.get("jobs").json["jobs"]]
        assert "failed" not in states, serving.get("jobs").json
        time.sleep(0.5)
    assert serving.get("runs").status == 200


def _pages(serving: Serving, inventory: Inventory) -> None:
    """Everything that pages ask for, each ten times."""
    run = serving.get("runs").json["runs"][0]["run"]
    plans = [one["sum"] for one in serving.get("plans").json["plans"]]
    print("| page asks for | answered | slowest of ten |\n|---|---|---|")
    fixed = ("session", "report", "plans", "runs?limit=50", f"runs/{run}", "removed?limit=50", "holds", "jobs")
    for what in (*fixed, *(f"plans/{one}" for one in plans), "images?q={}&limit=100", "timeline?of={}", "why?image={}"):
        taken, status = [], 0
        for number in range(10):
            repository = inventory.repositories[number * 7 % len(inventory.repositories)]
            path = what.format(f"{repository}:{next(iter(inventory.tags(repository)))}")
            begun = time.perf_counter()
            status = serving.get(path).status
            taken.append(time.perf_counter() - begun)
        print(f"| {what} | {status} | {max(taken) * 1000:.0f} ms |", flush=True)


def _commands(program: Program, address: StoreAddress, environment: dict[str, str]) -> None:
    """What is looked up from a laptop."""
    store = ("--store", address.url)
    for words in (("history",), ("plans",), ("store", "check"), ("hold", "--list"), ("undo", "--list")):
        subprocess.run(
            program.command((*store, *words)),
            env={**os.environ, **environment},
            stdout=subprocess.DEVNULL,
            check=True,
        )


@contextmanager
def _said(what: str) -> Iterator[None]:
    begun = time.perf_counter()
    yield
    print(f"{what}: {time.perf_counter() - begun:.1f} s", flush=True)


@contextmanager
def _statistics(database: Database, what: str) -> Iterator[None]:
    """Print the slowest statements that were sent meanwhile."""
    with database.transaction() as transaction:
        transaction.rows("SELECT pg_stat_statements_reset()")
    yield
    with database.transaction() as transaction:
        rows = transaction.rows(
            "SELECT max_exec_time, mean_exec_time, calls, rows, query FROM pg_stat_statements "
            "WHERE query NOT LIKE :own ORDER BY max_exec_time DESC LIMIT 5",
            {"own": "%pg_stat_statements%"},
        )
    print(f"\n| {what}: the slowest statements | slowest | mean | calls | rows |\n|---|---|---|---|---|")
    for most, mean, calls, found, query in rows:
        print(
            f"| `{' '.join(query.split())[:150]}` | {most:.1f} ms | {mean:.1f} ms | {calls} | {found:,} |", flush=True
        )


def _sizes(database: Database) -> str:
    with database.transaction() as transaction:
        parts = transaction.rows(
            "SELECT relname, pg_total_relation_size(oid), reltuples FROM pg_class WHERE relname ~ '^tag_[0-9]+$'"
        )
        whole = {
            name: transaction.rows(f"SELECT pg_total_relation_size('{name}')")[0][0]
            for name in ("shared_row", "run", "line")
        }
    came, recorded = (sum(float(whole[name]) for name in names) / 1e6 for names in (("shared_row",), ("run", "line")))
    sizes, counts = [float(size) / 1e6 for _, size, _ in parts], [int(count) for _, _, count in parts]
    return (
        f"tags: {sum(counts):,} in {len(parts)} partitions of {min(counts):,} to {max(counts):,}, "
        f"{sum(sizes):,.0f} MB "
        f"({min(sizes):,.0f} to {max(sizes):,.0f} MB each); when they came: {came:,.0f} MB; "
        f"runs: {recorded:,.0f} MB"
    )


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))

"""A run on a shared store, by one process and by many.

    python bench/cluster.py [REPOSITORIES TAGS DOOMED WORKERS]
    python bench/cluster.py load [REPOSITORIES TAGS WORKERS]

A registry (distribution 2.8.2) of 200 repositories of 50 tags, of which 25 go, filled anew for each run. One process,
with its records in a state folder, in a SQLite store and in PostgreSQL; then 8 processes that carry out one run. The
share of the store: the time that the work on repositories waits for claims, holds, intents and releases. By the clock.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from support import fill, fill_sharing, own_of

from servers import DistributionServer
from servers.postgres import Postgres

GOAL_SHARE = 0.15
GOAL_RATIO = 1.15


def main(repositories: int = 200, tags: int = 50, doomed: int = 25, workers: int = 8) -> None:
    from dregutil.store.address import StoreAddress
    from dregutil.store.database import open_database
    from dregutil.store.migrations import migrate

    print("| records in | processes | seconds | DELETEs a second | waits for the store | of the state folder |")
    print("|---|---|---|---|---|---|")
    with Postgres() as postgres:
        os.environ["PGPASSWORD"] = postgres.password
        alone = 0.0
        for what, count in (("state folder", 1), ("SQLite", 1), ("PostgreSQL", 1), ("PostgreSQL", workers)):
            folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-"))
            try:
                url = {"SQLite": f"sqlite://{folder}/store.sqlite", "PostgreSQL": postgres.new_database()}.get(what, "")
                if url:
                    migrate(open_database(StoreAddress.parse(url)))
                seconds, share = _run(folder, (repositories, tags, doomed), url, count)
                if count > 1:
                    _check(url, repositories)
            finally:
                shutil.rmtree(folder, ignore_errors=True)
            alone = alone or seconds
            rate, ratio = repositories * doomed / seconds, f"{seconds / alone:.2f} ×"
            print(f"| {what} | {count} | {seconds:.1f} | {rate:,.0f} | {share:.0%} | {ratio} |", flush=True)
    print(f"\ngoals: at most {GOAL_SHARE:.0%} of the time; one process on PostgreSQL at most {GOAL_RATIO} × of SQLite")


def load(repositories: int = 20_000, tags: int = 50, workers: int = 8) -> None:
    from dregutil.store.address import StoreAddress
    from dregutil.store.database import open_database
    from dregutil.store.migrations import migrate

    folder = Path(tempfile.mkdtemp(prefix="dregutil-bench-", dir=os.environ.get("TMPDIR", "/var/tmp")))
    try:
        with Postgres() as postgres:
            os.environ["PGPASSWORD"] = postgres.password
            url = postgres.new_database()
            migrate(open_database(StoreAddress.parse(url)))
            seconds, share = _run(folder, (repositories, tags, 1), url, workers, is_load=True)
            _check(url, repositories)
            print(
                f"{repositories * tags:,} tags in {repositories:,} repositories, {workers} processes: "
                f"{seconds:,.0f} s; "
                f"{share:.1%} of their work waits for the store (goal: at most {GOAL_SHARE:.0%}); each repository was "
                "claimed once"
            )
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _run(
    folder: Path, size: tuple[int, int, int], store: str, count: int, *, is_load: bool = False
) -> tuple[float, float]:
    """Seconds from the start of the first process to the end of the last, and the share of the waits."""
    repositories, tags, doomed = size
    registry = DistributionServer(folder / "registry", cache=True)
    (fill_sharing if is_load else fill)(registry.storage, repositories, tags)
    with registry:
        what = "plan-of-load" if is_load else "plan"
        plan = [sys.executable, __file__, what, registry.url, str(folder), str(repositories)]
        subprocess.run([*plan, str(tags if is_load else doomed)], check=True)
        begun = time.perf_counter()
        children = [
            subprocess.Popen(
                [
                    sys.executable,
                    __file__,
                    "first" if not number else "join",
                    registry.url,
                    store,
                    str(folder),
                    str(number),
                ],
                stdout=subprocess.PIPE,
            )
            for number in range(count)
        ]
        told = [json.loads(child.communicate()[0]) for child in children]
        seconds = time.perf_counter() - begun
    print(f"repositories of each process: {[one['repositories'] for one in told]}", file=sys.stderr)
    return seconds, sum(one["waits"] for one in told) / max(1e-9, sum(one["work"] for one in told))


def _check(url: str, repositories: int) -> None:
    """That each repository was claimed once, and all are done."""
    from dregutil.store.address import StoreAddress
    from dregutil.store.database import open_database

    database = open_database(StoreAddress.parse(url))
    with database.transaction() as transaction:
        claims = transaction.rows("SELECT fence, count(*) FROM repository GROUP BY fence")
        left = transaction.rows("SELECT count(*) FROM target WHERE NOT looked")
    database.close()
    assert claims == [(1, repositories)], claims
    assert left == [(0,)], left


# In a process of its own


class _Waits:
    """What a process waits for, and works, in seconds of its tasks."""

    def __init__(self) -> None:
        self.seconds = {"waits": 0.0, "work": 0.0}
        self.calls = Counter[str]()

    def around(self, owner: Any, name: str, *kinds: str) -> None:
        """Count the time of an async function."""
        inner: Callable[..., Awaitable[Any]] = getattr(owner, name)

        async def timed(*arguments: Any, **named: Any) -> Any:
            self.calls[name] += 1
            begun = time.perf_counter()
            try:
                return await inner(*arguments, **named)
            finally:
                for kind in kinds:
                    self.seconds[kind] += time.perf_counter() - begun

        setattr(owner, name, timed)

    def around_one(self, owner: Any, name: str, *kinds: str) -> None:
        """Count the time of a function that a thread runs."""
        inner: Callable[..., Any] = getattr(owner, name)

        def timed(*arguments: Any) -> Any:
            begun = time.perf_counter()
            try:
                return inner(*arguments)
            finally:
                for kind in kinds:
                    self.seconds[kind] += time.perf_counter() - begun

        setattr(owner, name, timed)


async def child(role: str, url: str, store: str, folder: Path, number: str) -> None:
    import dregutil
    from dregutil.apply import apply
    from dregutil.apply.run import Run
    from dregutil.journal.writer import Journal
    from dregutil.plan.file import decode_plan
    from dregutil.store.claims import SharedClaims
    from dregutil.store.journal import SharedJournal

    waits = _Waits()
    waits.around(apply, "_carry_out", "work")
    for name in ("_claim", "_earlier"):
        waits.around_one(SharedClaims, name, "waits", "work")
    waits.around(SharedClaims, "release", "waits", "work")
    waits.around(Run, "current_holds", "waits")
    for owner in (SharedJournal, Journal):
        waits.around(owner, "_durable", "waits")
    state = folder / f"state-{number if store else 0}"
    chosen = {"store": store or None, "state_dir": state, "contents": folder / f"contents-{number}", "insecure": True}
    async with dregutil.connect(url, **chosen) as session:
        if role == "first":
            await session.apply(decode_plan((folder / "plan.jsonl").read_bytes().splitlines(keepends=True))[0])
        else:
            await session.resume(_begun(session))
    print(json.dumps({**waits.seconds, "repositories": waits.calls["_carry_out"]}))


def _begun(session: Any) -> str:
    """The run, once the first process has begun it."""
    while not (headers := session.store.headers(session.identity)):
        time.sleep(0.05)
    return str(headers[0].run)


async def plan(url: str, folder: Path, repositories: int, doomed: int) -> None:
    import dregutil
    from dregutil.plan.file import encode_plan

    async with dregutil.connect(url, state_dir=folder / "planner", contents=None, insecure=True) as session:
        names = [f"team{number % 10}/app{number}" for number in range(repositories)]  # as `fill` calls them
        made = await session.plan_removal(*names, tags=[f"1.{number}" for number in range(doomed)])
    (folder / "plan.jsonl").write_bytes(b"".join(encode_plan(made)))


async def plan_of_load(url: str, folder: Path, repositories: int, tags: int) -> None:
    """A plan as `cleanup` makes it: one image of each repository. To read a million tags for it takes minutes."""
    import dregutil
    from dregutil.oci.names import Repository, Tag
    from dregutil.plan.file import encode_plan
    from dregutil.plan.model import Action, Plan, Step, StepKind

    names = [Repository(f"team{number % 10}/app{number}") for number in range(repositories)]
    steps = tuple(
        Step(number + 1, Action.DELETE, name, own_of(number), (Tag("1.0"),), StepKind.IMAGE, "the tag 1.0")
        for number, name in enumerate(names)
    )
    async with dregutil.connect(url, state_dir=folder / "planner", contents=None, insecure=True) as session:
        registry = session.identity
    made = Plan(registry, datetime.now(UTC), "dregutil remove-tags", steps, tags_before=dict.fromkeys(names, tags))
    (folder / "plan.jsonl").write_bytes(b"".join(encode_plan(made)))


if __name__ == "__main__":
    words = sys.argv[1:]
    if words and words[0] == "plan":
        asyncio.run(plan(words[1], Path(words[2]), int(words[3]), int(words[4])))
    elif words and words[0] == "plan-of-load":
        asyncio.run(plan_of_load(words[1], Path(words[2]), int(words[3]), int(words[4])))
    elif words and words[0] == "load":
        load(*map(int, words[1:]))
    elif words and words[0] in ("first", "join"):
        asyncio.run(child(words[0], words[1], words[2], Path(words[3]), words[4]))
    else:
        main(*map(int, words))

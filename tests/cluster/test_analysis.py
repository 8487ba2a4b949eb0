"""The questions of docs/analysis.md, asked of an export of a real store that knows a real registry.

The answers are those of `du`, `find`, `ls` and `history`.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pytest

import dregutil
from described_tables import described
from documents import ROOT
from dregutil.inventory.tags import Inventory
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.writer import Batch
from dregutil.store.database import Database
from dregutil.store.parquet.export import export_parquet
from images import Pusher, created
from servers import DistributionServer

TEXT = (ROOT / "docs" / "analysis.md").read_text()
VIEWS, *ASKED = re.findall(r"```sql\n(.*?)```", TEXT, re.DOTALL)
GREW, SHARED, UNUSED, REMOVED, OLD_BASE = ASKED
OLD = [b"glibc and more " * 300, b"shell " * 20]
FIXED = [*OLD, b"glibc, fixed " * 10]  # which begins as the old one does
POLICY = """version: 1
defaults: {max_remove: 100%, allow_empty: true}
policies:
  - {name: builds, repositories: [shop/web], keep: {tags: ["2"]}}
  - {name: nightlies, repositories: [lab/*], keep: {tags: [stable]}}
"""
ROWS = list[tuple[Any, ...]]


@dataclass
class Lake:
    """What was exported, and what the registry held when it was."""

    folder: Path
    key: str
    sizes: list[dict[str, int]]
    holders: dict[str, set[str]]
    freed: dict[str, tuple[int, int]]

    def ask(self, question: str) -> ROWS:
        with duckdb.connect() as connection:
            connection.execute(VIEWS.replace("/data/lake", str(self.folder)))
            rows: ROWS = connection.execute(question).fetchall()
        return rows


def build(pusher: Pusher, name: str, *tags: str, on: list[bytes], size: int = 1_000) -> dict[str, Any]:
    seed = f"{name}:{tags[0]}"
    layer = (seed.encode() * size)[:size]
    return pusher.push_image(name, *tags, seed=seed, layers=[*on, layer], config=created(200))


def sizes(session: dregutil.Session) -> dict[str, int]:
    """What `du` says of each repository."""
    found = session.disk_usage()
    assert found.is_complete
    return {str(row.repository): row.size for row in found.rows()}


def long_known(session: dregutil.Session, tags: dict[str, dict[str, str]]) -> None:
    seen = {Repository(name): {Tag(tag): Digest(one) for tag, one in of.items()} for name, of in tags.items()}
    session._session.records.history.record(Inventory(seen), now=datetime.now(UTC) - timedelta(days=120))


def pulled(session: dregutil.Session, tags: dict[str, dict[str, str]], child: str) -> None:
    """Two tags were pulled a while ago, one by tag and one as the child of its index; another one long ago."""
    now = datetime.now(UTC)
    ago = {days: int((now - timedelta(days=days)).timestamp()) for days in (10, 100, 200)}
    batch = Batch(recorded=(ago[200], int(now.timestamp())))
    batch.add(Repository("shop/web"), Tag("2"), ago[10], "docker")
    batch.add(Repository("shop/web"), Digest(tags["shop/web"]["1"]), ago[100], "docker")
    batch.add(Repository("lab/tool"), Digest(child), ago[10], "containerd")
    with session._session._pull_store.writer(SourceKind.EVENTS, "notifications") as writer:
        writer.write(batch)


def older(folder: Path, days: int) -> None:
    """Let what was exported be so many days older."""
    for place in folder.glob("*/registry=*/day=*"):
        day = datetime.strptime(place.name, "day=%Y-%m-%d").date()  # noqa: DTZ007 - a day
        place.rename(place.with_name(f"day={day - timedelta(days=days)}"))


@pytest.fixture
def lake(
    registry_server: DistributionServer, pusher: Pusher, store: str, database: Database, tmp_path: Path
) -> Iterator[Lake]:
    """A month of a registry: images on a base, the base fixed, one of them built again, pulls, a cleanup."""
    folder = tmp_path / "lake"
    pusher.push_image("base/debian", "12", seed="base", layers=OLD, config=created(300))
    build(pusher, "shop/web", "1", on=OLD, size=40_000)
    tool = build(pusher, "lab/tool", "amd64", on=OLD)
    pusher.push_index("lab/tool", "stable", children=[tool])
    build(pusher, "lab/tool", "nightly", on=OLD)
    with dregutil.open(
        registry_server.url, store=store, state_dir=tmp_path / "a", contents=None, insecure=True
    ) as session:
        tags = {name: pusher.tags(name) for name in ("shop/web", "lab/tool", "base/debian")}
        long_known(session, tags)
        session.crawl()
        found = Lake(folder, session._session.address.key, [sizes(session)], {}, {})
        export_parquet(database, folder)
        older(folder, 31)
        pusher.push_image("base/debian", "12", seed="fixed", layers=FIXED, config=created(3))
        build(pusher, "shop/web", "2", on=FIXED, size=90_000)
        build(pusher, "shop/scratch", "1", on=[], size=70_000)
        session.crawl()
        with database.transaction() as transaction:
            transaction.execute("UPDATE tag SET came = came - 120 * 86400")
        pulled(session, tags, tool["digest"])
        (tmp_path / "policy.yml").write_text(POLICY)
        proposal = session.plan_cleanup(tmp_path / "policy.yml")
        before_cleanup(session, found)
        export_parquet(database, folder)
        session.apply(proposal)
        found.freed = by_policy(session)
        yield found


def before_cleanup(session: dregutil.Session, lake: Lake) -> None:
    """What `du` and `find` say of the registry as it is exported."""
    lake.sizes.append(sizes(session))
    for row in session.disk_usage(by="layer").rows():
        assert row.digest is not None
        lake.holders[str(row.digest)] = {str(use.repository) for use in session.find(str(row.digest)).uses}


def by_policy(session: dregutil.Session) -> dict[str, tuple[int, int]]:
    """Tags and bytes that `history` says the runs took, by the policy in the reason of each step."""
    tags: Counter[str] = Counter()
    frees: Counter[str] = Counter()
    for run in session.runs():
        for step in run.plan.steps:
            policy = step.because.partition(": ")[0]
            tags[policy] += len(step.tags)
            frees[policy] += step.frees
        assert sum(frees.values()) == run.reclaimable_bytes
        assert sum(tags.values()) == run.removed_tags
    return {policy: (tags[policy], frees[policy]) for policy in tags}


def test_the_questions(lake: Lake, database: Database) -> None:
    before, now = lake.sizes
    grown = sorted(((now[name] - before.get(name, 0), name) for name in now), key=lambda one: (-one[0], one[1]))
    assert lake.ask(GREW) == [(lake.key, name, grew, now[name]) for grew, name in grown]
    assert grown[0][1] == "shop/web"
    shared = lake.ask(SHARED)
    assert {digest: number for _, digest, _, number, _ in shared} == {
        digest: len(names) for digest, names in lake.holders.items()
    }
    assert shared[0][2:] == (len(OLD[0]), 3, 5)
    assert [row[1:] for row in lake.ask(UNUSED)] == [
        ("shop", 2, ["shop/scratch:1", "shop/web:1"]),
        ("base", 1, ["base/debian:12"]),
        ("lab", 1, ["lab/tool:nightly"]),
    ]
    assert [f"{name}:{tag}" for _, name, tag in lake.ask(OLD_BASE)] == [
        "lab/tool:amd64",
        "lab/tool:nightly",
        "lab/tool:stable",
        "shop/web:1",
    ]
    export_parquet(database, lake.folder)
    removed = lake.ask(REMOVED)
    assert {policy: (tags, frees) for _, policy, _, tags, _, frees in removed} == lake.freed
    assert [row[:3] for row in removed] == [(lake.key, "builds", 1), (lake.key, "nightlies", 1)]
    assert [f"{name}:{tag}" for _, name, tag in lake.ask(OLD_BASE)] == ["lab/tool:amd64", "lab/tool:stable"]
    assert lake.ask(
        "SELECT tag FROM tags SEMI JOIN newest USING (registry, day) WHERE gone IS NOT NULL ORDER BY 1"
    ) == [
        ("1",),
        ("nightly",),
    ]


def test_a_run_that_was_undone_freed_nothing(
    lake: Lake, registry_server: DistributionServer, store: str, database: Database, tmp_path: Path
) -> None:
    with dregutil.open(registry_server.url, store=store, state_dir=tmp_path / "b", insecure=True) as session:
        session.undo()
        undone, undo = session.runs()
    export_parquet(database, lake.folder)
    assert lake.ask(REMOVED) == []
    assert lake.ask("SELECT run, undoes, removed_tags, restored, frees FROM runs ORDER BY number") == [
        (undone.run, None, undone.removed_tags, 0, undone.reclaimable_bytes),
        (undo.run, undone.run, 0, 2, None),
    ]
    assert lake.ask("SELECT outcome, count(*) FROM steps GROUP BY ALL ORDER BY 1") == [("removed", 2), ("restored", 2)]
    rows = lake.ask("SELECT intended <= settled, fence > 0, actor FROM steps JOIN runs USING (run) WHERE step = 1")
    assert rows == [(True, True, f"{undone.user}@{undone.host}")]


def test_the_tables_are_described() -> None:
    assert described() in TEXT

"""Two machines with one store, each with a state folder of its own, on a real registry: what one knows, the other does.

The registry is read and written through the library, as the command line does.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import dregutil
from dregutil.errors import JournalError, RefusedError
from dregutil.inventory.tags import Inventory
from dregutil.journal.collections import CollectionRecord
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.writer import Batch
from dregutil.store.database import Database
from images import Pusher, created
from servers import DistributionServer

APP = Repository("app")
POLICY = """version: 1
defaults: {max_remove: 100%, allow_empty: true}
policies: [{name: p, repositories: ["**"], keep: KEEP}]
"""

Machine = Callable[[str], dregutil.Session]


@pytest.fixture
def machine(registry_server: DistributionServer, store: str, tmp_path: Path) -> Machine:
    """A session on a machine of a name."""

    def opened(name: str) -> dregutil.Session:
        folder = tmp_path / name
        return dregutil.open(
            registry_server.url, store=store, state_dir=folder, contents=folder / "contents.sqlite", insecure=True
        )

    return opened


def policy(folder: Path, keep: str, more: str = "") -> Path:
    path = folder / "policy.yml"
    path.write_text(POLICY.replace("KEEP", keep) + more)
    return path


def push(pusher: Pusher, *tags: str, days: float = 100) -> dict[str, str]:
    for tag in tags:
        pusher.push_image("app", tag, seed=tag, config=created(days))
    return pusher.tags("app")


def known(session: dregutil.Session, tags: dict[str, str], days: float) -> None:
    """Let a machine have seen tags so many days ago."""
    seen = Inventory({APP: {Tag(tag): Digest(digest) for tag, digest in tags.items()}})
    session._session.records.history.record(seen, now=datetime.now(UTC) - timedelta(days=days))


def test_what_one_machine_holds_another_does_not_remove(pusher: Pusher, machine: Machine, tmp_path: Path) -> None:
    tags = push(pusher, "1", "2", "3")
    rules = policy(tmp_path, '{tags: ["nothing-*"]}')
    with machine("laptop") as laptop, machine("worker") as worker:
        known(laptop, tags, 90)
        laptop.hold("app:1", because="the audit")
        assert [str(one.tag) for one in worker.holds()] == ["1"]
        plan = worker.plan_cleanup(rules)
        laptop.hold("app:2")  # after the plan, before the run
        worker.apply(plan)
    assert set(pusher.tags("app")) == {"1", "2"}
    with machine("third") as third:
        assert len(third.end_hold("app:1", "app:2")) == 2
        third.apply(third.plan_cleanup(rules))
    assert pusher.tags("app") == {}


def test_retention_by_age_uses_the_first_sighting_of_any_machine(
    pusher: Pusher, machine: Machine, tmp_path: Path
) -> None:
    """An image of 100 days that got its tag two days ago stays, wherever the cleanup runs."""
    push(pusher, "old", "promoted")
    tags = pusher.tags("app")
    with machine("a") as first:
        known(first, {"old": tags["old"]}, 90)
        known(first, tags, 2)
    with machine("b") as second:
        second.apply(second.plan_cleanup(policy(tmp_path, "{within: 30d}")))
    assert set(pusher.tags("app")) == {"promoted"}


def test_a_machine_that_lost_its_folder_knows_as_much_as_before(
    pusher: Pusher, machine: Machine, tmp_path: Path
) -> None:
    push(pusher, "old", "promoted")
    tags = pusher.tags("app")
    with machine("a") as first:
        known(first, {"old": tags["old"]}, 90)
        known(first, tags, 2)
    shutil.rmtree(tmp_path / "a")
    with machine("a") as again:
        assert again.records.young_since() is None
        proposal = again.plan_cleanup(policy(tmp_path, "{within: 30d}"))
    assert [str(tag) for step in proposal.plan.steps for tag in step.tags] == ["old"]


def test_tags_that_one_machine_has_read_another_one_lists(
    registry_server: DistributionServer, pusher: Pusher, machine: Machine
) -> None:
    push(pusher, "1", "2")
    with machine("a") as first:
        first.crawl()
    push(pusher, "3")
    with machine("b") as second:
        assert {str(one.tag) for one in second.tags("app")} == {"1", "2"}, "as they were read"
        second.crawl()
    with machine("a") as first:
        assert {str(one.tag) for one in first.tags("app")} == {"1", "2", "3"}
        first.apply(first.plan_removal("app", tags=["1"]))
    with machine("c") as third:
        assert {str(one.tag) for one in third.tags()} == {"2", "3"}


def test_a_cache_file_that_is_named_is_used(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path, database: Database
) -> None:
    push(pusher, "1")
    cache = tmp_path / "cache.json"
    with dregutil.open(
        registry_server.url, store=store, state_dir=tmp_path / "a", contents=None, insecure=True, cache=cache
    ) as session:
        session.crawl()
    assert set(json.loads(cache.read_text())["app"]) == {"1"}
    with database.transaction() as transaction:
        assert transaction.rows("SELECT count(*) FROM tag") == [(0,)]


def test_a_pull_that_one_machine_recorded_keeps_the_image_on_another(
    pusher: Pusher, machine: Machine, tmp_path: Path
) -> None:
    push(pusher, "used", "unused")
    tags, now = pusher.tags("app"), datetime.now(UTC)
    with machine("listener") as first:
        known(first, tags, 90)
        batch = Batch(recorded=(int((now - timedelta(days=80)).timestamp()), int(now.timestamp())))
        batch.add(APP, Digest(tags["used"]), int((now - timedelta(days=3)).timestamp()), "docker")
        with first._session._pull_store.writer(SourceKind.EVENTS, "notifications") as writer:
            writer.write(batch)
    rules = policy(tmp_path, "{pulled_within: 30d}", "protect: {pulls: [{events: true}]}\n")
    with machine("worker") as second:
        second.apply(second.plan_cleanup(rules))
    assert set(pusher.tags("app")) == {"used"}


def test_each_machine_has_access_logs_of_its_own(
    pusher: Pusher, machine: Machine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A log of the same name on another machine does not stand in for one that is no longer read."""
    push(pusher, "1")
    log = tmp_path / "access.log"
    line = '10.0.0.1 - - [{}] "GET /v2/app/manifests/1 HTTP/1.1" 200 500 "-" "docker/28"\n'
    for host, hours in (("a", 30), ("b", 0)):
        monkeypatch.setenv("DREGUTIL_ACTOR", f"job@{host}")
        moment = datetime.now(UTC) - timedelta(hours=hours)
        log.write_text(line.format(f"{moment:%d/%b/%Y:%H:%M:%S +0000}"))
        with machine(host) as session:
            session.read_pulls(str(log))
    with machine("c") as third:
        sources = third._session._pull_store.sources()
        assert {one.name for one in sources} == {f"a:{log}", f"b:{log}"}


def test_the_counts_of_a_cleanup_are_compared_on_another_machine(
    pusher: Pusher, machine: Machine, tmp_path: Path, database: Database
) -> None:
    tags = push(pusher, "1", "2")
    rules = policy(tmp_path, '{tags: ["2"]}')
    with machine("a") as first:
        known(first, tags, 90)
        proposal = first.plan_cleanup(rules)
        first.apply(proposal)
        first.remember(proposal)
    with machine("b") as second:
        last = second.plan_cleanup(rules).last
    assert last is not None
    assert dict(last.removed) == {"p": 1}
    with database.transaction() as transaction:
        assert transaction.rows("SELECT text FROM policy_version") == [(rules.read_text(),)]


def test_a_collection_of_another_machine_that_did_not_end_keeps_runs_out(
    pusher: Pusher, machine: Machine, tmp_path: Path
) -> None:
    push(pusher, "1", "2")
    with machine("a") as first, machine("b") as second:
        now = datetime.now(UTC)
        record = CollectionRecord("20261127T000000Z-000aa", first._session.identity, now, ["gc"], {}, [])
        collections = first._session._collections
        collections.write(record)
        collections.output(record.name).write_bytes(b"")
        assert [one.name for one in second.collections()] == [record.name]
        plan = second.plan_removal("app", tags=["1"])
        with pytest.raises(RefusedError, match="another machine"):
            second.apply(plan)
        collections.discard(record.name)
        second.apply(plan)
        assert second.collections() == ()
    assert set(pusher.tags("app")) == {"2"}


def test_without_its_store_nothing_is_removed(
    pusher: Pusher, machine: Machine, database: Database, tmp_path: Path
) -> None:
    before = push(pusher, "1", "2")
    with machine("a") as session:
        session.crawl()
        plan = session.plan_cleanup(policy(tmp_path, '{tags: ["2"]}'))
        with database.transaction() as transaction:
            transaction.execute("ALTER TABLE document RENAME TO hidden")
        with pytest.raises(JournalError):
            session.apply(plan)
        with pytest.raises(JournalError):
            session.holds()
    assert pusher.tags("app") == before


async def test_the_notifications_of_one_machine_shorten_the_refresh_of_another(
    registry_server: DistributionServer, pusher: Pusher, store: str, tmp_path: Path
) -> None:
    push(pusher, "1")
    async with dregutil.connect(
        registry_server.url, store=store, state_dir=tmp_path / "b", contents=None, insecure=True
    ) as session:
        await session.crawl()
        assert session.cache is not None
        noted = session._refreshed.read(session.cache)
        assert noted is not None
    async with dregutil.connect(
        registry_server.url, store=store, state_dir=tmp_path / "c", contents=None, insecure=True
    ) as other:
        assert other.cache is not None
        assert other._refreshed.read(other.cache) == noted
        await other.crawl("app")
        assert other._refreshed.read(other.cache) is None, "the tags are no longer those of the refresh"


def test_a_session_that_is_given_the_copy_of_the_tags_shares_them(
    registry_server: DistributionServer, pusher: Pusher, store: str, machine: Machine, tmp_path: Path
) -> None:
    """As the command line does, so that `serve` knows the file."""
    push(pusher, "1")
    with machine("a") as first:
        first.crawl()
        assert first._session.cache is not None
        path = first._session.cache.path
    push(pusher, "2")
    with machine("b") as second:
        second.crawl()
    with dregutil.open(
        registry_server.url, store=store, state_dir=tmp_path / "a", contents=None, insecure=True, cache=path
    ) as again:
        assert {str(one.tag) for one in again.tags("app")} == {"1", "2"}

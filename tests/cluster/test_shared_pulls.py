"""Pulls in a store: a listener on one machine writes them, a cleanup on another judges by them."""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import aiohttp
import pytest

from dregutil import clock
from dregutil.errors import JournalError, StoreAccessError, StoreError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls.coverage import recorded_since
from dregutil.pulls.listener import Listener
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import Batch
from dregutil.store.database import Database
from dregutil.store.facts import SharedFacts
from dregutil.store.mirrored import MirroredFile
from sharing import backed_up

REGISTRY = "registry.example.com"
SHOP = Repository("shop")
NOW = 1_790_000_000

Machine = Callable[[str], PullStore]


@pytest.fixture
def machine(database: Database, tmp_path: Path) -> Machine:
    """The pulls as a machine of a name has them."""
    return lambda name: PullStore(tmp_path / name, REGISTRY, shared=SharedFacts(database, REGISTRY))


def record(
    store: PullStore, at: int, *names: str, kind: SourceKind = SourceKind.EVENTS, source: str = "events"
) -> None:
    batch = Batch(recorded=(at, at) if kind is SourceKind.EVENTS else None)
    for name in names:
        batch.add(SHOP, Tag(name), at, f"agent {at}")
    with store.writer(kind, source) as writer:
        writer.write(batch, None if kind is SourceKind.EVENTS else (at, at + 10))


def pulled(store: PullStore) -> dict[str, int]:
    return {str(tag): int(one.at.timestamp()) for tag, one in store.pulls(SHOP).tags.items()}


def rows(store: PullStore) -> dict[str, list[tuple[object, ...]]]:
    store.bring()
    with closing(sqlite3.connect(store.path)) as copy:
        names = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(copy.execute(f"SELECT * FROM {name}"), key=repr) for name in names if "shared" not in name}


def test_what_one_machine_records_another_one_knows(machine: Machine) -> None:
    assert pulled(machine("b")) == {}
    record(machine("a"), NOW, "1", "2")
    assert pulled(machine("b")) == {"1": NOW, "2": NOW}
    (source,) = machine("b").sources()
    assert (source.kind, source.name) == (SourceKind.EVENTS, "events")


def test_the_last_pull_counts_whoever_recorded_it(machine: Machine) -> None:
    record(machine("a"), NOW + 50, "x")
    record(machine("b"), NOW, "x", "y")
    record(machine("c"), NOW + 20, "y")
    for name in "abcd":
        assert pulled(machine(name)) == {"x": NOW + 50, "y": NOW + 20}
        assert machine(name).pulls(SHOP).tags[Tag("x")].agent == f"agent {NOW + 50}"


def test_each_source_has_its_own_spans_and_gaps(machine: Machine) -> None:
    record(machine("a"), NOW, "x", kind=SourceKind.LOG, source="a:/log")
    record(machine("b"), NOW + 5, "x", kind=SourceKind.LOG, source="b:/log")
    record(machine("a"), NOW + 8, "x", kind=SourceKind.LOG, source="a:/log")
    found = {
        one.name: [(int(s.since.timestamp()), int(s.until.timestamp())) for s in one.spans]
        for one in machine("c").sources()
    }
    assert found == {"a:/log": [(NOW, NOW + 18)], "b:/log": [(NOW + 5, NOW + 15)]}


def test_a_source_that_stopped_is_not_covered_by_another_one(machine: Machine) -> None:
    record(machine("a"), NOW, "x", kind=SourceKind.LOG, source="a:/log")
    record(machine("b"), NOW + 90_000, "x", kind=SourceKind.LOG, source="b:/log")
    now = datetime.fromtimestamp(NOW + 90_010, UTC)
    assert recorded_since(machine("c").sources(), now, timedelta(hours=1)) is None


def test_writers_that_take_turns_use_the_same_numbers(machine: Machine) -> None:
    def write(number: int) -> None:
        record(machine(f"m{number % 4}"), NOW + number, f"t{number}", "all", source=f"s{number % 3}")

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(write, range(24)))
    assert pulled(machine("z")) == {"all": NOW + 23, **{f"t{number}": NOW + number for number in range(24)}}
    assert {one.name for one in machine("z").sources()} == {"s0", "s1", "s2"}
    assert rows(machine("z")) == rows(machine("m0")) == rows(machine("m3"))


def test_a_copy_in_memory_has_what_the_store_has(machine: Machine) -> None:
    record(machine("a"), NOW, "x")
    copied = machine("b").copy_in_memory()
    record(copied, NOW + 1, "only here")
    assert set(pulled(copied)) == {"x", "only here"}
    assert set(pulled(machine("a"))) == {"x"}


def test_pulls_are_not_read_from_a_copy_whose_store_cannot_be_asked(machine: Machine, database: Database) -> None:
    record(machine("a"), NOW, "x")
    assert pulled(machine("b")) == {"x": NOW}
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE shared_file RENAME TO hidden")
    with pytest.raises(StoreError):
        machine("b").pulls(SHOP)


def since(store: PullStore, now: int) -> float:
    """For how many hours before `now` pulls are recorded; -1 if they are not."""
    found = recorded_since(store.sources(), datetime.fromtimestamp(now, UTC), timedelta(minutes=30))
    return -1 if found is None else (now - found.timestamp()) / 3600


@pytest.mark.parametrize("first", ["listener", "reader"])
def test_pulls_that_a_restored_store_forgot_are_a_gap(machine: Machine, database: Database, first: str) -> None:
    """Whoever finds out first: the one that goes on recording, or one that only reads."""
    now = int(time.time())
    record(machine("listener"), now - 9 * 3600, "kept")
    restore = backed_up(database, "shared_file", "shared_row")
    record(machine("listener"), now - 5 * 3600, "forgotten")
    assert since(machine("reader"), now - 5 * 3600) == 4
    restore()
    assert since(machine("new"), now - 9 * 3600) == 0, "a machine that knew nothing of it does not find out"
    if first == "reader":
        assert pulled(machine("reader")) == {"kept": now - 9 * 3600}
    record(machine("listener"), now, "later")
    for name in ("reader", "new", "listener"):
        assert pulled(machine(name)) == {"kept": now - 9 * 3600, "later": now}
        (source,) = machine(name).sources()
        (gap,) = source.gaps
        assert (gap.since.timestamp(), gap.why) == (now - 9 * 3600, "the store was restored from a backup")
        assert 0 <= since(machine(name), int(time.time())) < 0.1
    assert rows(machine("reader")) == rows(machine("listener"))


def test_one_who_learns_late_of_a_restored_store_finds_the_gap_too(machine: Machine, database: Database) -> None:
    """The copy of the listener was lost with its pod."""
    now = int(time.time())
    record(machine("listener"), now - 9 * 3600, "kept")
    restore = backed_up(database, "shared_file", "shared_row")
    record(machine("listener"), now - 5 * 3600, "forgotten")
    machine("reader").bring()
    restore()
    record(machine("another listener"), now - 1800, "later")
    assert since(machine("new"), now) > 8
    machine("reader").bring()
    assert since(machine("new"), int(time.time())) == -1
    record(machine("another listener"), int(time.time()), "now")
    assert 0 <= since(machine("new"), int(time.time())) < 0.1


def test_access_logs_have_no_gap_after_a_restore(machine: Machine, database: Database) -> None:
    record(machine("a"), NOW, "x", kind=SourceKind.LOG, source="a:/log")
    restore = backed_up(database, "shared_file", "shared_row")
    record(machine("a"), NOW + 5, "y", kind=SourceKind.LOG, source="a:/log")
    restore()
    record(machine("a"), NOW + 5, "y", kind=SourceKind.LOG, source="a:/log")
    (source,) = machine("b").sources()
    assert not source.gaps


def test_who_may_not_write_reads_what_a_restored_store_has(
    machine: Machine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(machine("a"), NOW, "kept")
    restore = backed_up(database, "shared_file", "shared_row")
    record(machine("a"), NOW + 5, "forgotten")
    restore()

    def refused(_: MirroredFile) -> None:
        raise StoreAccessError("permission denied")

    monkeypatch.setattr(MirroredFile, "_make_known", refused)
    assert pulled(machine("a")) == {"kept": NOW}


def test_a_machine_that_was_away_for_long_finds_no_gap(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.store.mirrored._KEPT", 4)
    record(machine("a"), NOW, "0")
    machine("b").bring()
    for number in range(1, 20):
        record(machine("a"), NOW + number, str(number))
        if number % 3 == 0:
            record(machine("c"), NOW + number, str(number))
    assert len(pulled(machine("b"))) == 20
    for name in "abcd":
        (source,) = machine(name).sources()
        assert not source.gaps


def event(at: datetime, instance: str = "one") -> dict[str, object]:
    digest = Digest.of(b"manifest")
    return {
        "id": f"id {at}",
        "timestamp": at.isoformat(),
        "action": "pull",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "repository": "shop",
            "tag": "1",
        },
        "request": {"method": "GET", "useragent": "docker/28"},
        "source": {"addr": "registry:5000", "instanceID": instance},
    }


async def post(url: str, *events: dict[str, object]) -> int:
    async with aiohttp.ClientSession() as session, session.post(url, data=json.dumps({"events": events})) as answer:
        return answer.status


@contextmanager
def gone(database: Database) -> Iterator[None]:
    """What is shared cannot be written meanwhile."""
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE shared_row RENAME TO hidden")
    yield
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE hidden RENAME TO shared_row")


async def test_a_listener_whose_store_is_gone_takes_nothing_and_says_so(machine: Machine, database: Database) -> None:
    """The registry keeps a notification that was not taken, and sends it again; if it cannot, there is a gap."""
    now = datetime.now(UTC).replace(microsecond=0)
    listener = Listener(machine("a"), "notifications")
    async with listener.listening("127.0.0.1", 0) as (host, port):
        url = f"http://{host}:{port}/events"
        assert await post(url, event(now - timedelta(hours=3))) == 204
        with gone(database):
            assert await post(url, event(now - timedelta(hours=2))) == 503
            async with aiohttp.ClientSession() as session, session.get(f"http://{host}:{port}/healthz") as health:
                assert health.status == 503
        # The process of the registry was started again meanwhile: what it had not sent is lost.
        assert await post(url, event(now, "two")) == 204
    (source,) = machine("b").sources()
    assert [(gap.since, gap.until) for gap in source.gaps] == [(now - timedelta(hours=3), now)]
    assert recorded_since([source], now, timedelta(hours=1)) == now


async def test_a_notification_that_is_sent_again_leaves_no_gap(machine: Machine, database: Database) -> None:
    now = datetime.now(UTC).replace(microsecond=0)
    listener = Listener(machine("a"), "notifications")
    async with listener.listening("127.0.0.1", 0) as (host, port):
        url = f"http://{host}:{port}/events"
        assert await post(url, event(now - timedelta(hours=3))) == 204
        with gone(database):
            assert await post(url, event(now - timedelta(hours=2))) == 503
        assert await post(url, event(now - timedelta(hours=2)), event(now)) == 204
    (source,) = machine("b").sources()
    assert not source.gaps
    assert machine("b").pulls(SHOP).digests[Digest.of(b"manifest")].at == now


def test_a_listener_that_cannot_write_does_not_begin(machine: Machine, database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE shared_file RENAME TO hidden")
    with pytest.raises(JournalError), machine("a").writer(SourceKind.EVENTS, "notifications") as writer:
        writer.prepare()


def test_what_was_recorded_while_a_machine_slept_is_known_when_it_wakes(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, there = machine("a"), machine("b")
    real = clock._clock
    monkeypatch.setattr(clock, "_clock", lambda: 0.0)
    assert pulled(here) == {}
    record(there, NOW, "1.0")
    assert pulled(here) == {}, "it was brought up to date just now"
    monkeypatch.setattr(clock, "_clock", lambda: real() + 3600)
    assert pulled(here) == {"1.0": NOW}

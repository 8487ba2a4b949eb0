"""Recorded pulls last, stay small, and are read while they are written."""

from __future__ import annotations

import itertools
import sqlite3
import threading
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dregutil.errors import JournalError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.pulls import writer as writer_module
from dregutil.pulls.pull import SourceKind, Span
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import Batch

WEB = Repository("shop/web")
ONE, TWO = Digest.of(b"one"), Digest.of(b"two")
NOON = 1_790_000_000
DAY = 86_400


def moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def record(store: PullStore, *rows: tuple[Digest | Tag, int, str], kind: SourceKind = SourceKind.EVENTS) -> None:
    batch = Batch()
    for reference, at, agent in rows:
        batch.add(WEB, reference, at, agent)
    with store.writer(kind, "one") as writer:
        writer.write(batch)


def test_the_last_pull_of_each_reference(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    assert store.pulls(WEB).digests == {}
    assert store.sources() == ()
    record(store, (ONE, NOON, "docker/28"), (ONE, NOON - 9, "old/1"), (Tag("1.0"), NOON + 5, "podman/5"))
    record(store, (ONE, NOON - 100, "late/1"), (TWO, NOON, ""))
    found = PullStore(tmp_path, "registry.example.com").pulls(WEB)
    assert {digest: (one.at, one.agent) for digest, one in found.digests.items()} == {
        ONE: (moment(NOON), "docker/28"),
        TWO: (moment(NOON), ""),
    }
    assert found.tags[Tag("1.0")].at == moment(NOON + 5)
    assert PullStore(tmp_path, "other.example.com").pulls(WEB).digests == {}
    assert store.path.stat().st_mode & 0o077 == 0


def test_a_month_of_ten_thousand_digests_is_less_than_a_megabyte(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    digests = [Digest.of(str(number).encode()) for number in range(10_000)]
    with store.writer(SourceKind.EVENTS, "one") as writer:
        for hour in range(0, 30 * 24, 30):
            batch = Batch()
            for place in range(hour, 10_000, 7):
                batch.add(Repository(f"shop/{place % 50}"), digests[place], NOON + hour * 3600, f"containerd/2.{hour}")
            writer.write(batch)
        for day in range(30):
            batch = Batch()
            for place, digest in enumerate(digests):
                batch.add(Repository(f"shop/{place % 50}"), digest, NOON + day * DAY, "containerd/2.1")
            writer.write(batch)
    assert store.path.stat().st_size < 1_000_000


def test_agents_without_end_do_not_fill_the_disk(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    with store.writer(SourceKind.EVENTS, "one") as writer:
        for hour in range(20):
            batch = Batch()
            for number in range(100):
                batch.add(WEB, Tag(f"1.{number}"), NOON + hour * 3600, f"agent/{hour}.{number}")
            writer.write(batch)
    assert store.pulls(WEB).tags[Tag("1.99")].agent == "agent/19.99"
    with sqlite3.connect(store.path) as database:
        assert database.execute("SELECT count(*) FROM agent").fetchone()[0] < 600
    database.close()


def test_it_is_read_while_it_is_written(tmp_path: Path) -> None:
    store, done, seen = PullStore(tmp_path, "registry.example.com"), threading.Event(), []

    def read() -> None:
        while not done.is_set():
            found = store.pulls(WEB).digests.get(ONE)
            seen.append(0 if found is None else int(found.at.timestamp()))

    reader = threading.Thread(target=read)
    reader.start()
    with store.writer(SourceKind.EVENTS, "one") as writer:
        for number in range(100):
            batch = Batch()
            batch.add(WEB, ONE, NOON + number, "docker/28")
            writer.write(batch)
    done.set()
    reader.join()
    assert seen == sorted(seen)
    assert store.pulls(WEB).digests[ONE].at == moment(NOON + 99)


def test_a_new_instance_of_the_registry_leaves_a_gap(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    with store.writer(SourceKind.EVENTS, "one") as writer:
        for instance, first, last in (("a", 0, 50), ("a", 60, 100), ("b", 300, 400)):
            times = (NOON + first, NOON + last)
            writer.write(Batch(instances={(instance, "vm:5000"): times}, recorded=times))
    (source,) = store.sources()
    assert source.spans == (Span(moment(NOON), moment(NOON + 400)),)
    assert [(gap.since, gap.until) for gap in source.gaps] == [(moment(NOON + 100), moment(NOON + 300))]


def test_replicas_are_no_gaps_but_one_that_was_replaced_is(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    with store.writer(SourceKind.EVENTS, "one") as writer:
        # a and b at the same time; a ends at 100, and c comes in its place at 300
        for instance, at in (("a", 0), ("b", 0), ("a", 50), ("b", 60), ("a", 100), ("b", 290), ("c", 300), ("b", 310)):
            writer.write(Batch(instances={(instance, f"{instance}:5000"): (NOON + at, NOON + at)}))
    (source,) = store.sources()
    assert [(gap.since, gap.until) for gap in source.gaps] == [(moment(NOON + 100), moment(NOON + 300))]


def test_a_restart_within_a_second_is_a_gap_of_a_second(tmp_path: Path) -> None:
    """Times are whole seconds, and a registry is up again sooner than that."""
    store = PullStore(tmp_path, "registry.example.com")
    with store.writer(SourceKind.EVENTS, "one") as writer:
        for instance in "ab":
            writer.write(Batch(instances={(instance, "vm:5000"): (NOON, NOON)}, recorded=(NOON, NOON)))
    (source,) = store.sources()
    assert store.counted("instance") == 1
    assert [(gap.since, gap.until) for gap in source.gaps] == [(moment(NOON), moment(NOON + 1))]


@pytest.mark.property
@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 20)), max_size=6))
def test_spans_are_joined_where_they_touch(
    tmp_path_factory: pytest.TempPathFactory, spans: list[tuple[int, int]]
) -> None:
    store = PullStore(tmp_path_factory.mktemp("state"), "registry.example.com")
    with store.writer(SourceKind.LOG, "one") as writer:
        for since, length in spans:
            writer.write(Batch(), (NOON + since, NOON + since + length))
    found = [one for source in store.sources() for one in source.spans]
    covered = {second for since, length in spans for second in range(since, since + length)}
    assert covered == {
        second - NOON for one in found for second in range(int(one.since.timestamp()), int(one.until.timestamp()))
    }
    assert all(before.until < after.since for before, after in itertools.pairwise(found))


def test_a_push_is_kept_as_a_change(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    with store.writer(SourceKind.EVENTS, "one") as writer:
        writer.write(Batch(changed={(WEB, Tag("1.0"))}))
        writer.write(Batch(changed={(WEB, None), (Repository("shop/api"), None)}, marked={"dregutil/ab"}))
    assert store.changed_since(0) == {WEB: {"1.0"}, Repository("shop/api"): frozenset()}
    assert store.changed_since(1) == {WEB: frozenset(), Repository("shop/api"): frozenset()}
    assert store.changed_since(2) == {}
    assert (store.counted("change"), store.counted("forgotten")) == (2, 0)
    assert store.has_marked("dregutil/ab")
    assert not store.has_marked("dregutil/cd")


def test_old_changes_are_forgotten_and_that_is_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_module, "_MOST_CHANGES", 10)
    monkeypatch.setattr(writer_module, "_COUNTED_EVERY", 4)
    store = PullStore(tmp_path, "registry.example.com")
    with store.writer(SourceKind.EVENTS, "one") as writer:
        for number in range(15):
            writer.write(Batch(changed={(WEB, Tag(f"1.{number}"))}))
    forgotten = store.counted("forgotten")
    assert 0 < forgotten < 15
    assert store.changed_since(forgotten) == {WEB: {f"1.{number}" for number in range(forgotten, 15)}}


def test_a_damaged_file_is_an_error_that_names_it(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    record(store, (ONE, NOON, "docker/28"))
    store.path.write_bytes(b"no database" * 100)
    with pytest.raises(JournalError, match=store.path.name):
        store.pulls(WEB)


def test_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    record(store, (ONE, NOON, "docker/28"))
    with sqlite3.connect(store.path) as database:
        database.execute("PRAGMA user_version = 99")
    database.close()
    with pytest.raises(JournalError, match="newer version"):
        record(store, (ONE, NOON + 1, "docker/28"))


def test_nothing_is_written_if_a_part_fails(tmp_path: Path) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    record(store, (ONE, NOON, "docker/28"))
    batch = Batch(changed={(WEB, None)}, instances={("a", "vm:5000"): (NOON, 2**70)})  # SQLite has no such number
    batch.add(WEB, ONE, NOON + 5, "docker/29")
    with store.writer(SourceKind.EVENTS, "one") as writer, pytest.raises(OverflowError):
        writer.write(batch)
    assert store.pulls(WEB).digests[ONE].at == moment(NOON)
    assert store.changed_since(0) == {}
    assert store.counted("change") == 0


@pytest.mark.parametrize("recorded", [True, False])
def test_a_copy_in_memory_is_in_no_file(tmp_path: Path, recorded: bool) -> None:
    store = PullStore(tmp_path, "registry.example.com")
    if recorded:
        record(store, (ONE, NOON, "docker/28"))
    before = store.path.read_bytes() if recorded else None
    copy = store.copy_in_memory()
    record(copy, (TWO, NOON, "podman/5"))
    assert copy.pulls(WEB).digests.keys() == ({ONE, TWO} if recorded else {TWO})
    assert [source.name for source in copy.sources()] == ["one"]
    assert (store.path.read_bytes() if store.path.exists() else None) == before
    assert TWO not in store.pulls(WEB).digests

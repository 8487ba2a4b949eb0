"""The tag history in a store: each machine has a copy, and all copies say the same."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import DregutilError, JournalError, StoreError
from dregutil.inventory.crawl_result import CrawlResult
from dregutil.inventory.tag_history import TagHistory
from dregutil.inventory.tags import Inventory
from dregutil.journal.tag_records import TagRecords
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.store import mirrored
from dregutil.store.database import Database
from dregutil.store.facts import SharedFacts
from sharing import backed_up

REGISTRY = "registry.example.com"
SHOP = Repository("shop")
START = datetime(2026, 11, 1, tzinfo=UTC)

Machine = Callable[[str], TagHistory]


def digest(number: int) -> Digest:
    return Digest.of(b"%d" % number)


def inventory(**tags: int) -> Inventory:
    return Inventory({SHOP: {Tag(name): digest(number) for name, number in tags.items()}})


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def rows(history: TagHistory) -> dict[str, list[tuple[object, ...]]]:
    """All that a copy has, but for the version that it notes."""
    with closing(sqlite3.connect(history.path)) as copy:
        names = [name for (name,) in copy.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {name: sorted(copy.execute(f"SELECT * FROM {name}"), key=repr) for name in names if "shared" not in name}


@pytest.fixture
def machine(database: Database, tmp_path: Path) -> Machine:
    """The history as a machine of a name has it, brought up to date."""

    def history(name: str) -> TagHistory:
        found = TagHistory(tmp_path / name, REGISTRY, SharedFacts(database, REGISTRY))
        found.bring()
        return found

    return history


def test_a_machine_without_a_copy_takes_all_that_is_known_and_begins_nothing_anew(
    machine: Machine, database: Database, tmp_path: Path
) -> None:
    assert not machine("a").has_begun()
    assert not machine("a").path.exists()
    machine("a").record(inventory(old=1), now=at(0))
    machine("a").record(inventory(old=1, new=2), now=at(10))
    assert machine("b").of(SHOP, inventory(old=1, new=2).tags(SHOP)) == machine("a").of(
        SHOP, inventory(old=1, new=2).tags(SHOP)
    )
    fresh = TagHistory(tmp_path / "c", REGISTRY, SharedFacts(database, REGISTRY))
    fresh.record(inventory(old=1, new=2, newest=3), now=at(20))
    found = machine("a").of(SHOP, inventory(old=1, new=2, newest=3).tags(SHOP))
    assert {str(tag): (one.known_since, one.came) for tag, one in found.items()} == {
        "old": (at(0), False),
        "new": (at(10), True),
        "newest": (at(20), True),
    }


def test_the_first_sighting_of_a_tag_counts_whoever_had_it(machine: Machine) -> None:
    machine("a").record(inventory(), now=at(0))
    machine("a").record(inventory(x=1), now=at(10))
    machine("b").record(inventory(x=1), now=at(500))
    assert machine("b").of(SHOP, inventory(x=1).tags(SHOP))[Tag("x")].known_since == at(10)


def test_a_crawl_that_another_one_overtook_does_not_undo_what_that_one_found(machine: Machine) -> None:
    machine("a").record(inventory(moved=1, kept=2, removed=3), now=at(0))
    slow = machine("b")  # begins at minute 10, before the changes, and ends after the other one
    machine("a").record(inventory(moved=4, kept=2, new=5), now=at(20), began=at(15))
    slow.record(inventory(moved=1, kept=2, removed=3), now=at(30), began=at(10))
    found = machine("a").of(SHOP, inventory(moved=4, kept=2, new=5).tags(SHOP))
    assert {str(tag): one.known_since for tag, one in found.items()} == {"moved": at(20), "kept": at(0), "new": at(20)}
    assert set(machine("a").missing(SHOP)) == {"removed"}
    assert rows(machine("a")) == rows(machine("b"))


def test_an_overtaken_crawl_adds_what_only_it_found(machine: Machine) -> None:
    machine("a").record(inventory(), now=at(0))
    machine("a").record(inventory(), now=at(20), began=at(15))
    machine("b").record(inventory(x=1), now=at(30), began=at(10))
    assert machine("a").of(SHOP, inventory(x=1).tags(SHOP))[Tag("x")].known_since == at(30)


def test_machines_that_take_turns_at_random_end_with_the_same_rows(machine: Machine) -> None:
    chance, tags = random.Random(7), dict[str, int]()
    for turn in range(25):
        name = chance.choice("abcd")
        for _ in range(chance.randrange(4)):
            tags[f"t{chance.randrange(12)}"] = chance.randrange(5)
        for gone in [one for one in tags if chance.random() < 0.1]:
            del tags[gone]
        found = inventory(**tags)
        found.replace(Repository(f"r{chance.randrange(3)}"), {Tag("one"): digest(turn)})
        machine(name).record(found, now=at(turn), unread=[Repository("r1")] if turn and chance.random() < 0.2 else ())
        if chance.random() < 0.3:
            machine(name).forget_untagged(SHOP, [digest(chance.randrange(5))])
        if chance.random() < 0.1:
            shutil.rmtree(machine(name).path.parent)
    found_rows = rows(machine("new"))
    assert found_rows["tag"]
    assert found_rows["missing"]
    for name in "abcd":
        assert rows(machine(name)) == found_rows


def test_machines_that_record_at_once_lose_nothing(machine: Machine) -> None:
    machine("a").record(inventory(), now=at(0))

    def record(number: int) -> None:
        name = Repository(f"r{number}")
        others = {Repository(f"r{n}") for n in range(12)} - {name}
        machine(f"m{number % 4}").record(Inventory({name: {Tag("x"): digest(1)}}), now=at(number), unasked=others)

    with ThreadPoolExecutor(6) as threads:
        list(threads.map(record, range(12)))
    assert set(machine("z").repositories()) == {f"r{number}" for number in range(12)}
    assert rows(machine("z")) == rows(machine("m1"))


def test_what_fails_midway_is_recorded_nowhere(machine: Machine) -> None:
    history = machine("a")
    history.record(inventory(x=1), now=at(0))
    before = rows(history)

    def fails() -> None:
        with history._writing() as copy:
            copy.execute("DELETE FROM tag")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fails()
    assert rows(history) == before
    assert rows(machine("b")) == before


def test_a_store_that_fails_at_the_end_leaves_the_copy_as_it_was(machine: Machine, database: Database) -> None:
    history = machine("a")
    history.record(inventory(x=1), now=at(0))
    before = rows(history)
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE shared_row RENAME TO hidden")
    with pytest.raises(StoreError):
        history.record(inventory(x=1, y=2), now=at(10))
    with database.transaction() as transaction:
        transaction.execute("ALTER TABLE hidden RENAME TO shared_row")
    assert rows(history) == before == rows(machine("b"))


def test_a_copy_that_was_left_behind_takes_what_it_lacks(machine: Machine, tmp_path: Path) -> None:
    machine("a").record(inventory(x=1, y=2), now=at(0))
    shutil.copytree(tmp_path / "a", tmp_path / "old")
    machine("a").record(inventory(x=3), now=at(10))
    assert rows(machine("old")) == rows(machine("a"))


def test_a_copy_of_a_store_that_was_restored_from_an_older_one_is_made_again(
    machine: Machine, database: Database
) -> None:
    machine("a").record(inventory(x=1), now=at(0))
    machine("a").record(inventory(x=1, y=2), now=at(10))
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM shared_row WHERE version = 2 AND part = 'tag'")
        transaction.execute("UPDATE shared_row SET version = 1")
        transaction.execute("UPDATE shared_file SET version = 1")
    assert set(machine("a").named(SHOP)) == {"x"}
    assert rows(machine("a")) == rows(machine("b"))


@pytest.mark.parametrize("since", [1, 2, 4])
def test_a_copy_with_versions_that_a_restored_store_gave_out_again_is_made_again(
    machine: Machine, database: Database, since: int
) -> None:
    machine("a").record(inventory(x=1), now=at(0))
    restore = backed_up(database, "shared_file", "shared_row")
    machine("a").record(inventory(x=1, lost=2), now=at(10))
    machine("b").bring()
    restore()
    for number in range(since):
        machine("c").record(inventory(x=1, **{f"new{number}": number}), now=at(20 + number))
    for name in "ab":
        assert "lost" not in machine(name).named(SHOP)
        assert rows(machine(name)) == rows(machine("c"))


def test_a_store_without_a_history_leaves_no_copy(machine: Machine, database: Database) -> None:
    machine("a").record(inventory(x=1), now=at(0))
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM shared_row")
        transaction.execute("DELETE FROM shared_file")
    assert not machine("a").path.exists()
    machine("a").record(inventory(x=1), now=at(10))
    assert set(machine("b").named(SHOP)) == {"x"}


def test_deleted_rows_are_forgotten_and_a_copy_that_is_older_is_made_again(
    machine: Machine, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mirrored, "_KEPT", 3)
    machine("a").record(inventory(x=0), now=at(0))
    machine("b").bring()
    for number in range(1, 10):
        machine("a").record(inventory(**{f"x{number}": number}), now=at(number))
    with database.transaction() as transaction:
        deleted = transaction.rows("SELECT min(version), count(*) FROM shared_row WHERE body IS NULL")
    assert deleted[0][0] > 6
    assert rows(machine("b")) == rows(machine("a"))


def test_a_damaged_copy_is_said_and_can_be_removed(machine: Machine) -> None:
    history = machine("a")
    history.record(inventory(x=1), now=at(0))
    history.path.write_bytes(b"not a database" * 100)
    with pytest.raises(JournalError, match="cannot be used"):
        history.bring()
    history.path.unlink()
    assert set(machine("a").named(SHOP)) == {"x"}


def crawl(tags: Inventory, **failed: DregutilError) -> CrawlResult:
    return CrawlResult(
        tags, failed={Repository(name): error for name, error in failed.items()}, began=datetime.now(UTC)
    )


def test_records_that_are_lost_with_the_store_are_said_to_be_lost(
    database: Database, machine: Machine, tmp_path: Path
) -> None:
    def records(name: str) -> TagRecords:
        machine(name)
        return TagRecords(tmp_path / name, REGISTRY, SharedFacts(database, REGISTRY))

    assert records("a").note(crawl(inventory(x=1)), None).begins
    assert not records("b").note(crawl(inventory(x=1)), None).lost
    assert records("c").young_since() is None
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM shared_row")
        transaction.execute("DELETE FROM shared_file")
    assert records("c").young_since() is not None
    assert "gone" in records("b").note(crawl(inventory(x=1)), None).lost
    assert records("d").young_since() is not None, "what the new records know is young for all machines"


def test_no_history_begins_with_a_crawl_that_could_not_read_all(database: Database, machine: Machine) -> None:
    history = machine("a")
    history.record(inventory(x=1), now=at(0), unread=[Repository("other")])
    assert machine("b").path.exists()
    assert not machine("b").has_begun()
    machine("c").create()
    machine("b").record(inventory(x=1), now=at(1))
    assert machine("c").has_begun()


def test_a_clock_that_is_behind_does_not_make_records_look_lost(
    database: Database, machine: Machine, tmp_path: Path
) -> None:
    shared = SharedFacts(database, REGISTRY)
    first = TagRecords(tmp_path / "a", REGISTRY, shared)
    first.note(crawl(inventory(x=1)), None)
    slow = machine("b")
    slow.record(inventory(x=1, y=2), now=datetime.now(UTC) - timedelta(minutes=5))
    machine("a")
    assert first.young_since() is None

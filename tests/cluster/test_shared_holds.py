"""Holds in a store: two machines see and change the same ones, and a run that cannot ask for them goes no further."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil import clock
from dregutil.errors import DamagedRecordError, JournalError, NotFoundError
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.store import RunStore
from dregutil.oci.names import Repository, Tag
from dregutil.retention.holds import Hold
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.documents import POLLED_EVERY, StoredDocument
from dregutil.store.facts import SharedFacts

REGISTRY = "registry.example.com"
NOW = datetime.now(UTC).replace(microsecond=0)


@pytest.fixture
def machine(database: Database, tmp_path: Path) -> Callable[[str], RegistryHolds]:
    """The holds as a machine of a name sees them."""

    def holds(name: str) -> RegistryHolds:
        shared = SharedFacts(database, REGISTRY).document("holds")
        return RegistryHolds(RunStore(tmp_path / name), REGISTRY, shared)

    return holds


def hold(tag: str) -> Hold:
    return Hold(Repository("shop"), NOW, Tag(tag), because="needed")


def tags(holds: RegistryHolds) -> set[str]:
    return {str(one.tag) for one in holds.now(NOW).all}


def wait_for(condition: Callable[[], bool]) -> None:
    end = threading.Event()
    for _ in range(500):
        if condition():
            return
        end.wait(0.01)
    raise AssertionError("it did not come")


def test_a_hold_of_one_machine_is_seen_and_ended_by_another(machine: Callable[[str], RegistryHolds]) -> None:
    machine("a").add(hold("1"))
    assert tags(machine("b")) == {"1"}
    machine("b").end({"shop:1": lambda one: one.tag == "1"}, NOW)
    assert tags(machine("a")) == set()
    with pytest.raises(NotFoundError):
        machine("a").end({"shop:1": lambda one: one.tag == "1"}, NOW)


def test_a_run_at_work_sees_a_hold_as_soon_as_it_was_made(machine: Callable[[str], RegistryHolds]) -> None:
    current = machine("worker").watched(NOW)
    assert current().all == ()
    machine("laptop").add(hold("1"))
    assert [str(one.tag) for one in current().all] == ["1"], "add() returns when every run sees it"


def test_the_version_is_asked_for_a_few_times_a_second(database: Database) -> None:
    document = SharedFacts(database, REGISTRY).document("holds")
    other = SharedFacts(database, REGISTRY).document("holds")
    assert document.version() == 0
    other.write(b"1")
    wait_for(lambda: document.version() == 1)
    asked = 0
    real = database.transaction

    def counted(**options: bool) -> object:
        nonlocal asked
        asked += 1
        return real(**options)

    database.transaction = counted  # type: ignore[method-assign, assignment]
    try:
        for _ in range(1000):
            document.version()
    finally:
        database.transaction = real  # type: ignore[method-assign]
    assert asked <= 1 + 1 / POLLED_EVERY


def test_an_answer_that_came_late_is_asked_for_again(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be from before a hold that was made, and said to be heeded, in the meantime."""
    document = SharedFacts(database, REGISTRY).document("holds")
    other = SharedFacts(database, REGISTRY).document("holds")
    real, asked = StoredDocument._asked, 0

    def slow(self: StoredDocument) -> int:
        nonlocal asked
        found, asked = real(self), asked + 1
        if asked == 1:
            other.write(b"1")
            monkeypatch.setattr(clock, "_clock", lambda: now() + 2 * POLLED_EVERY)
        return found

    now = clock._clock
    monkeypatch.setattr(StoredDocument, "_asked", slow)
    assert document.version() == 1
    assert asked == 2


def test_holds_that_many_make_at_once_are_all_kept(machine: Callable[[str], RegistryHolds]) -> None:
    def add(number: int) -> None:
        machine(f"m{number}").add(hold(f"t{number}"))

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(add, range(24)))
    assert tags(machine("z")) == {f"t{number}" for number in range(24)}


def test_a_run_that_cannot_ask_the_store_goes_no_further(machine: Callable[[str], RegistryHolds]) -> None:
    holds = machine("a")
    current = holds.watched(NOW)

    def failing() -> int:
        raise JournalError("the store cannot be asked")

    holds.file._shared.version = failing  # type: ignore[union-attr, method-assign]
    with pytest.raises(JournalError, match="cannot be asked"):
        current()


def test_holds_that_are_damaged_in_the_store_stop_everything(
    machine: Callable[[str], RegistryHolds], database: Database
) -> None:
    machine("a").add(hold("1"))
    StoredDocument(database, REGISTRY, "holds").write(b"0 {}")
    with pytest.raises(DamagedRecordError, match="in the store are damaged"):
        machine("b").now(NOW)


def test_a_failed_change_leaves_what_there_was(machine: Callable[[str], RegistryHolds], database: Database) -> None:
    machine("a").add(hold("1"))
    document = StoredDocument(database, REGISTRY, "holds")
    before = document.read(), document.version()

    def fails(_: bytes | None) -> bytes:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        document.change(fails)
    assert (document.read(), StoredDocument(database, REGISTRY, "holds").version()) == before


def test_a_store_that_is_gone_refuses_a_run(tmp_path: Path) -> None:
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    database = open_database(StoreAddress.parse("postgresql://nobody@127.0.0.1:1/none"))
    with pytest.raises(JournalError, match="cannot be used"):
        RegistryHolds(RunStore(tmp_path), REGISTRY, SharedFacts(database, REGISTRY).document("holds")).watched(NOW)

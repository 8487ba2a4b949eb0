"""Holds in a store: two machines see and change the same ones, and a run that cannot ask for them goes no further."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from dregutil import clock
from dregutil.errors import DamagedRecordError, JournalError, NotFoundError, StoreError
from dregutil.journal.holds import RegistryHolds
from dregutil.journal.store import RunStore
from dregutil.oci.names import Repository, Tag, registry_key
from dregutil.retention.holds import Hold
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.documents import POLLED_EVERY, StoredDocument
from dregutil.store.facts import SharedFacts
from images import Pusher
from servers import DistributionServer
from sharing import Machine

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


@pytest.fixture
def restored(database: Database) -> Callable[[], Callable[[], None]]:
    """Backs the store's holds up; what it returns restores them."""

    def back_up() -> Callable[[], None]:
        sql = "SELECT version, body, at FROM document WHERE name = 'holds'"
        with database.transaction() as transaction:
            rows = transaction.rows(sql)

        def restore() -> None:
            with database.transaction() as transaction:
                transaction.execute("DELETE FROM document WHERE name = 'holds'")
                for version, body, at in rows:
                    transaction.execute(
                        "INSERT INTO document (registry, name, version, body, at)"
                        " VALUES (:registry, 'holds', :version, :body, :at)",
                        {"registry": registry_key(REGISTRY), "version": version, "body": body, "at": at},
                    )

        return restore

    return back_up


@pytest.mark.parametrize("first", ["1", None])
def test_what_a_restored_store_no_longer_holds_a_machine_that_knew_it_holds_again(
    machine: Callable[[str], RegistryHolds],
    restored: Callable[[], Callable[[], None]],
    caplog: pytest.LogCaptureFixture,
    first: str | None,
) -> None:
    if first:
        machine("laptop").add(hold(first))
    restore = restored()
    machine("laptop").add(hold("2"))
    machine("other").now(NOW)
    restore()
    machine("new").add(hold("3"))
    had = {"3"} | ({first} if first else set())
    assert tags(machine("new")) == had, "nobody told it"
    assert tags(machine("other")) == {*had, "2"}
    assert "no longer knew these holds, which this machine knows: they are held again: shop:2" in caplog.text
    assert tags(machine("new")) == {*had, "2"}
    machine("new").end({"shop:2": lambda one: one.tag == "2"}, NOW)
    assert [tags(machine(name)) for name in ("laptop", "other", "new")] == [had | {"2"}] * 3, "that knew it from before"
    machine("new").end({"shop:2": lambda one: one.tag == "2"}, NOW)
    assert [tags(machine(name)) for name in ("laptop", "other", "new")] == [had] * 3


def test_what_was_ended_stays_ended_on_each_machine(machine: Callable[[str], RegistryHolds]) -> None:
    for number in range(3):
        machine("a").add(hold(str(number)))
    machine("b").now(NOW)
    machine("a").end({"shop:1": lambda one: one.tag == "1"}, NOW)
    assert tags(machine("b")) == {"0", "2"}


def test_a_machine_that_was_away_for_long_brings_back_nothing(
    machine: Callable[[str], RegistryHolds], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dregutil.journal.holds._MARKS", 4)
    monkeypatch.setattr("dregutil.journal.holds._SEEN_WITHIN", 0)
    machine("a").add(hold("1"))
    machine("b").now(NOW)
    machine("a").end({"shop:1": lambda one: one.tag == "1"}, NOW)
    for number in range(2, 7):
        machine("a").add(hold(str(number)))
    assert tags(machine("b")) == set("23456")


def test_a_machine_that_may_not_write_holds_by_itself_what_the_store_no_longer_does(
    machine: Callable[[str], RegistryHolds], restored: Callable[[], Callable[[], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    restore = restored()
    machine("a").add(hold("1"))
    restore()

    def refused(*_: object) -> None:
        raise StoreError("permission denied")

    monkeypatch.setattr(StoredDocument, "change", refused)
    assert tags(machine("a")) == tags(machine("a")) == {"1"}
    assert tags(machine("b")) == set()


def test_the_program_says_what_a_restored_store_no_longer_held(
    registry_server: DistributionServer, pusher: Pusher, shared_url: str, tmp_path: Path
) -> None:
    for tag in ("1.0", "2.0", "3.0", "4.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    here = Machine(registry_server.url, tmp_path / "here", {"DREGUTIL_STORE": shared_url})
    here.does("store", "migrate")
    here.does("hold", "shop/web:1.0")
    database = open_database(StoreAddress.parse(shared_url))
    with database.transaction() as transaction:
        transaction.execute("DELETE FROM document WHERE name = 'holds'")
    database.close()
    done = subprocess.run(  # a process of its own says what is logged
        here.program.command(("remove-tags", "-r", "shop/web", "-t", "1.0", "2.0", "-y")),
        env={**here.program.environment(), "DREGUTIL_STORE": shared_url, "PGPASSWORD": os.environ["PGPASSWORD"]},
        cwd=here.program.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "no longer knew these holds, which this machine knows: they are held again: shop/web:1.0" in done.stderr
    assert sorted(pusher.tags("shop/web")) == ["1.0", "3.0", "4.0"]
    other = Machine(registry_server.url, tmp_path / "other", {"DREGUTIL_STORE": shared_url})
    assert "shop/web:1.0" in other.does("hold", "--list")

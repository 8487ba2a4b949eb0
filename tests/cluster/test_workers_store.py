"""What workers share, on both dialects: ticks, leases, pause and pace."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from dregutil.errors import PlanRefusedError, StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.ledger import Entry, Ledger, NewRun
from dregutil.store.migrations import NEWEST, migrate
from dregutil.store.queue_tables import queue_is_current
from dregutil.store.workers import MOST_CONTINUED, MOST_TRIES, RegistryState, Tick, Workers

NIGHTLY = Tick("nightly", 4_000_000_000.0)
KEY = "registry.example.com"


@pytest.fixture
def workers(database: Database) -> Workers:
    found = Workers(database)
    found.known("nightly")
    return found


def lapse(database: Database, tick: Tick = NIGHTLY) -> None:
    with database.transaction() as transaction:
        transaction.execute("UPDATE tick SET until = {now} - 1 WHERE at = :at", {"at": tick.at})


def test_a_schedule_that_is_new_owes_nothing(workers: Workers) -> None:
    assert abs(workers.known("weekly") - workers.now()) < 5
    assert workers.claim(NIGHTLY, "w1")
    assert workers.known("nightly") == NIGHTLY.at
    assert not workers.claim(Tick("unknown", 1.0), "w1")


def test_a_tick_is_carried_out_once(workers: Workers) -> None:
    assert workers.claim(NIGHTLY, "w1")
    assert not workers.claim(NIGHTLY, "w2")
    assert workers.renew(NIGHTLY, "w1")
    assert not workers.renew(NIGHTLY, "w2")
    assert not workers.end(NIGHTLY, "w2", "done")
    assert workers.succeeded() == {"nightly": 0}
    assert workers.end(NIGHTLY, "w1", "done")
    assert not workers.claim(NIGHTLY, "w2")
    assert abs(workers.succeeded()["nightly"] - workers.now()) < 5


def test_two_ticks_of_a_schedule_are_not_carried_out_at_once(workers: Workers, database: Database) -> None:
    later = Tick("nightly", NIGHTLY.at + 60)
    assert workers.claim(NIGHTLY, "w1")
    assert not workers.claim(later, "w2")
    assert workers.end(NIGHTLY, "w1", "failed", "it broke")
    assert workers.succeeded() == {"nightly": 0}
    assert workers.claim(later, "w2")


def test_the_tick_of_a_worker_that_died_is_carried_out_again_a_few_times(workers: Workers, database: Database) -> None:
    for number in range(MOST_TRIES):
        assert workers.lapsed(["nightly"]) == ([NIGHTLY] if number else [])
        assert workers.claim(NIGHTLY, f"w{number}")
        lapse(database)
        assert not workers.renew(NIGHTLY, f"w{number}"), "a lease that is over is lost"
    assert workers.lapsed(["nightly"]) == []
    assert not workers.claim(NIGHTLY, "w9")


def test_a_worker_that_ends_in_good_order_leaves_its_tick_to_another(workers: Workers) -> None:
    for number in range(MOST_TRIES + 2):
        assert workers.claim(NIGHTLY, f"w{number}")
        assert workers.put_back(NIGHTLY, f"w{number}")
        assert workers.lapsed(["nightly"]) == [NIGHTLY]


def begin(database: Database, run: str, tick: Tick = NIGHTLY) -> None:
    Ledger(database).begin(NewRun(run, KEY, tick=tick), lambda _: [Entry("run", b"header")])


def test_a_tick_begins_one_run_which_whoever_takes_it_over_continues(workers: Workers, database: Database) -> None:
    assert workers.claim(NIGHTLY, "w1")
    assert workers.run_of(NIGHTLY)[0] == ""
    begin(database, "run-1")
    with pytest.raises(PlanRefusedError, match="carried out already by the run run-1"):
        begin(database, "run-2")
    lapse(database)
    assert workers.lapsed(["nightly"]) == [NIGHTLY]
    assert workers.claim(NIGHTLY, "w2")
    assert workers.run_of(NIGHTLY) == ("run-1", False)
    with database.transaction() as transaction:
        transaction.execute("UPDATE run SET finished = TRUE")
    assert workers.run_of(NIGHTLY) == ("run-1", True)
    assert workers.end(NIGHTLY, "w2", "done")
    with pytest.raises(PlanRefusedError, match="carried out already"):  # a worker that slept meanwhile
        begin(database, "run-3")
    assert list(Ledger(database).runs()) == ["run-1"]


def test_a_tick_whose_run_sent_nothing_may_begin_another(workers: Workers, database: Database) -> None:
    assert workers.claim(NIGHTLY, "w1")
    begin(database, "run-1")
    Ledger(database).discard("run-1")
    begin(database, "run-2")
    assert workers.run_of(NIGHTLY) == ("run-2", False)


def test_a_run_that_was_cut_off_is_continued_often_and_then_given_up_with_its_name(
    workers: Workers, database: Database
) -> None:
    assert workers.claim(NIGHTLY, "w0")
    begin(database, "run-1")
    for number in range(MOST_CONTINUED - 1):
        assert workers.again(NIGHTLY, f"w{number}", "it answers 503", pause=60)
        assert workers.lapsed(["nightly"]) == [], "not before the pause is over"
        lapse(database)
        assert workers.give_up(["nightly"]) == []
        assert workers.lapsed(["nightly"]) == [NIGHTLY]
        assert workers.claim(NIGHTLY, f"w{number + 1}")
    lapse(database)
    assert workers.lapsed(["nightly"]) == []
    assert workers.give_up(["nightly"]) == [(NIGHTLY, "run-1")]
    assert workers.give_up(["nightly"]) == [], "it is said once"
    assert not workers.claim(NIGHTLY, "w99")


def test_a_run_is_not_continued_long_after_its_time(workers: Workers, database: Database) -> None:
    for hours, is_continued in ((11, True), (13, False)):
        tick = Tick("nightly", workers.now() - hours * 3600)
        assert workers.claim(tick, "w1")
        begin(database, f"run-{hours}", tick)
        lapse(database, tick)
        assert workers.lapsed(["nightly"]) == ([tick] if is_continued else [])
        assert workers.claim(tick, "w2") == is_continued
        assert workers.give_up(["nightly"]) == ([] if is_continued else [(tick, f"run-{hours}")])
        workers.end(tick, "w2", "done")


def test_the_tick_of_workers_that_died_before_they_began_is_given_up(workers: Workers, database: Database) -> None:
    for _ in range(MOST_TRIES):
        assert workers.give_up(["nightly"]) == []
        assert workers.claim(NIGHTLY, "w1")
        lapse(database)
    assert workers.give_up(["nightly"]) == [(NIGHTLY, "")]


def test_of_many_workers_one_claims_a_tick(workers: Workers) -> None:
    with ThreadPoolExecutor(6) as pool:
        assert sum(pool.map(lambda number: workers.claim(NIGHTLY, f"w{number}"), range(12))) == 1


def test_workers_that_are_alive_are_counted(workers: Workers, database: Database) -> None:
    assert [workers.beat("w1"), workers.beat("w2"), workers.beat("w1")] == [1, 2, 2]
    with database.transaction() as transaction:
        transaction.execute("UPDATE worker SET until = {now} - 1 WHERE holder = 'w1'")
    assert workers.beat("w2") == 1
    workers.leave("w2")
    assert workers.beat("w3") == 1


def test_a_registry_is_paused_and_has_a_pace(workers: Workers) -> None:
    assert workers.registries([KEY]) == {KEY: RegistryState()}
    workers.pause(KEY, KEY, "ann")
    workers.set_pace(KEY, KEY, 25.0)
    assert workers.registries([KEY, "other"]) == {KEY: RegistryState("ann", 25.0), "other": RegistryState()}
    assert workers.resume(KEY)
    assert not workers.resume(KEY)
    workers.set_pace(KEY, KEY, None)
    assert workers.registries([KEY]) == {KEY: RegistryState()}


def test_old_ticks_are_forgotten_but_the_newest(workers: Workers) -> None:
    old = [Tick("nightly", 1000.0 + number) for number in range(3)]
    for tick in old:
        assert workers.claim(tick, "w1")
        assert workers.end(tick, "w1", "done")
    workers.forget_old()
    assert not workers.claim(old[2], "w1")
    assert workers.claim(old[0], "w1"), "it is forgotten; nobody asks for it again"


def test_the_queue_is_made_once_and_brought_up_to_date(shared_url: str) -> None:
    database = open_database(StoreAddress.parse(shared_url))
    migrate(database)
    with database.transaction() as transaction:
        assert queue_is_current(transaction)
        assert transaction.rows("SELECT count(*) FROM procrastinate_jobs") == [(0,)]
        schemas = transaction.rows("SELECT schemaname FROM pg_tables WHERE tablename = 'procrastinate_jobs'")
        assert schemas == [("dregutil",)]
    assert migrate(database) == (NEWEST, NEWEST)
    with database.transaction() as transaction:  # as if an older version of the library had made it
        newest = transaction.rows("SELECT name FROM queue_step")[0][0]
        transaction.execute("UPDATE queue_step SET name = '03.03.00_01_pre_priority_lock_fetch_job.sql'")
        assert not queue_is_current(transaction)
    with pytest.raises(StoreError, match="already exists"):  # its steps are taken: this one was taken before
        migrate(database)
    with database.transaction() as transaction:
        transaction.execute("UPDATE queue_step SET name = :name", {"name": f"99{newest}"})
        assert queue_is_current(transaction), "a newer library made it"
    migrate(database)
    database.close()

"""Leases, fences and runs, on both dialects: what they allow, and above all what they refuse."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from dregutil.errors import LeaseLostError, StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.entries import append_lines
from dregutil.store.leases import Leases
from dregutil.store.ledger import Entry, Fence, Ledger, NewRun, Taken, holder_of
from dregutil.store.migrations import NEWEST, migrate, version
from dregutil.store.open import open_runs

KEY = "registry.example.com"


def intent(repository: str, step: int = 1) -> Entry:
    return Entry("intent", b"%s %d" % (repository.encode(), step), repository, step)


def outcome(repository: str, step: int = 1) -> Entry:
    return Entry("outcome", b"done %d" % step, repository, step)


def step(repository: str, number: int) -> Entry:
    return Entry("step", b"step %d" % number, repository, number)


def over(ledger: Ledger, fence: Fence) -> None:
    """Let a lease be over, as if its time had passed."""
    table, where = ("repository", "name = :name") if fence.repository else ("registry", "key = :key")
    with ledger.database.transaction() as transaction:
        values = {"name": fence.repository} if fence.repository else {"key": fence.registry}
        transaction.execute(f"UPDATE {table} SET until = {{now}} - 1 WHERE {where}", values)


def begun(ledger: Ledger, *repositories: str, run: str = "run-1") -> str:
    header = Entry("run", b"header")
    steps = [step(name, number) for number, name in enumerate(repositories, 1)]
    ledger.begin(NewRun(run, KEY), lambda _: [header, *steps])
    return run


def whole(ledger: Ledger, holder: str = "setup") -> Fence:
    return claimed(ledger.claim_registry(KEY, KEY, holder, limit=0)).fence


def take(ledger: Ledger, repository: str, holder: str, *, limit: float = 10) -> Taken | None:
    """Claim one repository, by a run that is about it alone."""
    run = f"only {repository}"
    if run not in ledger.runs():
        begun(ledger, repository, run=run)
    return ledger.claim_next(run, whole(ledger), holder, limit=limit)


def take_of(ledger: Ledger, run: str, holder: str) -> Taken | None:
    return ledger.claim_next(run, whole(ledger), holder, limit=10)


def waits(database: Database) -> bool:
    """Whether somebody waits for a row of this PostgreSQL database."""
    waiting = "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
    with database.transaction() as transaction:
        return bool(transaction.rows(waiting))


def claimed(found: Taken | None) -> Taken:
    assert found is not None
    return found


@pytest.fixture
def ledger(database: Database) -> Ledger:
    found = Ledger(database)
    found.claim_registry(KEY, KEY, "setup", limit=0)
    return found


def test_migrating_twice_changes_nothing(database: Database) -> None:
    assert migrate(database) == (NEWEST, NEWEST)
    assert version(database) == NEWEST


def test_a_store_of_a_newer_version_is_left_alone(database: Database) -> None:
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO migration (number, name, at) VALUES (:n, 'later', 0)", {"n": NEWEST + 1})
    with pytest.raises(StoreError, match=f"tables of version {NEWEST + 1}"):
        migrate(database)


def test_a_repository_has_one_holder(ledger: Ledger) -> None:
    first = claimed(take(ledger, "shop/web", "a"))
    assert take(ledger, "shop/web", "b") is None
    assert take(ledger, "shop/web", "a") is None, "not even the same process twice"
    assert claimed(take(ledger, "shop/api", "b")).fence.number == 1
    ledger.release(first.fence, settled=True)
    assert claimed(take(ledger, "shop/web", "b")).fence.number == 2


def test_one_that_comes_after_a_released_lease_does_not_wait(ledger: Ledger) -> None:
    first = claimed(take(ledger, "shop/web", "a", limit=500))
    ledger.release(first.fence, settled=True)
    assert claimed(take(ledger, "shop/web", "b")).wait == 0


def test_one_that_comes_after_a_lost_lease_waits_for_what_its_holder_sent(ledger: Ledger) -> None:
    first = claimed(take(ledger, "shop/web", "a", limit=500))
    ledger.release(first.fence, settled=False)
    over(ledger, first.fence)
    second = claimed(take(ledger, "shop/web", "b"))
    assert 490 < second.wait < 500
    over(ledger, second.fence)
    assert 490 < claimed(take(ledger, "shop/web", "c")).wait < 500, "the longest one counts"


def test_nothing_is_recorded_under_a_fence_that_another_has_passed(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web")
    first = claimed(take(ledger, "shop/web", "a")).fence
    ledger.append(run, [intent("shop/web")], [first])
    over(ledger, first)
    second = claimed(take(ledger, "shop/web", "b")).fence
    before = ledger.runs()[run]
    for entry in (intent("shop/web"), outcome("shop/web"), Entry("looked", b"looked", "shop/web")):
        with pytest.raises(LeaseLostError):
            ledger.append(run, [entry], [first])
    assert ledger.runs()[run] == before
    assert ledger.renew([first, second]) == [second]
    assert ledger.left(run) == 1


def test_an_intent_needs_time_that_is_left_and_an_outcome_does_not(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web")
    fence = claimed(take(ledger, "shop/web", "a")).fence
    ledger.append(run, [intent("shop/web")], [fence])
    over(ledger, fence)
    with pytest.raises(LeaseLostError):
        ledger.append(run, [intent("shop/web", 2)], [fence])
    ledger.append(run, [outcome("shop/web")], [fence])


def test_a_lease_that_is_over_is_not_renewed_even_if_nobody_has_claimed_it(ledger: Ledger) -> None:
    fence = claimed(take(ledger, "shop/web", "a")).fence
    assert ledger.renew([fence]) == [fence]
    over(ledger, fence)
    assert ledger.renew([fence]) == [], "an undo may have locked the registry since"


def test_the_lease_of_a_registry_that_is_over_is_not_renewed_either(ledger: Ledger) -> None:
    fence = whole(ledger)
    assert ledger.renew([fence]) == [fence]
    over(ledger, fence)
    assert ledger.renew([fence]) == []


def test_another_one_waits_for_what_was_sent_under_the_lost_lease_of_a_registry(ledger: Ledger) -> None:
    fence = claimed(ledger.claim_registry(KEY, KEY, "setup", limit=30)).fence
    over(ledger, fence)
    assert claimed(ledger.claim_registry(KEY, KEY, "b", limit=30)).wait > 20


def test_nothing_is_claimed_without_the_lease_of_the_registry(ledger: Ledger) -> None:
    run, lease = begun(ledger, "shop/web"), whole(ledger)
    over(ledger, lease)
    with pytest.raises(LeaseLostError):
        ledger.claim_next(run, lease, "a", limit=10)
    claimed(ledger.claim_registry(KEY, KEY, "an undo", limit=10))
    with pytest.raises(LeaseLostError):
        ledger.claim_next(run, lease, "a", limit=10)


def test_the_lease_of_a_registry_becomes_that_of_the_run_that_begins(ledger: Ledger) -> None:
    ledger.begin(NewRun("run-1", KEY), lambda _: [step("shop/web", 1)], Fence(KEY, "", 1, "setup"))
    assert ledger.claim_registry(KEY, KEY, "setup", limit=10) is None
    joined = claimed(ledger.claim_registry(KEY, KEY, holder_of("run-1"), limit=10)).fence
    assert claimed(ledger.claim_next("run-1", joined, "another process", limit=10)).fence.repository == "shop/web"


def test_what_is_held_is_at_work_and_what_was_lost_until_its_requests_are_over(ledger: Ledger) -> None:
    fence = claimed(take(ledger, "shop/web", "a", limit=500)).fence
    over(ledger, fence)
    [(name, holder, left)] = ledger.at_work(KEY)
    assert (name, holder) == ("shop/web", "a")
    assert 490 < left < 500
    ledger.release(fence, settled=True)
    assert ledger.at_work(KEY) == []


def test_of_lines_that_are_refused_in_part_none_is_recorded(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web", "shop/api")
    mine = claimed(take(ledger, "shop/web", "a")).fence
    lost = claimed(take(ledger, "shop/api", "a")).fence
    over(ledger, lost)
    with pytest.raises(LeaseLostError):
        ledger.append(run, [intent("shop/web"), intent("shop/api", 2)], [mine, lost])
    assert [body for _, _, body in ledger.lines(run, 0)] == [b"header", b"step 1", b"step 2"]


def test_the_lease_of_the_registry_is_not_enough_for_an_intent(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web")
    with pytest.raises(LeaseLostError):
        ledger.append(run, [intent("shop/web")], [whole(ledger)])
    ledger.append(run, [Entry("restored", b"back", "shop/web")], [whole(ledger)])


def test_a_registry_is_for_one_run(ledger: Ledger) -> None:
    assert ledger.claim_registry(KEY, KEY, "other", limit=10) is None
    again = claimed(ledger.claim_registry(KEY, KEY, "setup", limit=10))
    assert (again.fence.number, again.wait) == (1, 0), "processes that carry out one run share its lease"
    ledger.release(again.fence, settled=True)
    assert ledger.claim_registry(KEY, KEY, "other", limit=10) is None, "the other one that shares it has not ended"
    ledger.release(again.fence, settled=True)
    assert claimed(ledger.claim_registry(KEY, KEY, "other", limit=10)).fence.number == 2


def test_claims_are_distinct(ledger: Ledger) -> None:
    names = [f"team/{number:03d}" for number in range(60)]
    run = begun(ledger, *names)
    ready, lease = threading.Barrier(4), whole(ledger)

    def claim(holder: str) -> list[str]:
        ready.wait()
        mine = []
        while (found := ledger.claim_next(run, lease, holder, limit=10)) is not None:
            mine.append(found.fence.repository)
        return mine

    with ThreadPoolExecutor(4) as pool:
        found = [name for names in pool.map(claim, "abcd") for name in names]
    assert sorted(found) == names


def test_a_run_ends_when_no_repository_is_left(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web", "shop/api")
    end = Entry("end", b"end")
    fences = [claimed(take(ledger, name, "a")).fence for name in ("shop/web", "shop/api")]
    ledger.append(run, [Entry("looked", b"looked", "shop/web")], fences)
    assert not ledger.close(run, end)
    ledger.append(run, [Entry("looked", b"looked", "shop/api")], fences)
    assert ledger.close(run, end)
    assert ledger.close(run, end)
    assert [body for _, _, body in ledger.lines(run, 0)].count(b"end") == 1


def test_what_is_left_of_a_run_is_dropped_only_if_nobody_else_carries_it_out(ledger: Ledger) -> None:
    lease = whole(ledger)
    ledger.release(lease, settled=True)  # the share of the set-up
    ledger.begin(NewRun("run-1", KEY), lambda _: [step("shop/web", 1), step("shop/api", 2)], lease)
    other = claimed(ledger.claim_registry(KEY, KEY, holder_of("run-1"), limit=10)).fence
    end = Entry("end", b"end")
    assert not ledger.close("run-1", end, drops=True)
    assert ledger.left("run-1") == 2
    ledger.release(other, settled=True)
    assert not ledger.close("run-1", end)
    assert ledger.close("run-1", end, drops=True)
    assert ledger.left("run-1") == 0
    begun(ledger, "shop/web", run="run-2")
    ledger.release(lease, settled=True)
    assert not ledger.close("run-2", end, drops=True), "it has no lease"


def test_runs_that_begin_at_once_have_numbers_of_their_own(ledger: Ledger) -> None:
    with ThreadPoolExecutor(4) as pool:
        begin: Callable[[int], int] = lambda one: ledger.begin(NewRun(f"r{one}", KEY), lambda _: [])  # noqa: E731
        assert sorted(pool.map(begin, range(12))) == list(range(1, 13))


def test_a_run_that_sent_nothing_is_discarded_and_no_other(ledger: Ledger) -> None:
    begun(ledger, "shop/web", run="nothing")
    run = begun(ledger, "shop/web", run="something")
    fence = claimed(take(ledger, "shop/web", "a")).fence
    ledger.append(run, [intent("shop/web")], [fence])
    for name in ("nothing", "something"):
        ledger.discard(name)
    assert "something" in ledger.runs()
    assert "nothing" not in ledger.runs()


def test_a_run_does_not_begin_while_another_process_carries_out_the_one_before(ledger: Ledger) -> None:
    lease = Fence(KEY, "", 1, "setup")
    ledger.begin(NewRun("run-1", KEY), lambda _: [step("shop/web", 1)], lease)
    lease = claimed(ledger.claim_registry(KEY, KEY, holder_of("run-1"), limit=10)).fence
    with pytest.raises(StoreError, match="still carries out the run before"):
        ledger.begin(NewRun("an undo", KEY, undoes="run-1"), lambda _: [], lease)
    ledger.release(lease, settled=True)
    ledger.begin(NewRun("an undo", KEY, undoes="run-1"), lambda _: [], lease)


def test_who_lost_its_lease_records_nothing_once_another_run_has_the_registry(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web")
    fence = claimed(take_of(ledger, run, "a")).fence
    ledger.append(run, [intent("shop/web")], [fence])
    over(ledger, fence)
    over(ledger, whole(ledger))
    claimed(ledger.claim_registry(KEY, KEY, "an undo", limit=10))
    with pytest.raises(LeaseLostError):
        ledger.append(run, [outcome("shop/web")], [fence])
    ledger.release(fence, settled=True)
    [(name, holder, left)] = ledger.at_work(KEY)
    assert (name, holder) == ("shop/web", "a")
    assert left > 8, "what it sent may still be carried out, whatever it says now"


def test_a_process_tries_what_it_could_not_finish_once_though_others_try_too(ledger: Ledger) -> None:
    run = begun(ledger, "shop/web")
    for holder in ("a", "b"):
        fence = claimed(take_of(ledger, run, holder)).fence
        ledger.note_tried(run, fence)
        ledger.release(fence, settled=True)
    assert [ledger.left(run, holder) for holder in ("a", "b", "c", "")] == [0, 0, 1, 1]
    assert take_of(ledger, run, "a") is None
    assert take_of(ledger, run, "b") is None
    assert take_of(ledger, run, "c") is not None


def test_a_run_whose_first_intent_is_being_recorded_is_not_discarded(ledger: Ledger) -> None:
    """By the process that began it and did nothing, while another carries it out."""
    run = begun(ledger, "shop/web")
    fence = claimed(take_of(ledger, run, "b")).fence
    with ThreadPoolExecutor() as threads, ledger.database.transaction() as transaction:
        append_lines(transaction, run, [intent("shop/web")], {"shop/web": fence.number})
        discarded = threads.submit(ledger.discard, run)
        while ledger.database.is_postgresql and not waits(ledger.database):
            assert not discarded.done()
    discarded.result()
    assert run in ledger.runs()


def test_a_run_that_ended_holds_no_registry_even_if_a_process_of_it_was_killed(ledger: Ledger) -> None:
    lease = whole(ledger)
    ledger.release(lease, settled=True)  # the share of the set-up
    ledger.begin(NewRun("run-1", KEY), lambda _: [step("shop/web", 1)], lease)
    lease = claimed(ledger.claim_registry(KEY, KEY, holder_of("run-1"), limit=10)).fence  # one of two is killed
    fence = claimed(ledger.claim_next("run-1", lease, "a", limit=10)).fence
    assert ledger.claim_registry(KEY, KEY, "an undo", limit=10) is None
    ledger.append("run-1", [Entry("looked", b"looked", "shop/web")], [fence])
    assert ledger.claim_registry(KEY, KEY, "an undo", limit=10) is None, "its end is not recorded"
    assert ledger.close("run-1", Entry("end", b"end"))
    undo = claimed(ledger.claim_registry(KEY, KEY, "an undo", limit=10))
    assert (undo.fence.number, undo.wait) == (lease.number + 1, 0)
    assert ledger.claim_next("run-1", lease, "a", limit=10) is None, "nothing is left, which is no error"


def test_the_end_of_a_lease_that_was_lost_is_not_that_of_the_one_claimed_since(ledger: Ledger) -> None:
    """By the same process, whose earlier work is about to find out."""
    run, leases = begun(ledger, "shop/web"), Leases(ledger)
    lost = leases.claim(lambda: take_of(ledger, run, "a"))
    assert lost is not None
    over(ledger, lost[0].fence)
    held = leases.claim(lambda: take_of(ledger, run, "a"))
    assert held is not None
    leases.release(lost[0], settled=True)
    assert leases.fences(KEY) == [held[0].fence]
    assert ledger.renew([held[0].fence]) == [held[0].fence]
    leases.release(held[0], settled=True)
    assert leases.fences(KEY) == []


@pytest.mark.parametrize("seconds", ["0", "-3", "nan", "inf", "a minute"])
def test_a_lease_of_nonsense_is_refused(
    store_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: str
) -> None:
    monkeypatch.setenv("DREGUTIL_LEASE", seconds)
    with pytest.raises(StoreError, match="DREGUTIL_LEASE"):
        open_runs(StoreAddress.parse(store_url), tmp_path)


def test_a_store_that_cannot_be_used_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError) as raised:
        migrate(open_database(StoreAddress.parse(f"sqlite://{tmp_path}")))
    assert "sqlite:///FOLDER/FILE" in raised.value.advice


def test_a_database_that_does_not_answer_says_what_to_do() -> None:
    with pytest.raises(StoreError) as raised:
        migrate(open_database(StoreAddress.parse("postgresql://nobody@127.0.0.1:1/none")))
    assert "check that the database runs" in raised.value.advice


def test_a_number_that_a_store_gave_out_again_is_that_of_its_new_holder(ledger: Ledger) -> None:
    """A store that failed over to a copy may lack the last claim."""
    run = begun(ledger, "shop/web")
    lost = claimed(take(ledger, "shop/web", "a")).fence
    with ledger.database.transaction() as transaction:
        transaction.execute("UPDATE repository SET fence = fence - 1, holder = '', until = 0")
    new = claimed(take(ledger, "shop/web", "b")).fence
    assert new.number == lost.number
    assert ledger.renew([lost, new]) == [new]
    with pytest.raises(LeaseLostError):
        ledger.append(run, [intent("shop/web")], [lost])
    ledger.release(lost, settled=True)
    ledger.append(run, [intent("shop/web")], [new])

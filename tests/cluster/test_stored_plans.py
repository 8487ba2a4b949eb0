"""Plans in a store, on both dialects: who may approve them, who takes them, and that none is begun twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from dregutil.errors import NotFoundError, PlanRefusedError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import encode_plan, plan_sum
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.store.database import Database
from dregutil.store.ledger import Entry, Ledger, NewRun
from dregutil.store.plans import MOST_TRIES, Plans, TakenPlan
from driven import CountedMachine, run_machine
from sharing import backed_up

HOST = "registry.example.com"
MADE = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)


def plan(number: int = 1, registry: str = HOST) -> Plan:
    tag = Tag(f"v{number}")
    step = Step(1, Action.DELETE, Repository("shop/web"), Digest.of(tag.encode()), (tag,), StepKind.IMAGE, "selected")
    return Plan(registry, MADE, "cleanup", (step,))


def begin(database: Database, sum_: str, run: str) -> None:
    Ledger(database).begin(NewRun(run, HOST, plan=sum_), lambda _number: [Entry("run", b"header")])


def shift(database: Database, column: str, sum_: str) -> None:
    """Let a time be over."""
    with database.transaction() as transaction:
        transaction.execute(f"UPDATE plan SET {column} = {{now}} - 1 WHERE sum = :sum", {"sum": sum_})


def taken(found: TakenPlan | None) -> TakenPlan:
    assert found is not None
    return found


@pytest.fixture
def plans(database: Database) -> Plans:
    return Plans(database)


def approved(plans: Plans, number: int = 1) -> str:
    return plans.approve(plans.add(plan(number), made_by="ann").sum, "bob").sum


def test_a_plan_is_kept_byte_for_byte_by_its_sum(plans: Plans) -> None:
    found = plans.add(plan(), made_by="ann")
    assert found.sum == plan_sum(plan())
    assert plans.body(found.sum) == b"".join(encode_plan(plan()))
    assert (found.state, found.made_by, found.tags, found.steps, found.needed) == ("waiting", "ann", 1, 1, 1)
    assert (found.expires - found.made).total_seconds() == pytest.approx(24 * 3600, abs=1)
    assert plans.add(plan(), made_by="someone else") == found, "the same plan again is the same plan"
    assert plans.all() == [found] == plans.all(registry=HOST, is_open=True)
    assert plans.all(registry="another.example.com") == []


def test_a_plan_that_was_altered_in_the_store_is_refused(plans: Plans, database: Database) -> None:
    found = plans.add(plan(), made_by="ann")
    with database.transaction() as transaction:
        other = b"".join(encode_plan(plan(2)))
        transaction.execute("UPDATE plan SET body = :body", {"body": other})
    with pytest.raises(PlanRefusedError, match="altered in the store"):
        plans.body(found.sum)


def test_a_unique_beginning_of_the_sum_names_a_plan(plans: Plans) -> None:
    sums = [plans.add(plan(number), made_by="ann").sum for number in range(3)]
    for sum_ in sums:
        assert plans.find(sum_).sum == plans.find(sum_.removeprefix("sha256:")[:10]).sum == sum_
    for text in ("", "abc", "zzzz", "%%%%", "0" * 64, "sha256:"):
        with pytest.raises(NotFoundError):
            plans.find(text)


def test_several_plans_that_begin_alike_are_not_guessed(plans: Plans, database: Database) -> None:
    for number in range(2):
        plans.add(plan(number), made_by="ann")
    with database.transaction() as transaction:
        transaction.execute("UPDATE plan SET sum = 'sha256:abcd' || substr(sum, 12)")
    with pytest.raises(NotFoundError, match="several plans begin with abcd"):
        plans.find("abcd")


def test_who_planned_may_approve_alone_and_is_no_approver_of_two(plans: Plans) -> None:
    assert plans.approve(plans.add(plan(1), made_by="ann").sum, "ann").state == "approved"
    two = plans.add(plan(2), made_by="ann", needed=2).sum
    with pytest.raises(PlanRefusedError, match="ann made this plan, and 2 others must approve it"):
        plans.approve(two, "ann")
    with pytest.raises(PlanRefusedError, match="ANN made this plan"):
        plans.approve(two, "ANN")
    assert plans.approve(two, "bob").state == "waiting"
    with pytest.raises(PlanRefusedError, match="Bob has approved it already"):
        plans.approve(two, "Bob")
    found = plans.approve(two, "cy")
    assert (found.state, found.approved_by) == ("approved", ("bob", "cy"))
    with pytest.raises(PlanRefusedError, match="approved already"):
        plans.approve(two, "dee")


def test_nothing_is_taken_before_it_is_approved(plans: Plans) -> None:
    sum_ = plans.add(plan(), made_by="ann", needed=2).sum
    assert plans.take([HOST], "w1") is None
    plans.approve(sum_, "bob")
    assert plans.take([HOST], "w1") is None
    plans.approve(sum_, "cy")
    assert plans.take(["another.example.com"], "w1") is None
    found = taken(plans.take([HOST], "w1"))
    assert (found.sum, found.run, found.made_by, found.approved_by) == (sum_, "", "ann", ("bob", "cy"))
    assert plans.take([HOST], "w2") is None, "one worker has it"


def test_what_is_rejected_or_expired_is_taken_by_nobody(plans: Plans, database: Database) -> None:
    rejected, expired, too_late = (approved(plans, number) for number in range(3))
    assert plans.reject(rejected, "cy", "wrong week").why == "cy rejected it: wrong week"
    shift(database, "expires", expired)
    assert taken(plans.take([HOST], "w1")).sum == too_late
    assert plans.take([HOST], "w1") is None
    assert {one.sum: one.state for one in plans.all()} == {
        rejected: "rejected",
        expired: "expired",
        too_late: "running",
    }
    for sum_ in (rejected, expired, too_late):
        with pytest.raises(PlanRefusedError):
            plans.approve(sum_, "dee")
        with pytest.raises(PlanRefusedError):
            plans.reject(sum_, "dee")
    for sum_ in (rejected, expired):
        with pytest.raises(PlanRefusedError, match="nothing was removed"):
            begin(database, sum_, f"run-{sum_[-4:]}")


def test_a_plan_that_waits_is_not_begun_by_hand(plans: Plans, database: Database) -> None:
    sum_ = plans.add(plan(), made_by="ann").sum
    with pytest.raises(PlanRefusedError, match="is not approved: nothing was removed"):
        begin(database, sum_, "run-1")
    begin(database, f"sha256:{'0' * 64}", "run-2")  # of a plan that is not in the store


def test_a_plan_whose_worker_died_is_begun_by_the_next_one_or_its_run_continued(
    plans: Plans, database: Database
) -> None:
    sum_ = approved(plans)
    assert taken(plans.take([HOST], "w1")).run == ""
    assert plans.renew(sum_, "w1")
    shift(database, "until", sum_)
    assert not plans.renew(sum_, "w1"), "a lease that is over is lost"
    assert taken(plans.take([HOST], "w2")).run == ""
    assert not plans.done(sum_, "w1"), "it is another worker's"
    begin(database, sum_, "run-1")
    shift(database, "until", sum_)
    shift(database, "expires", sum_)
    assert taken(plans.take([HOST], "w3")).run == "run-1", "what has begun is brought to its end"
    with pytest.raises(PlanRefusedError, match="begun already, as the run run-1"):
        begin(database, sum_, "run-2")
    assert plans.run_of(sum_) == ("run-1", False, 0)
    assert plans.done(sum_, "w3", left="1 tag")
    assert (plans.find(sum_).state, plans.find(sum_).why) == ("done", "1 tag")


def test_a_plan_whose_run_was_discarded_is_begun_again(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    plans.take([HOST], "w1")
    begin(database, sum_, "run-1")
    Ledger(database).discard("run-1")
    shift(database, "until", sum_)
    assert taken(plans.take([HOST], "w2")).run == ""
    begin(database, sum_, "run-2")
    assert plans.find(sum_).run == "run-2"


def test_a_restored_store_has_the_approval_until_it_expires(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    restore = backed_up(database, "plan", "approval")
    plans.take([HOST], "w1")
    begin(database, sum_, "run-1")
    assert plans.done(sum_, "w1", left="")
    restore()
    Ledger(database).remove("run-1")
    assert taken(plans.take([HOST], "w2")).sum == sum_
    restore()
    shift(database, "expires", sum_)
    assert plans.take([HOST], "w2") is None


def test_no_plan_begins_while_another_run_is_at_work(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    assert plans.take([HOST], "w1", busy=[HOST]) is None
    assert plans.take([HOST], "w1", busy=["another.example.com"]) is not None
    begin(database, sum_, "run-1")
    shift(database, "until", sum_)
    assert taken(plans.take([HOST], "w2", busy=[HOST])).run == "run-1", "that run is its own"


def test_what_was_taken_and_never_begun_expires(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    plans.take([HOST], "w1")
    shift(database, "expires", sum_)
    with pytest.raises(PlanRefusedError):
        begin(database, sum_, "run-1")
    shift(database, "until", sum_)
    assert plans.take([HOST], "w2") is None
    assert plans.find(sum_).state == "expired"


def test_a_plan_that_is_put_back_waits_and_fails_in_the_end(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    for number in range(MOST_TRIES):
        plans.take([HOST], "w1")
        assert plans.put_back(sum_, "w1", why=f"it answers 503, {number}", pause=60)
        assert plans.take([HOST], "w2") is None, "not before the pause is over"
        shift(database, "until", sum_)
    assert plans.take([HOST], "w1") is None
    assert (plans.find(sum_).state, plans.find(sum_).why) == ("failed", f"it answers 503, {MOST_TRIES - 1}")


def test_others_join_a_run_that_has_repositories_left(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    plans.take([HOST], "w1")
    assert plans.joinable([HOST], "w2") == [], "it has not begun"
    begin(database, sum_, "run-1")
    with database.transaction() as transaction:
        transaction.execute("INSERT INTO target (run, repository, place) VALUES ('run-1', 'shop/web', 0)")
    assert [one.run for one in plans.joinable([HOST], "w2")] == ["run-1"]
    assert plans.joinable([HOST], "w1") == []
    with database.transaction() as transaction:
        transaction.execute("UPDATE target SET looked = TRUE")
    assert plans.joinable([HOST], "w2") == []


def test_what_ended_a_month_ago_is_forgotten(plans: Plans, database: Database) -> None:
    waiting = plans.add(plan(1), made_by="ann").sum
    old = plans.reject(plans.add(plan(2), made_by="ann").sum, "bob").sum
    with database.transaction() as transaction:
        transaction.execute("UPDATE plan SET expires = {now} - 2700000 WHERE sum = :sum", {"sum": old})
    assert plans.forget_old() == 1
    assert [one.sum for one in plans.all()] == [waiting]


def test_each_plan_is_taken_by_one_of_many_workers_at_once(plans: Plans) -> None:
    sums = sorted(approved(plans, number) for number in range(12))

    def work(worker: int) -> list[str]:
        found = []
        while (one := plans.take([HOST], f"w{worker}")) is not None:
            found.append(one.sum)
        return found

    with ThreadPoolExecutor(4) as pool:
        assert sorted(sum_ for one in pool.map(work, range(4)) for sum_ in one) == sums


class PlansMachine(CountedMachine):
    """Whatever people and workers do, in whatever order, and however often workers die."""

    database: Database
    WORKERS = ("w1", "w2", "w3")
    PEOPLE = ("ann", "bob", "cy", "Bob")

    def __init__(self) -> None:
        super().__init__()
        self.plans = Plans(self.database)
        self.sums: list[str] = []
        self.needed: dict[str, int] = {}
        self.said: dict[str, set[str]] = {}
        self.over: set[str] = set()  # rejected or expired before they began
        self.runs: dict[str, str] = {}
        self.holders: dict[str, set[str]] = {}  # since the last lapse
        with self.database.transaction() as transaction:
            for table in ("approval", "plan", "line", "target", "run"):
                transaction.execute(f"DELETE FROM {table}")

    def one(self, number: int) -> str:
        return self.sums[number % len(self.sums)]

    def may_begin(self, sum_: str) -> bool:
        return len(self.said[sum_]) >= self.needed[sum_] and sum_ not in self.over

    @precondition(lambda self: len(self.sums) < 3)  # few, so that much happens to each
    @rule(needed=st.integers(1, 2))
    def add(self, needed: int) -> None:
        found = self.plans.add(plan(len(self.sums)), made_by="ann", needed=needed)
        self.sums.append(found.sum)
        self.needed[found.sum], self.said[found.sum], self.holders[found.sum] = needed, set(), set()

    @precondition(lambda self: self.sums)
    @rule(number=st.integers(0, 9), who=st.sampled_from(PEOPLE))
    def approve(self, number: int, who: str) -> None:
        sum_ = self.one(number)
        try:
            self.plans.approve(sum_, who)
        except PlanRefusedError:
            return
        assert sum_ not in self.over
        assert self.needed[sum_] == 1 or who != "ann"
        assert who.lower() not in self.said[sum_]
        self.said[sum_].add(who.lower())

    @precondition(lambda self: self.sums)
    @rule(number=st.integers(0, 9), often=st.integers(0, 5))
    def reject(self, number: int, often: int) -> None:
        sum_ = self.one(number)
        if often:
            return
        try:
            self.plans.reject(sum_, "cy")
        except PlanRefusedError:
            return
        assert not self.holders[sum_]
        self.over.add(sum_)

    @precondition(lambda self: self.sums)
    @rule(number=st.integers(0, 9), often=st.integers(0, 5))
    def expire(self, number: int, often: int) -> None:
        sum_ = self.one(number)
        if often:
            return
        shift(self.database, "expires", sum_)
        if sum_ not in self.runs:
            self.over.add(sum_)

    @rule(worker=st.sampled_from(WORKERS))
    def take(self, worker: str) -> None:
        found = self.plans.take([HOST], worker)
        if found is not None:
            assert not self.holders[found.sum], "taken while another worker has it"
            assert found.run == self.runs.get(found.sum, "")
            assert found.run or self.may_begin(found.sum)
            self.holders[found.sum] = {worker}

    @precondition(lambda self: self.sums)
    @rule(number=st.integers(0, 9))
    def begin(self, number: int) -> None:
        """Of a worker, of one that died a while ago, or by hand."""
        sum_, run = self.one(number), f"run-{len(self.runs)}"
        try:
            begin(self.database, sum_, run)
        except PlanRefusedError:
            return
        assert sum_ not in self.runs, "begun twice"
        assert self.may_begin(sum_)
        self.runs[sum_] = run

    @precondition(lambda self: self.sums)
    @rule(number=st.integers(0, 9))
    def die(self, number: int) -> None:
        sum_ = self.one(number)
        if self.holders[sum_]:
            shift(self.database, "until", sum_)
            self.holders[sum_] = set()

    @precondition(lambda self: self.sums)
    @rule(number=st.integers(0, 9), worker=st.sampled_from(WORKERS), how=st.sampled_from(("done", "failed", "back")))
    def end(self, number: int, worker: str, how: str) -> None:
        sum_ = self.one(number)
        if how == "done":
            ended = self.plans.done(sum_, worker)
        elif how == "failed":
            ended = self.plans.failed(sum_, worker, "it broke")
        else:
            ended = self.plans.put_back(sum_, worker)
        assert ended == (worker in self.holders[sum_])
        if ended:
            self.holders[sum_] = set()
            if how != "back":
                self.over.add(sum_)

    @invariant()
    def runs_are_those_that_began(self) -> None:
        assert {one.sum: one.run for one in self.plans.all() if one.run} == self.runs


@pytest.mark.property
def test_no_plan_is_begun_twice_and_nothing_unapproved_or_expired_is_taken(database: Database) -> None:
    run_machine(PlansMachine, examples=25, steps=60, database=database)


def test_an_approval_is_withdrawn_until_the_plan_is_carried_out(plans: Plans) -> None:
    two = plans.add(plan(1), made_by="ann", needed=2).sum
    plans.approve(two, "bob")
    plans.approve(two, "cy")
    found = plans.withdraw(two, "bob")
    assert (found.state, found.approved_by) == ("waiting", ("cy",))
    assert plans.take([HOST], "w1") is None
    with pytest.raises(PlanRefusedError, match="bob has not approved"):
        plans.withdraw(two, "bob")
    assert plans.approve(two, "bob").state == "approved"
    assert plans.take([HOST], "w1") is not None
    with pytest.raises(PlanRefusedError, match="it is being carried out"):
        plans.withdraw(two, "bob")
    assert sorted(plans.find(two).approved_by) == ["bob", "cy"], "both may be of one millisecond"


def test_a_newer_plan_takes_the_place_of_one_that_nobody_has_approved(plans: Plans, database: Database) -> None:
    replaced, half = (plans.add(plan(number), made_by="x", needed=2).sum for number in (1, 2))
    plans.approve(half, "bob")
    assert (plans.replace(replaced), plans.replace(half)) == (True, False)
    assert [plans.find(sum_).state for sum_ in (replaced, half)] == ["replaced", "waiting"]
    with pytest.raises(PlanRefusedError, match="a newer plan takes its place"):
        plans.approve(replaced, "cy")
    with pytest.raises(PlanRefusedError, match="is replaced: nothing was removed"):
        begin(database, replaced, "run-1")


def test_an_approval_and_a_replacement_at_once(plans: Plans) -> None:
    """One of them holds: what somebody has approved is not replaced."""
    for number in range(20):
        sum_ = plans.add(plan(number), made_by="x", needed=2).sum
        with ThreadPoolExecutor(2) as threads:
            given = threads.submit(plans.approve, sum_, "bob")
            is_replaced = threads.submit(plans.replace, sum_).result()
            assert is_replaced == (given.exception() is not None)
        assert plans.find(sum_).state == ("replaced" if is_replaced else "waiting")


def test_a_plan_that_was_carried_out_by_hand_is_done(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    begin(database, sum_, "run-1")
    assert plans.find(sum_).state == "running"
    Ledger(database).close("run-1", Entry("end", b"end"))
    assert (plans.find(sum_).state, plans.all(is_open=True)) == ("done", [])


def test_a_run_by_hand_that_was_discarded_leaves_the_plan_approved(plans: Plans, database: Database) -> None:
    sum_ = approved(plans)
    begin(database, sum_, "run-1")
    Ledger(database).discard("run-1")
    assert (plans.find(sum_).state, plans.find(sum_).run) == ("approved", "")
    assert plans.reject(sum_, "cy").state == "rejected"

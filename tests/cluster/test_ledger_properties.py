"""For any order of claims, renewals, ends of leases, records, releases, new runs and locks: who may write is one alone.

A small model says what each step must do, on both dialects. Time does not pass: the ends of leases are moved in the
database.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule

from dregutil.errors import LeaseLostError, StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.ledger import Entry, Fence, Ledger, NewRun, holder_of
from dregutil.store.migrations import migrate
from driven import CountedMachine, run_machine

KEY = "registry.example.com"
NAMES = ("a", "b", "c")
LIMIT = 100.0
PROCESSES = st.integers(0, 2)


@dataclass
class Lease:
    """The model of a lease: the newest fence, who holds it, whether it is live, and what others must wait for."""

    fence: int = 0
    holder: str = ""
    is_live: bool = False
    must_wait: bool = False  # somebody's requests may still be on their way
    sharers: int = 0


@dataclass
class Run:
    name: str
    is_undo: bool
    left: set[str]
    intents: int = 0
    is_closed: bool = False
    lines: int = 0
    tried: dict[str, set[str]] = field(default_factory=dict)


@dataclass
class Process:
    """What one process believes that it holds."""

    whole: Fence | None = None
    run: str = ""
    held: dict[str, Fence] = field(default_factory=dict)


class Ledgers(CountedMachine):
    database: Database

    @initialize()
    def begin(self) -> None:
        self.ledger = Ledger(self.database)
        with self.database.transaction() as transaction:
            for table in ("run", "repository", "registry"):
                transaction.execute(f"DELETE FROM {table}")
        self.registry = Lease()
        self.repositories = {name: Lease() for name in NAMES}
        self.known: set[str] = set()  # the repositories that the store knows
        self.runs: dict[str, Run] = {}
        self.processes = [Process() for _ in range(3)]
        self.fences = dict.fromkeys(("", *NAMES), 0)
        self.number = 0
        self.lock(0, joins=False)
        self.begin_run(0, set(NAMES), undoes=False)
        self.lock(1, joins=True)
        self.claim(0)
        self.claim(1)

    # The registry

    @rule(who=PROCESSES, joins=st.booleans())
    def lock(self, who: int, joins: bool) -> None:
        process, lease = self.processes[who], self.registry
        if process.whole is not None:
            return
        run = next((name for name in reversed(self.runs) if not self.runs[name].is_undo), "") if joins else ""
        holder = holder_of(run) if run else f"process {who}"
        found = self.ledger.claim_registry(KEY, KEY, holder, limit=LIMIT)
        has_ended = any(holder_of(one.name) == lease.holder and one.is_closed for one in self.runs.values())
        may = not lease.is_live or lease.holder == holder or has_ended
        assert (found is not None) == may
        if found is None:
            return
        if lease.is_live and lease.holder == holder:
            lease.sharers += 1
        else:
            lease.must_wait = lease.must_wait or (lease.holder not in ("", holder) and not has_ended)
            lease.fence, lease.sharers = lease.fence + 1, 1
        lease.holder, lease.is_live = holder, True
        for one in self.repositories.values():
            one.fence += one.holder != "" and not one.is_live  # whoever held it records nothing any more
        assert found.fence.number == lease.fence
        assert (found.wait > 0) == lease.must_wait
        process.whole, process.run = found.fence, run or process.run

    @rule(who=PROCESSES, names=st.sets(st.sampled_from(NAMES), min_size=1), undoes=st.booleans())
    def begin_run(self, who: int, names: set[str], undoes: bool) -> None:
        process, lease = self.processes[who], self.registry
        if process.whole is None:
            return
        self.number += 1
        name = f"run-{self.number}"
        steps = [Entry("step", b"step", one, number) for number, one in enumerate(sorted(names), 1)]
        lines = [Entry("run", b"header"), *([] if undoes else steps)]
        may = lease.is_live and lease.fence == process.whole.number and lease.sharers == 1
        try:
            self.ledger.begin(NewRun(name, KEY, undoes="x" if undoes else ""), lambda _: lines, process.whole)
        except StoreError:
            assert not may
            return
        assert may
        lease.holder = holder_of(name)
        process.whole = replace(process.whole, holder=lease.holder)
        self.known |= set() if undoes else names
        self.runs[name] = Run(name, undoes, set() if undoes else set(names), lines=len(lines))
        process.run = name

    @rule(who=PROCESSES)
    def unlock(self, who: int) -> None:
        process, lease = self.processes[who], self.registry
        if process.whole is None:
            return
        self.ledger.release(process.whole, settled=True)
        if lease.fence == process.whole.number:
            lease.sharers -= 1
            if lease.sharers < 1:
                lease.is_live, lease.holder = False, ""
        process.whole = None

    # Repositories

    @rule(who=PROCESSES)
    def claim(self, who: int) -> None:
        process = self.processes[who]
        if process.whole is None or process.run not in self.runs:
            return
        run, holder = self.runs[process.run], f"process {who}"
        may_ask = self.registry.is_live and self.registry.fence == process.whole.number
        try:
            found = self.ledger.claim_next(run.name, process.whole, holder, limit=LIMIT)
        except LeaseLostError:
            assert not may_ask
            assert run.left
            return
        assert may_ask or not run.left
        free = [
            name
            for name in sorted(run.left)
            if not self.repositories[name].is_live and holder not in run.tried.get(name, ())
        ]
        assert [found.fence.repository] == free[:1] if found is not None else not free
        if found is None:
            return
        lease = self.repositories[free[0]]
        lease.must_wait = lease.must_wait or lease.holder != ""
        lease.fence, lease.holder, lease.is_live = lease.fence + 1, holder, True
        assert found.fence.number == lease.fence
        assert (found.wait > 0) == lease.must_wait
        process.held[free[0]] = found.fence

    @rule(who=PROCESSES, which=st.integers(0, 5), kind=st.sampled_from(["intent", "intent", "outcome", "looked"]))
    def append(self, who: int, which: int, kind: str) -> None:
        """Mostly where the process believes that it holds a lease."""
        process = self.processes[who]
        name = [*process.held, *process.held, *NAMES][which % (2 * len(process.held) + 3)]
        if process.run not in self.runs:
            return
        run, lease, fence = self.runs[process.run], self.repositories[name], process.held.get(name)
        is_mine = fence is not None and (fence.number, fence.holder) == (lease.fence, lease.holder)
        may = is_mine and (lease.is_live or kind != "intent")
        try:
            self.ledger.append(run.name, [Entry(kind, b"line", name, 1)], process.held.values())
        except LeaseLostError:
            assert not may
            return
        assert may
        run.lines += 1
        run.intents += kind == "intent"
        run.left -= {name} if kind == "looked" else set()

    @rule(who=PROCESSES, settled=st.booleans())
    def release(self, who: int, settled: bool) -> None:
        process = self.processes[who]
        if not process.held:
            return
        name, fence = process.held.popitem()
        lease = self.repositories[name]
        run = self.runs[process.run]
        self.ledger.note_tried(run.name, fence)
        if name in run.left:
            run.tried.setdefault(name, set()).add(fence.holder)
        self.ledger.release(fence, settled=settled)
        if settled and lease.fence == fence.number:
            lease.is_live, lease.holder = False, ""

    @rule(who=PROCESSES)
    def renew(self, who: int) -> None:
        process = self.processes[who]
        mine = [*process.held.values(), *([] if process.whole is None else [process.whole])]
        live = {"": self.registry, **self.repositories}
        expected = {one for one in mine if live[one.repository].is_live and live[one.repository].fence == one.number}
        assert set(self.ledger.renew(mine)) == expected

    @rule(name=st.sampled_from(["", *NAMES]))
    def time_passes(self, name: str) -> None:
        """A lease is over, as if nobody had renewed it."""
        lease = self.repositories[name] if name else self.registry
        lease.is_live = False
        where = (
            "repository SET until = {now} - 1 WHERE name = :name" if name else "registry SET until = {now} - 1 WHERE"
        )
        with self.database.transaction() as transaction:
            sql = f"UPDATE {where} AND until > {{now}}" if name else f"UPDATE {where} until > {{now}}"
            transaction.execute(sql, {"name": name} if name else {})

    @rule(name=st.sampled_from(["", *NAMES]))
    def limit_passes(self, name: str) -> None:
        """So long that nothing which an earlier holder sent is on its way."""
        lease = self.repositories[name] if name else self.registry
        if lease.is_live or not lease.fence:
            return
        lease.must_wait, lease.holder = False, ""
        table = "repository" if name else "registry"
        with self.database.transaction() as transaction:
            where = "name = :name" if name else "fence > 0"
            sql = f"UPDATE {table} SET until = 0, safe_from = 0, holder = '' WHERE {where}"
            transaction.execute(sql, {"name": name} if name else {})

    # Runs

    @rule(which=st.integers(0, 20))
    def close(self, which: int) -> None:
        run = self._chosen(which)
        if run is not None:
            assert self.ledger.close(run.name, Entry("end", b"end")) == (not run.left)
            run.lines += not run.left and not run.is_closed
            run.is_closed = run.is_closed or not run.left

    @rule(which=st.integers(0, 20))
    def discard(self, which: int) -> None:
        run = self._chosen(which)
        if run is not None and not any(process.run == run.name for process in self.processes):
            self.ledger.discard(run.name)
            if not run.intents:
                del self.runs[run.name]

    def _chosen(self, which: int) -> Run | None:
        runs = list(self.runs.values())
        return runs[which % len(runs)] if runs else None

    # What always holds

    @invariant()
    def the_rows_say_the_same(self) -> None:
        with self.database.transaction() as transaction:
            rows = transaction.rows("SELECT name, fence, holder, until > {now}, sharers FROM registry")
            found = transaction.rows("SELECT name, fence, holder, until > {now} FROM repository")
        for _, fence, holder, is_live, sharers in rows:
            assert (fence, holder, bool(is_live)) == (self.registry.fence, self.registry.holder, self.registry.is_live)
            assert sharers >= self.registry.sharers if is_live else True
            self._rises("", fence)
        for name, fence, holder, is_live in found:
            lease = self.repositories[name]
            assert (fence, holder, bool(is_live)) == (lease.fence, lease.holder, lease.is_live)
            self._rises(name, fence)

    def _rises(self, name: str, fence: int) -> None:
        assert fence >= self.fences[name], "a fence never goes down"
        self.fences[name] = fence

    @invariant()
    def every_line_is_there(self) -> None:
        assert self.ledger.runs() == {run.name: run.lines for run in self.runs.values()}

    @invariant()
    def whoever_may_still_send_is_at_work(self) -> None:
        expected = {name for name, lease in self.repositories.items() if lease.holder or lease.must_wait}
        assert {name for name, _, _ in self.ledger.at_work(KEY)} == expected


@pytest.mark.property
@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_the_ledger_does_what_a_small_model_says(dialect: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = f"sqlite://{tmp_path}/store.sqlite" if dialect == "sqlite" else request.getfixturevalue("shared_url")
    database = open_database(StoreAddress.parse(url))
    migrate(database)
    run_machine(Ledgers, examples=20, steps=50, database=database)
    database.close()

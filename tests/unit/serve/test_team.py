"""A server of a team's store: runs of all machines by their start, what is new is seen, and a store that fails."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dregutil.errors import StoreError
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.file import plan_sum
from dregutil.plan.model import Action, Plan, Step, StepKind
from dregutil.serve.listed import Listed
from dregutil.serve.program import Program
from dregutil.serve.team import News, Team, TeamRecords
from dregutil.store.address import StoreAddress
from dregutil.store.bounded import BoundedDatabase
from dregutil.store.database import Database, open_database
from dregutil.store.ledger import Entry, Ledger
from dregutil.store.migrations import migrate
from dregutil.store.plans import Plans
from dregutil.store.runs import SharedRuns

NOW = datetime(2026, 11, 26, 12, 0, tzinfo=UTC)
REGISTRY = "registry.example.com"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    found = open_database(StoreAddress.parse(f"sqlite://{tmp_path}/team.sqlite"))
    migrate(found)
    yield found
    found.close()


@pytest.fixture
def team(tmp_path: Path, database: Database) -> Team:
    return Team(tmp_path / "pages", database, REGISTRY)


@pytest.fixture
def other(tmp_path: Path, database: Database) -> SharedRuns:
    """Another machine of the team."""
    return SharedRuns(tmp_path / "other", Ledger(database), longest=0.0)


def plan(number: int, registry: str = REGISTRY) -> Plan:
    tag = Tag(f"1.{number}")
    step = Step(1, Action.DELETE, Repository("shop/web"), Digest.of(tag.encode()), (tag,), StepKind.IMAGE, "x")
    return Plan(registry, NOW, "remove-tags", (step,))


def begun(runs: SharedRuns, number: int, started: datetime) -> str:
    with runs.lock(REGISTRY):
        return runs.begin(plan(number), started).run


def ended(database: Database, run: str) -> None:
    with database.transaction() as transaction:
        transaction.execute("UPDATE target SET looked = TRUE")
    assert Ledger(database).close(run, Entry("end", b'{"type":"end"}\n'))


def test_runs_are_by_their_start_whenever_they_came_into_the_store(team: Team, other: SharedRuns) -> None:
    newer = begun(other, 1, NOW)
    older = begun(other, 2, NOW - timedelta(days=400))  # as `store import` brings it along
    newest = begun(other, 3, NOW + timedelta(seconds=1))
    records = TeamRecords(team, REGISTRY)
    records.renew()
    assert [one.header.run for one in records.runs()] == [older, newer, newest]
    assert [one.state for one in records.runs()] == ["unfinished"] * 3
    assert records.by_plan()[plan_sum(plan(2))].header.run == older


def test_what_another_machine_does_is_told(team: Team, other: SharedRuns, database: Database) -> None:
    told: list[News] = []
    team.watchers.append(told.append)
    records = TeamRecords(team, REGISTRY)
    team.look()
    told.clear()
    team.look()
    assert told == [], "nothing is new"
    mark = records.mark()
    with other.lock(REGISTRY):
        run = other.begin(plan(1), NOW).run
        team.look()
        assert ([one.state for one in records.runs()], records.is_busy()) == (["running"], True)
    assert told == ["listed", "runs", "plans"]
    assert records.mark() != mark
    told.clear()
    ended(database, run)
    team.look()
    assert told == ["listed", "runs", "plans", "ended"]
    told.clear()
    sum_ = Plans(database).add(plan(2), made_by="ann").sum
    team.look()
    Plans(database).approve(sum_, "bob")
    team.look()
    Plans(database).withdraw(sum_, "bob")
    team.look()
    assert told == ["plans"] * 3


def test_it_is_found_out_without_being_asked(team: Team, other: SharedRuns) -> None:
    heard = threading.Event()
    team.begin()
    try:
        team.watchers.append(lambda what: heard.set() if what == "listed" else None)
        begun(other, 1, NOW)
        assert heard.wait(20)
    finally:
        team.end()


@pytest.mark.parametrize("error", [StoreError("the database does not answer"), OSError("the database does not answer")])
def test_who_reads_waits_for_no_store(
    error: Exception, team: Team, other: SharedRuns, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = begun(other, 1, NOW)
    records = TeamRecords(team, REGISTRY)
    records.renew()

    def away(*_: object, **_named: object) -> None:
        raise error

    monkeypatch.setattr("dregutil.store.sqlite.SqliteDatabase.transaction", away)
    with pytest.raises(StoreError):
        team.look()
    assert "the database does not answer; what is shown is of" in team.problem
    assert [one.header.run for one in records.runs()] == [run]
    assert not records.is_busy()
    monkeypatch.undo()
    with pytest.raises(StoreError, match="what is shown is of"):
        team.database.transaction()
    team.look()
    assert team.problem == ""
    with team.database.transaction() as transaction:
        assert transaction.rows("SELECT 1") == [(1,)]


def test_the_shorter_limit_counts(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[object] = []
    found = database.transaction

    def noted(*, durable: bool = True, within: float | None = None, pauses: bool = False) -> object:
        given.append(within)
        return found(durable=durable, pauses=pauses)

    monkeypatch.setattr(database, "transaction", noted)
    bounded = BoundedDatabase(database, within=5.0)
    for within in (None, 60.0, 1.0):
        with bounded.transaction(within=within):
            pass
    assert given == [5.0, 5.0, 1.0]


def test_rows_are_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    lines = "".join(
        f'{{"run": "{run}", "when": "{when}"}}\\n' for run, when in (("a", 2), ("b", 1), ("c", 2), ("d", 3))
    )
    program = Program((), {}, str, (sys.executable, "-c", f"print('{lines}', end='')"))
    listed = Listed(program, (), tmp_path, lambda: 1)
    part = asyncio.run(listed.part(1, 2, newest_first=True, order=lambda row: row["when"]))
    assert (part.total, [row["run"] for row in part.rows]) == (4, ["c", "a"])


def test_a_server_of_a_team_imports_nothing_that_reaches_a_registry() -> None:
    code = (
        "import sys, dregutil.cli.commands.serve, dregutil.serve.acting, dregutil.serve.shared_plans;"
        "print([name for name in sys.modules if name.startswith(('dregutil.registry.http', 'dregutil.registry.connect',"
        " 'dregutil.registry.writer', 'dregutil.registry.reader', 'dregutil.session', 'dregutil.apply'))])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"

"""The roles of a store in a real PostgreSQL: each may do what it must, and is refused everything else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.grants import RIGHTS, ROLES, grants_sql, needs
from dregutil.store.ledger import Entry, Ledger, NewRun
from dregutil.store.migrations import NEWEST, migrate, table_names
from dregutil.store.plans import Plans
from dregutil.store.state import read_state

KEY = "registry.example.com"
AS_ROLE = Callable[[str], Database]


def test_every_table_says_who_may_write_to_it(database: Database) -> None:
    """Red for a new table: give it a row in RIGHTS."""
    assert RIGHTS.keys() == table_names(database)
    known = {role.name for role in ROLES}
    with database.transaction() as transaction:
        for table in RIGHTS:
            transaction.rows(f"SELECT count(*) FROM {table}")
    assert {name for rights in RIGHTS.values() for name in rights} <= known


@pytest.fixture
def as_role(shared_url: str, postgres: object, monkeypatch: pytest.MonkeyPatch) -> Iterator[AS_ROLE]:
    """Opens the store as a user who has one role; without a role, as its owner."""
    from servers.postgres import Postgres

    assert isinstance(postgres, Postgres)
    owner = open_database(StoreAddress.parse(shared_url))
    migrate(owner)
    name = shared_url.rpartition("/")[2]
    opened = [owner]
    with postgres.connect(name) as connection:
        connection.execute("\n".join(grants_sql()))
        connection.execute("\n".join(grants_sql()))  # again, as after a migration

    def found(role: str) -> Database:
        user = f"{role}_of_{name}"
        with postgres.connect(name) as connection:
            connection.execute(f"CREATE ROLE {user} LOGIN PASSWORD '{postgres.password}' IN ROLE {role}")
        opened.append(open_database(StoreAddress.parse(postgres.url_of(name, user=user))))
        return opened[-1]

    yield found
    for one in opened:
        one.close()
    with postgres.connect(name) as connection:
        for database in opened[1:]:
            connection.execute(f"DROP ROLE {database.address.url.partition('//')[2].partition('@')[0]}")


def test_a_reader_exports(as_role: AS_ROLE, tmp_path: Path) -> None:
    from dregutil.store.parquet.export import export_parquet

    assert export_parquet(as_role("dregutil_reader"), tmp_path / "lake").files == ()


def may(database: Database, sql: str) -> bool:
    """Whether a statement is allowed, whatever else is wrong with it; it changes nothing."""
    try:
        with database.transaction() as transaction:
            transaction.execute(sql)
            raise _UndoneError
    except _UndoneError:
        return True
    except StoreError as error:
        return "permission denied" not in error.message and "must be owner" not in error.message


class _UndoneError(Exception):
    pass


def test_each_role_has_its_rights_and_no_others(as_role: AS_ROLE) -> None:
    """Every verb on every table."""
    for role in ROLES:
        database = as_role(role.name)
        granted = {(table, right.verb) for table, right in needs(role.name)}
        for table in RIGHTS:
            with database.transaction() as transaction:
                ((column,),) = transaction.rows(
                    "SELECT column_name FROM information_schema.columns WHERE table_name = :name LIMIT 1",
                    {"name": table},
                )
            tried = {
                "SELECT": may(database, f"SELECT count(*) FROM {table}"),
                "DELETE": may(database, f"DELETE FROM {table}"),
                "TRUNCATE": may(database, f"TRUNCATE {table} CASCADE"),
            }
            assert tried == {verb: (table, verb) in granted for verb in tried}, (role.name, table)
            if (table, "INSERT") not in granted:
                assert not may(database, f"INSERT INTO {table} DEFAULT VALUES"), (role.name, table)
            if (table, "UPDATE") not in granted:
                assert not may(database, f"UPDATE {table} SET {column} = {column}"), (role.name, table)
        assert not may(database, "CREATE TABLE dregutil.more (n INT)")
        assert not may(database, "ALTER TABLE line ADD COLUMN more INT")
        assert not may(database, "DROP TABLE line")


def test_a_planner_records_a_plan_that_it_cannot_approve(as_role: AS_ROLE) -> None:
    planner, approver = as_role("dregutil_planner"), as_role("dregutil_approver")
    plan = "INSERT INTO plan (sum, registry, made, made_by, expires, body{}) VALUES ('{}', 'r', 1, 'me', 2, ''{})"
    assert not may(planner, plan.format(", state", "sum-1", ", 'approved'"))
    with planner.transaction() as transaction:
        transaction.execute(plan.format("", "sum-1", ""))
    approval = "INSERT INTO approval (plan, who, at) VALUES ('sum-1', 'another', 1)"
    assert not may(planner, approval)
    assert not may(planner, "UPDATE plan SET state = 'approved'")
    assert [plan_.state for plan_ in Plans(as_role("dregutil_reader")).all()] == ["expired"]
    assert may(approver, approval)
    assert may(approver, "UPDATE plan SET state = 'approved'")
    assert not may(approver, "UPDATE plan SET body = ''"), "what was approved stays what was approved"


def test_a_planner_claims_nothing_and_records_no_line(as_role: AS_ROLE) -> None:
    for name in ("dregutil_reader", "dregutil_planner", "dregutil_approver"):
        ledger = Ledger(as_role(name))
        with pytest.raises(StoreError, match="permission denied") as refused:
            ledger.claim_registry(KEY, KEY, "somebody", limit=1)
        assert "store grants" in refused.value.advice
        assert not may(ledger.database, "INSERT INTO line (run, n, kind, at, body) VALUES ('r', 1, 'intent', 1, '')")


def test_a_worker_claims_records_and_discards_but_changes_no_line(as_role: AS_ROLE) -> None:
    database = as_role("dregutil_worker")
    ledger = Ledger(database)
    taken = ledger.claim_registry(KEY, KEY, "worker", limit=1)
    assert taken is not None
    ledger.renew([taken.fence])
    ledger.release(taken.fence, settled=True)
    assert may(database, "DELETE FROM run")
    for sql in ("UPDATE line SET body = ''", "DELETE FROM line", "UPDATE run SET name = 'other'"):
        assert not may(database, sql), sql
    assert not may(database, "INSERT INTO approval (plan, who, at) VALUES ('p', 'me', 1)")


def test_a_worker_carries_a_run_out_from_its_begin_to_its_end(as_role: AS_ROLE) -> None:
    """Every column that a run changes is one that the role may change."""
    ledger = Ledger(as_role("dregutil_worker"))
    whole = ledger.claim_registry(KEY, KEY, "worker", limit=1)
    assert whole is not None
    lines = [Entry("run", b"header"), *(Entry("step", b"step", name, number) for number, name in enumerate("ab", 1))]
    ledger.begin(NewRun("run-1", KEY), lambda _: lines, whole.fence)
    first = ledger.claim_next("run-1", whole.fence, "worker", limit=1)
    assert first is not None
    ledger.append("run-1", [Entry("intent", b"line", "a", 1)], [first.fence])
    ledger.note_tried("run-1", first.fence)
    ledger.release(first.fence, settled=True)
    assert ledger.left("run-1", "worker") == 1, "what was tried is not tried again by the same process"
    for holder in ("worker", "another"):
        taken = ledger.claim_next("run-1", whole.fence, holder, limit=1)
        assert taken is not None
        ledger.append("run-1", [Entry("looked", b"line", taken.fence.repository)], [taken.fence])
        ledger.release(taken.fence, settled=True)
    assert ledger.close("run-1", Entry("end", b"end"))
    ledger.remove("run-1")


def test_a_worker_does_not_migrate_and_finds_a_migrated_store(as_role: AS_ROLE) -> None:
    database = as_role("dregutil_worker")
    assert migrate(database) == (NEWEST, NEWEST)
    owner = as_role("dregutil_reader")  # any role may look
    assert read_state(owner).version == NEWEST


def test_a_role_without_the_right_makes_no_tables(postgres: object, shared_url: str) -> None:
    from servers.postgres import Postgres

    assert isinstance(postgres, Postgres)
    name = shared_url.rpartition("/")[2]
    with postgres.connect(name) as connection:
        connection.execute(f"CREATE ROLE u_{name} LOGIN PASSWORD '{postgres.password}'")
    database = open_database(StoreAddress.parse(postgres.url_of(name, user=f"u_{name}")))
    with pytest.raises(StoreError, match="permission denied"):
        migrate(database)
    database.close()
    with postgres.connect(name) as connection:
        connection.execute(f"DROP ROLE u_{name}")


def test_check_says_what_a_role_may(as_role: AS_ROLE) -> None:
    expected = {
        "dregutil_reader": {"read"},
        "dregutil_planner": {"read", "plan"},
        "dregutil_approver": {"read", "plan", "approve"},
        "dregutil_worker": {"read", "plan", "work"},
    }
    for role, allowed in expected.items():
        state = read_state(as_role(role))
        assert {what for what, may_ in state.may.items() if may_} == allowed
        assert state.user.startswith(role)

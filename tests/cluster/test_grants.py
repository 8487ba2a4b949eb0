"""The roles of a store in a real PostgreSQL: each may do what it must, and is refused everything else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dregutil.errors import StoreError
from dregutil.oci.names import Repository, Tag
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import Batch
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.facts import SharedFacts
from dregutil.store.grants import DATABASE_GRANTS, RIGHTS, ROLES, grants_sql, needs
from dregutil.store.ledger import Entry, Ledger, NewRun
from dregutil.store.migrations import NEWEST, migrate, table_names
from dregutil.store.plans import Plans
from dregutil.store.state import read_state
from images import Pusher
from servers import DistributionServer
from servers.postgres import Postgres
from sharing import Machine, backed_up

if TYPE_CHECKING:
    import psycopg

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
def as_role(shared_url: str, postgres: Postgres, monkeypatch: pytest.MonkeyPatch) -> Iterator[AS_ROLE]:
    """Opens the store as a user who has one role; without a role, as its owner."""
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


def test_a_reader_whose_copy_of_pulls_a_restored_store_forgot_takes_what_is_there(
    as_role: AS_ROLE, shared_url: str, tmp_path: Path
) -> None:
    owner, reader = open_database(StoreAddress.parse(shared_url)), as_role("dregutil_reader")
    here = PullStore(tmp_path / "here", KEY, shared=SharedFacts(owner, KEY))

    def known() -> set[str]:
        found = PullStore(tmp_path / "there", KEY, shared=SharedFacts(reader, KEY)).pulls(Repository("shop"))
        return {str(tag) for tag in found.tags}

    batch = Batch(recorded=(1_790_000_000, 1_790_000_000))
    for tag in ("kept", "forgotten"):
        restore = backed_up(owner, "shared_file", "shared_row")
        batch.add(Repository("shop"), Tag(tag), 1_790_000_000, "docker")
        with here.writer(SourceKind.EVENTS, "events") as writer:
            writer.write(batch)
    assert known() == {"kept", "forgotten"}
    restore()
    assert known() == {"kept"}
    owner.close()


def test_a_reader_exports(as_role: AS_ROLE, tmp_path: Path) -> None:
    from dregutil.store.parquet.export import export_parquet

    assert export_parquet(as_role("dregutil_reader"), tmp_path / "lake").files == ()


RIGHTS_TO_ALL = (
    "SELECT 'table', tablename, verb, has_any_column_privilege(:role, 'dregutil.' || tablename, verb) FROM pg_tables,"
    " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE']) verb WHERE schemaname = 'dregutil' UNION ALL "
    "SELECT 'table', tablename, verb, has_table_privilege(:role, 'dregutil.' || tablename, verb) FROM pg_tables,"
    " unnest(ARRAY['DELETE', 'TRUNCATE', 'REFERENCES', 'TRIGGER']) verb WHERE schemaname = 'dregutil' UNION ALL "
    "SELECT 'sequence', sequencename, verb, has_sequence_privilege(:role, 'dregutil.' || sequencename, verb)"
    " FROM pg_sequences, unnest(ARRAY['USAGE', 'SELECT', 'UPDATE']) verb WHERE schemaname = 'dregutil' UNION ALL "
    "SELECT 'function', proname, 'EXECUTE', has_function_privilege(:role, oid, 'EXECUTE') FROM pg_proc"
    " WHERE pronamespace = 'dregutil'::regnamespace"
)


def test_the_queue_belongs_to_the_workers_alone(as_role: AS_ROLE) -> None:
    """Every table, sequence and function of the schema, also those that the queue's library made."""
    may_worker = {"table": {"SELECT", "INSERT", "UPDATE", "DELETE"}, "sequence": {"USAGE"}, "function": {"EXECUTE"}}
    owner = as_role("dregutil_reader")  # any role may look at the catalog
    for role in ROLES:
        with owner.transaction() as transaction:
            found = transaction.rows(RIGHTS_TO_ALL, {"role": role.name})
        queue = [row for row in found if str(row[1]).startswith("procrastinate_")]
        assert {kind for kind, *_ in queue} == {"table", "sequence", "function"}
        for kind, name, verb, allowed in queue:
            assert allowed == (role.name == "dregutil_worker" and verb in may_worker[kind]), (role.name, name, verb)
        ours = {(name, verb) for kind, name, verb, allowed in found if kind == "table" and allowed} - {
            (name, verb) for _, name, verb, _ in queue
        }
        assert {name for name, _ in ours} <= RIGHTS.keys(), "a part of a table is not written to by its own name"


@pytest.mark.parametrize("role", ["dregutil_reader", "dregutil_planner", "dregutil_approver"])
def test_only_a_worker_defers_and_takes_jobs(as_role: AS_ROLE, role: str) -> None:
    """With the calls of the queue's library, as `test_queue.py` has them for a worker."""
    database = as_role(role)
    for sql in (
        "SELECT procrastinate_register_worker_v1()",
        "SELECT procrastinate_defer_periodic_job_v2('refresh', NULL, NULL, 'tick', 0, 'nightly', 1, '{}'::jsonb)",
        "SELECT procrastinate_fetch_job_v2(ARRAY['refresh'], 1)",
        "SELECT procrastinate_finish_job_v1(1, 'succeeded', TRUE)",
        "SELECT count(*) FROM procrastinate_jobs",
        "DELETE FROM procrastinate_jobs",
        "SELECT nextval('procrastinate_jobs_id_seq')",
    ):
        with pytest.raises(StoreError, match="permission denied"), database.transaction() as transaction:
            transaction.rows(sql)


def write_many(database: Database) -> None:
    """Write as many rows at once as go through a temporary table."""
    columns = ("digest", "media_type", "deflated", "at")
    rows = [(f"sha256:{number}", "application/json", b"bytes", 1.0) for number in range(300)]
    with database.transaction() as transaction:
        transaction.put("content", ("digest",), columns, rows)


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


def test_an_approver_approves_takes_it_back_replaces_and_rejects(as_role: AS_ROLE) -> None:
    planner, approver = Plans(as_role("dregutil_planner")), Plans(as_role("dregutil_approver"))
    bodies = (b"one\nsum\n", b"two\nsum\n")
    first, second = (planner.add_file(body, registry=KEY, made_by="ann", tags=1, steps=1).sum for body in bodies)
    assert approver.approve(first, "bob").state == "approved"
    for change in (planner.approve, planner.withdraw):
        with pytest.raises(StoreError, match="permission denied"):
            change(first, "bob")
    assert approver.withdraw(first, "bob").state == "waiting"
    assert approver.replace(first)
    assert approver.reject(second, "bob").state == "rejected"


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
    run = NewRun("run-1", KEY)
    ledger.begin(run, lambda _: lines, whole.fence)
    registry = replace(whole.fence, holder=run.holder)
    first = ledger.claim_next("run-1", registry, "worker", limit=1)
    assert first is not None
    ledger.append("run-1", [Entry("intent", b"line", "a", 1)], [first.fence])
    ledger.note_tried("run-1", first.fence)
    ledger.release(first.fence, settled=True)
    assert ledger.left("run-1", "worker") == 1, "what was tried is not tried again by the same process"
    for holder in ("worker", "another"):
        taken = ledger.claim_next("run-1", registry, holder, limit=1)
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


def test_a_role_without_the_right_makes_no_tables(postgres: Postgres, shared_url: str) -> None:
    name = shared_url.rpartition("/")[2]
    with postgres.connect(name) as connection:
        connection.execute(f"CREATE ROLE u_{name} LOGIN PASSWORD '{postgres.password}'")
    database = open_database(StoreAddress.parse(postgres.url_of(name, user=f"u_{name}")))
    with pytest.raises(StoreError, match="permission denied"):
        migrate(database)
    database.close()
    with postgres.connect(name) as connection:
        connection.execute(f"DROP ROLE u_{name}")


def without_temporary(connection: psycopg.Connection[Any], name: str) -> None:
    connection.execute(f"REVOKE ALL ON DATABASE {name} FROM PUBLIC, dregutil_reader, dregutil_planner, dregutil_worker")
    connection.execute(f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")


def test_on_a_database_that_gives_nothing_to_everybody_the_roles_get_what_they_need(
    as_role: AS_ROLE, postgres: Postgres, shared_url: str
) -> None:
    name = shared_url.rpartition("/")[2]
    planner, worker = as_role("dregutil_planner"), as_role("dregutil_worker")
    with postgres.connect(name) as connection:
        without_temporary(connection, name)
        for database in (planner, worker):
            with pytest.raises(StoreError, match="permission denied to create temporary tables") as refused:
                write_many(database)
            assert "`dregutil store grants` prints" in refused.value.advice
            may_ = read_state(database).may
            assert (may_["read"], may_["plan"], may_["work"]) == (True, False, False)
        connection.execute(f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
        connection.execute("\n".join(grants_sql()))
    for database in (planner, worker):
        database.close()  # the next transaction connects anew
        write_many(database)
        assert read_state(database).may["plan"]


def test_who_does_not_own_the_database_is_told_what_its_owner_has_to_run(
    as_role: AS_ROLE, postgres: Postgres, shared_url: str
) -> None:
    """The tables belong to somebody else than the database, which gives nothing to everybody."""
    worker = as_role("dregutil_worker")
    name, said = shared_url.rpartition("/")[2], []
    with postgres.connect(name) as connection:
        without_temporary(connection, name)
        connection.execute(f"CREATE ROLE owner_{name} NOLOGIN")
        connection.execute(f"GRANT ALL ON SCHEMA dregutil TO owner_{name}")
        connection.add_notice_handler(lambda notice: said.append(notice.message_primary or ""))
        connection.execute(f"SET ROLE owner_{name}")
        connection.execute(DATABASE_GRANTS)
        connection.execute("RESET ROLE")
        assert len(said) == 2, "of the planner and the worker"
        connection.execute(said[0].partition("has to run: ")[2])
        write_many(worker)
        said.clear()
        connection.execute(f"SET ROLE owner_{name}")
        connection.execute(DATABASE_GRANTS)
        connection.execute("RESET ROLE")
        assert not said
        connection.execute(f"DROP OWNED BY owner_{name}")
        connection.execute(f"DROP ROLE owner_{name}")


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


LOOKS = (
    ("history",),
    ("ls", "shop/web"),
    ("du",),
    ("plans",),
    ("hold", "--list"),
    ("cleanup", "-f", "policy.yml", "--dry-run"),
    ("store", "check"),
    ("store", "export", "copy"),
)
PLAN, APPROVE = ("remove-tags", "-r", "shop/web", "-t", "1.0", "--approve"), ("plans", "approve", "SUM")
REJECT = ("plans", "reject", "SUM")
PAUSE, RESUME = ("work", "pause"), ("work", "resume")
HOLD, REMOVE, UNDO = ("hold", "shop/web:3.0"), ("remove-tags", "-r", "shop/web", "-t", "1.1", "-y"), ("undo", "-y")
LINES = (*LOOKS, HOLD, PLAN, APPROVE, REJECT, PAUSE, RESUME, REMOVE, UNDO)
MAY_DO: dict[str, set[tuple[str, ...]]] = {
    "dregutil_planner": {HOLD, PLAN},
    "dregutil_reader": set(),
    "dregutil_approver": {HOLD, PLAN, APPROVE, REJECT, PAUSE, RESUME},
    "dregutil_worker": {HOLD, PLAN, REJECT, PAUSE, RESUME, REMOVE, UNDO},
}


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # as in `test_store_commands.py`
def test_what_each_role_may_do_with_the_program(
    as_role: AS_ROLE, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path, postgres: Postgres
) -> None:
    """As docs/team.md says; a role that may not remove sends no DELETE."""
    for tag in ("1.0", "1.1", "2.0", "3.0"):
        pusher.push_image("shop/web", tag, seed=tag)
    may_do: dict[str, set[tuple[str, ...]]] = {}
    planned = ""
    for role in MAY_DO:
        environment = {"DREGUTIL_STORE": as_role(role).address.url, "PGPASSWORD": postgres.password}
        machine = Machine(registry_server.url, tmp_path / role, environment)
        may_do[role] = set()
        for line in LINES:
            before = pusher.tags("shop/web")
            done = machine.run(*(planned if word == "SUM" else word for word in line))
            assert "psycopg" not in done.stderr
            if done.returncode == 0:
                may_do[role].add(line)
            elif line != UNDO:  # otherwise there is nothing to undo
                assert "permission denied for table" in done.stderr, (role, line, done.stderr)
                assert "`dregutil store grants` prints" in done.stderr
                assert pusher.tags("shop/web") == before
            if line == PLAN and not done.returncode:
                planned = json.loads(machine.does("plans", "--format", "json"))[0]["sum"]
    assert may_do == {role: {*LOOKS, *lines} for role, lines in MAY_DO.items()}
    assert sorted(pusher.tags("shop/web")) == ["1.0", "1.1", "2.0", "3.0"]

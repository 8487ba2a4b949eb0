"""A database that takes no more connections, or no changes: its disk is full, or it can only be read."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.migrations import migrate
from dregutil.store.postgres import MOST
from images import Pusher
from many_machines import Cluster, check, ended
from servers import DistributionServer, free_port
from servers.link import Link
from servers.postgres import Postgres
from sharing import Machine
from team_work import EVERY_SECOND, SlowRegistry, Team, wait_until

if TYPE_CHECKING:
    import psycopg

PAGE = Path(__file__).parents[2] / "docs" / "team.md"
WORKER = 6  # connections of a worker itself: two for its rounds, four for the queue
ROOM = "let more connections in (max_connections, CONNECTION LIMIT of the role, the pooler's pool)"
# As when no file of a table can grow, at the moment of the commit.
FULL_DISK = """
SET search_path = dregutil;
CREATE FUNCTION no_room() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
    RAISE EXCEPTION 'could not extend file "base/5/16402": No space left on device' USING ERRCODE = 'disk_full';
END $$;
CREATE CONSTRAINT TRIGGER full_disk AFTER INSERT ON line DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION no_room();
"""


@pytest.fixture
def limited(postgres: Postgres, shared_url: str) -> Iterator[tuple[str, Callable[[int], None]]]:
    """The URL of a store as a user of its own, and what limits that user's connections from now on."""
    name = shared_url.rpartition("/")[2]

    def limit(number: int) -> None:
        with postgres.connect(name) as connection:
            connection.execute(f"ALTER ROLE u{name} CONNECTION LIMIT {number}".encode())
            if number == 0:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [f"u{name}"]
                )

    with postgres.connect(name) as connection:
        connection.execute(f"CREATE ROLE u{name} LOGIN PASSWORD '{postgres.password}'".encode())
        connection.execute(f"GRANT CREATE ON DATABASE {name} TO u{name}".encode())
    yield shared_url.replace("postgres@", f"u{name}@"), limit
    with postgres.connect(name) as connection:
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = %s", [f"u{name}"])
        connection.execute(f"DROP OWNED BY u{name} CASCADE".encode())
        connection.execute(f"DROP ROLE u{name}".encode())


def test_each_command_says_that_there_is_no_room(
    limited: tuple[str, Callable[[int], None]], registry_server: DistributionServer, tmp_path: Path
) -> None:
    url, limit = limited
    machine = Machine(registry_server.url, tmp_path / "here", {"DREGUTIL_STORE": url})
    machine.does("store", "migrate")
    limit(0)
    for words in (
        ("store", "check"),
        ("cleanup", "-f", "policy.yml", "-y"),
        ("work", "--addr=127.0.0.1:0"),
        ("serve", "--addr=127.0.0.1:0"),
    ):
        done = machine.run(*words)
        assert done.returncode == 1, (words, done)
        assert re.search(r"the store postgresql://\S+ cannot be used: .*too many connections for role", done.stderr)
        assert ROOM in done.stderr, done.stderr


def test_a_worker_comes_back_when_there_is_room(
    limited: tuple[str, Callable[[int], None]], registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    url, limit = limited
    pusher.push_image("team/a", "1.0", seed="one")
    with SlowRegistry(registry_server.port) as registry, Team(tmp_path, url, registry.url) as team:
        team.run("ann", "store", "migrate")
        team.schedules = EVERY_SECOND
        worker = team.worker("w1")
        done = "refresh of schedule often is done"
        wait_until(lambda: done in worker.said)
        limit(0)
        wait_until(lambda: "the store cannot be used: " in worker.said and "too many connections" in worker.said)
        wait_until(lambda: worker.get("healthz")[0] == 503)
        limit(-1)
        wait_until(lambda: "the store can be used again" in worker.said)
        wait_until(lambda: done in worker.said.rpartition("the store can be used again")[2])
        assert worker.get("healthz")[0] == 200


def test_a_process_has_no_more_connections_than_the_page_says(postgres: Postgres, shared_url: str) -> None:
    page = PAGE.read_text()
    assert f"A command holds at most {MOST} connections" in page
    assert f"A worker itself holds at most {WORKER}," in page
    database = open_database(StoreAddress.parse(shared_url))
    migrate(database)
    started, found = threading.Barrier(MOST + 1), []
    go_on = threading.Event()

    def ask() -> None:
        with database.transaction() as transaction:
            if not go_on.is_set():
                started.wait(20)
                go_on.wait(20)
            found.append(transaction.rows("SELECT pg_backend_pid()")[0][0])

    threads = [threading.Thread(target=ask) for _ in range(3 * MOST)]
    for thread in threads:
        thread.start()
    started.wait(20)
    with pytest.raises(StoreError, match="is in use by") as refused, database.transaction(within=0.2):
        pass
    assert refused.value.may_repeat
    go_on.set()
    for thread in threads:
        thread.join(20)
    assert len(found) == 3 * MOST
    assert len(set(found)) == MOST
    database.close()


def test_a_worker_and_its_jobs_have_as_many_as_the_page_says(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for name in "abcd":
        pusher.push_image(f"team/{name}", "1.0", seed=name)
    with (
        Link(postgres.port) as link,
        SlowRegistry(registry_server.port) as registry,
        Team(tmp_path, shared_url.replace(f":{postgres.port}/", f":{link.port}/"), registry.url) as team,
    ):
        team.run("ann", "store", "migrate")
        assert link.most == 1
        team.schedules = EVERY_SECOND
        worker = team.worker("w1", "--only=apply")  # its jobs are none of its own connections
        asking = [threading.Thread(target=worker.get, args=["metrics"]) for _ in range(10)]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        wait_until(lambda: "procrastinate" in str(_asked(postgres, shared_url)))
        assert 2 < link.most <= WORKER


def _asked(postgres: Postgres, store: str) -> list[object]:
    with postgres.connect(store.rpartition("/")[2]) as connection:
        return connection.execute(
            "SELECT query FROM pg_stat_activity WHERE application_name = 'dregutil work'"
        ).fetchall()


@pytest.fixture
def no_standby(postgres: Postgres) -> Iterator[None]:
    """Each durable commit waits for a standby, which never comes."""
    with postgres.connect() as connection:
        connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'other'")
        connection.execute("SELECT pg_reload_conf()")
        wait_until(lambda: _commits_wait(postgres, connection))  # another process of the server takes its time to know
        yield
        connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
        connection.execute("SELECT pg_reload_conf()")


CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"


def _commits_wait(postgres: Postgres, connection: psycopg.Connection[tuple[Any, ...]]) -> bool:
    """Whether a commit waits for a standby; it is cancelled then."""

    def commit() -> None:
        with postgres.connect() as one:
            one.execute("SELECT txid_current()")

    thread = threading.Thread(target=commit)
    thread.start()
    waited = False
    while thread.is_alive():
        waited = bool(connection.execute(CANCEL).fetchall()) or waited
        thread.join(0.01)
    return waited


def test_what_its_standby_does_not_have_is_not_committed(
    postgres: Postgres, shared_url: str, request: pytest.FixtureRequest
) -> None:
    """PostgreSQL calls such a commit a success, with a warning, when whoever waited for it is cancelled."""
    database = open_database(StoreAddress.parse(shared_url))
    migrate(database)
    request.getfixturevalue("no_standby")
    failed: list[StoreError] = []

    def write() -> None:
        try:
            with database.transaction() as transaction:
                transaction.execute("INSERT INTO registry (key, name) VALUES ('a', 'a')")
        except StoreError as error:
            failed.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    with postgres.connect() as connection:
        wait_until(lambda: not thread.is_alive() or connection.execute(CANCEL).fetchall())
    thread.join(20)
    assert [one.may_repeat for one in failed] == [False]
    assert "might not have been replicated to the standby" in failed[0].message
    database.close()


def test_another_server_is_asked_when_one_takes_no_changes(postgres: Postgres, shared_url: str) -> None:
    database = open_database(StoreAddress.parse(shared_url))
    migrate(database)
    name = shared_url.rpartition("/")[2]
    insert = "INSERT INTO registry (key, name) VALUES (:key, 'a')"
    servers = f"postgres@127.0.0.1:{free_port()},127.0.0.1:{postgres.port}"  # nobody is at the first one
    several = f"postgresql://{servers}/{name}?target_session_attrs=read-write"
    other = open_database(StoreAddress.parse(several))
    with postgres.connect(name) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'dregutil'")
    for one in (database, other):
        with pytest.raises(StoreError, match="can only be read") as refused, one.transaction() as transaction:
            transaction.execute(insert, {"key": "x"})
        assert refused.value.may_repeat
    with postgres.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
    for key, one in (("a", database), ("b", other)):
        with one.transaction() as transaction:
            assert transaction.execute(insert, {"key": key}) == 1
        one.close()


def test_each_command_says_that_the_store_can_only_be_read(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for tag in ("1.0", "1.1", "1.2"):
        pusher.push_image("shop/web", tag, seed=tag)
    machine = Machine(registry_server.url, tmp_path / "here", {"DREGUTIL_STORE": shared_url})
    machine.does("store", "migrate")
    name = shared_url.rpartition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
    for words in (
        ("remove-tags", "-r", "shop/web", "-t", "1.0", "-y"),
        ("cleanup", "-f", "policy.yml", "-y"),
        ("hold", "shop/web:1.0"),
    ):
        done = machine.run(*words)
        assert done.returncode == 1, (words, done)
        assert re.search(r"the store postgresql://\S+ can only be read: cannot execute", done.stderr), done.stderr
        assert "name the server that takes changes: a standby does not" in done.stderr, done.stderr
    for command in ("history", "store check", "plans", "hold --list"):
        assert machine.run(*command.split()).returncode == 0, command
    assert len(pusher.tags("shop/web")) == 3


def test_a_full_disk_ends_a_run_before_its_next_delete(cluster: Cluster) -> None:
    """What could not be committed was not sent; with room again, the run is whole."""
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    cluster.rows(FULL_DISK)
    cluster.proxy.let_go()
    for process in (first, second):
        status, said = ended(process)
        assert status not in (0, 1), said
        assert "cannot be used: could not extend file" in said, said
        assert "make room on the database's disk; then `dregutil apply --resume RUN` continues" in said, said
    cluster.rows("DROP TRIGGER full_disk ON dregutil.line")
    check(cluster, cluster.machine("c"), cluster.machine("d"))


def test_a_database_that_can_only_be_read_ends_a_run_before_its_next_delete(cluster: Cluster) -> None:
    """As after a failover to a server that takes no changes."""
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    cluster.rows(f"ALTER DATABASE {cluster.database} SET default_transaction_read_only = on")
    cluster.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()"
        " AND pid <> pg_backend_pid()"
    )
    cluster.proxy.let_go()
    for process in (first, second):
        status, said = ended(process)
        assert status not in (0, 1), said
        assert "can only be read: cannot execute" in said, said
        assert "name the server that takes changes" in said, said
    with cluster.postgres.connect("postgres") as connection:
        connection.execute(f"ALTER DATABASE {cluster.database} RESET default_transaction_read_only".encode())
    check(cluster, cluster.machine("c"), cluster.machine("d"))

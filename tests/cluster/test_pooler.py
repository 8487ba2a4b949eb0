"""A store behind PgBouncer, as many teams run PostgreSQL: a connection for a session, or for each transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from dregutil.errors import StoreError
from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.migrations import migrate
from images import Pusher
from servers import DistributionServer
from servers.pgbouncer import PgBouncer
from servers.postgres import Postgres
from team_work import EVERY_SECOND, SlowRegistry, Team, wait_until

MODES = ("session", "transaction")
TAGS = ("1.0", "1.1", "2.0")


@pytest.fixture(params=MODES)
def pooler(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[PgBouncer]:
    """Two connections to the server for all; it passes over the settings that who connects asks for, as many do."""
    pool = () if request.param == "session" else ("default_pool_size = 2", "ignore_startup_parameters = options")
    with PgBouncer(postgres, request.param, *pool) as found:
        yield found


def opened(url: str) -> Database:
    return open_database(StoreAddress.parse(url))


def test_each_transaction_has_its_settings_and_leaves_none(
    pooler: PgBouncer, postgres: Postgres, shared_url: str
) -> None:
    name = shared_url.rpartition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f"ALTER DATABASE {name} SET synchronous_commit = off")
    database = opened(pooler.url(shared_url))
    migrate(database)
    shown = "SELECT current_setting('synchronous_commit'), current_setting('idle_in_transaction_session_timeout')"
    for _ in range(3):
        with database.transaction(pauses=True) as transaction:
            assert transaction.rows(shown) == [("on", "0")]
        with database.transaction(durable=False) as transaction:
            assert transaction.rows(shown) == [("off", "30s")]
    assert database.is_pooled
    database.close()
    with psycopg.connect(pooler.url(shared_url), password=postgres.password) as other:
        assert other.execute("SHOW search_path").fetchone() == ('"$user", public',), "that of whoever comes next"
    direct = opened(shared_url)
    with direct.transaction():
        assert not direct.is_pooled
    direct.close()


def test_no_statement_is_taken_for_that_of_another_client(pooler: PgBouncer, shared_url: str) -> None:
    """What a client prepared has a name that others use too, and stays on a connection that others get."""
    ten, twenty = (opened(pooler.url(shared_url)) for _ in "ab")
    for first, second in [(ten, twenty), (twenty, ten)] * 3:
        with first.transaction() as one, second.transaction() as other:
            for number in range(8):
                for database, transaction in ((first, one), (second, other)):
                    plus = 10 if database is ten else 20
                    found = transaction.rows(f"SELECT :number + {plus}", {"number": number})
                    assert found == [(number + plus,)]
    ten.close()
    twenty.close()


def test_a_team_works_behind_it(
    pooler: PgBouncer, shared_url: str, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    with SlowRegistry(registry_server.port) as registry, Team(tmp_path, pooler.url(shared_url), registry.url) as team:
        registry.seconds = 0.1
        for name in ("team/a", "team/b"):
            for tag in TAGS:
                registry.images.add(pusher.push_image(name, tag, seed=f"{name} {tag}")["digest"])
        team.run("ann", "store", "migrate")
        team.run("ann", "store", "check")
        team.schedules = EVERY_SECOND
        workers = [team.worker("w1"), team.worker("w2")]
        planned = team.run("ann", "remove-tags", "-r", "team/a", "team/b", "-t", "<2", "--approve", "--format=json")
        sum_ = json.loads(planned.stdout)[0]["sum"]
        team.run("bob", "plans", "approve", sum_[7:19], DREGUTIL_ACTOR="bob@laptop")
        wait_until(lambda: '"state": "done"' in team.run("cy", "plans", "--all", "--format=json").stdout)
        assert all(sorted(pusher.tags(name)) == ["2.0"] for name in ("team/a", "team/b"))
        assert len(registry.deleted) == len(set(registry.deleted)) == 4
        done = "of schedule often is done"
        wait_until(lambda: sum(worker.said.count(done) for worker in workers) >= 3)
        for worker in workers:
            worker.end()
        assert not [line for worker in workers for line in worker.said.splitlines() if "cannot be used" in line]
        team.run("cy", "undo", "-y")
        assert sorted(pusher.tags("team/a")) == list(TAGS)
        assert "unsupported startup parameter" not in pooler.log, "nobody asked for what it does not know"
        ticks_are_carried_out_once(shared_url, sum(worker.said.count(done) for worker in workers))


def ticks_are_carried_out_once(store: str, times: int) -> None:
    database = opened(store)
    with database.transaction() as transaction:
        assert transaction.rows("SELECT count(*), max(tries) FROM tick WHERE state = 'done'") == [(times, 1)]
    database.close()


def test_a_pooler_without_transactions_is_refused(postgres: Postgres, shared_url: str) -> None:
    with PgBouncer(postgres, "statement") as pooler:
        database = opened(pooler.url(shared_url))
        with pytest.raises(StoreError, match="transaction blocks not allowed in statement pooling mode") as refused:
            migrate(database)
        assert (
            refused.value.advice == "set pool_mode = transaction or session in the pooler: a store needs transactions"
        )
        database.close()

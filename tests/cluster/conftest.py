"""PostgreSQL for the tests: one server for each process of pytest, a database of its own for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.migrations import migrate
from servers import DistributionServer

if TYPE_CHECKING:
    from many_machines import Cluster
    from servers.postgres import Postgres


@pytest.fixture(scope="session")
def postgres() -> Iterator[object]:
    """A running server (`servers.postgres.Postgres`). Skipped where it cannot be had."""
    pytest.importorskip("psycopg", reason="psycopg is not installed")
    from servers.postgres import Postgres

    try:
        server = Postgres()
    except FileNotFoundError as error:
        pytest.skip(f"PostgreSQL: {error}")
    with server:
        yield server


@pytest.fixture
def shared_url(postgres: object, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of an empty PostgreSQL database; its password is where libpq looks for it."""
    from servers.postgres import Postgres

    assert isinstance(postgres, Postgres)
    monkeypatch.setenv("PGPASSWORD", postgres.password)
    os.environ.pop("DREGUTIL_STORE", None)
    return postgres.new_database()


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty store of each dialect."""
    if request.param == "sqlite":
        return f"sqlite://{tmp_path}/store/store.sqlite"
    url: str = request.getfixturevalue("shared_url")
    return url


@pytest.fixture
def database(store_url: str) -> Iterator[Database]:
    """A store of each dialect, with its tables."""
    found = open_database(StoreAddress.parse(store_url))
    migrate(found)
    yield found
    found.close()


@pytest.fixture
def store(store_url: str, database: Database) -> str:
    """The URL of a store of each dialect, with its tables."""
    return store_url


@pytest.fixture
def cluster(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, tmp_path: Path
) -> Iterator[Cluster]:
    """Several machines, whose DELETEs are held back from the third one on."""
    from many_machines import Cluster

    with Cluster(postgres, registry_server, tmp_path) as found:
        found.proxy.hold(after=3)
        yield found

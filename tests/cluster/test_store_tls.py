"""A store whose PostgreSQL takes connections with TLS alone: as docs/team.md and the chart name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from servers import DistributionServer
from servers.postgres import Postgres
from sharing import Machine
from team_work import Team, wait_until


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def server(authority: trustme.CA) -> Iterator[Postgres]:
    try:
        found = Postgres()
    except FileNotFoundError as error:
        pytest.skip(f"PostgreSQL: {error}")
    issued = authority.issue_cert("localhost")
    found.require_tls(b"".join(one.bytes() for one in issued.cert_chain_pems), issued.private_key_pem.bytes())
    with found:
        yield found


def url(server: Postgres, authority: trustme.CA, folder: Path, host: str = "localhost") -> str:
    path = folder / "ca.crt"
    authority.cert_pem.write_to_path(str(path))
    name = server.new_database().rpartition("/")[2]
    return f"postgresql://postgres@{host}:{server.port}/{name}?sslmode=verify-full&sslrootcert={path}"


def machine(server: Postgres, store: str, folder: Path) -> Machine:
    return Machine("registry.example.com", folder / "here", {"DREGUTIL_STORE": store, "PGPASSWORD": server.password})


def test_a_server_that_the_authority_vouches_for_is_used(
    server: Postgres, authority: trustme.CA, tmp_path: Path
) -> None:
    here = machine(server, url(server, authority, tmp_path), tmp_path)
    here.does("store", "migrate")
    assert "PostgreSQL" in here.does("store", "check")


@pytest.mark.parametrize("what", ["another authority", "another name", "no TLS"])
def test_another_server_gets_neither_password_nor_question(
    what: str, server: Postgres, authority: trustme.CA, tmp_path: Path
) -> None:
    used = trustme.CA() if what == "another authority" else authority
    store = url(server, used, tmp_path, "127.0.0.1" if what == "another name" else "localhost")
    if what == "no TLS":
        store = store.replace("verify-full", "disable")
    done = machine(server, store, tmp_path).run("store", "check")
    code, said = {
        "another authority": (1, "certificate verify failed"),
        "another name": (1, "does not match"),
        "no TLS": (4, "no encryption"),  # the server lets nobody in so
    }[what]
    assert done.returncode == code, done
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_every_connection_of_a_worker_is_encrypted(
    server: Postgres,
    authority: trustme.CA,
    registry_server: DistributionServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those of its queue and of its jobs, too."""
    monkeypatch.setenv("PGPASSWORD", server.password)
    store = url(server, authority, tmp_path)
    folder = tmp_path / "team"
    folder.mkdir()
    with Team(folder, store, registry_server.url) as team:
        team.schedules = '[schedule.often]\nrun = "refresh"\ncron = "* * * * * *"\n'
        team.run("owner", "store", "migrate")
        worker = team.worker("w")
        wait_until(lambda: "is done, in" in worker.said)
        with server.connect() as connection:
            name = store.partition("?")[0].rpartition("/")[2]
            rows = connection.execute(
                "SELECT ssl FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = %s", (name,)
            ).fetchall()
        assert len(rows) > 1
        assert {is_encrypted for (is_encrypted,) in rows} == {True}

"""The store's password, however it is given: in no process list, log, metric, answer, file or row of the database."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from command_lines import CommandLines
from images import Pusher
from servers import DistributionServer
from servers.postgres import Postgres
from team_work import EVERY_SECOND, Team, wait_until

WAYS = ("in the URL", "in the environment", "in a file")
GIVEN = ("PGPASSWORD", "PGPASSFILE", "DREGUTIL_STORE", "DREGUTIL_STORE_PASSWORD_FILE")


class Given:
    """A store's address and password, given in one of the ways."""

    def __init__(self, way: str, url: str, password: str, folder: Path) -> None:
        user, _, rest = url.partition("@")
        self.url = f"{user}:{password}@{rest}" if way == "in the URL" else url
        self.environment = {"PGPASSWORD": password} if way == "in the environment" else {}
        if way == "in a file":
            folder.mkdir(exist_ok=True)
            (folder / "password").write_text(f"{password}\n")
            self.environment = {"DREGUTIL_STORE_PASSWORD_FILE": str(folder / "password")}


class Machines(Team):
    """A team whose machines have some more variables."""

    def __init__(self, folder: Path, given: Given, registry: str) -> None:
        super().__init__(folder, given.url, registry)
        self._given = given.environment

    def environment(self, **more: str) -> dict[str, str]:
        return {**super().environment(), **self._given, **more}


def rows_of(postgres: Postgres, url: str) -> dict[str, list[str]]:
    """All rows of all tables of a database, as text; bytes as they are."""
    with postgres.connect(url.rpartition("/")[2]) as connection:
        connection.execute("SET bytea_output = 'escape'")
        tables = connection.execute(
            "SELECT table_schema, table_name FROM information_schema.tables"
            " WHERE table_schema NOT IN ('pg_catalog', 'information_schema')"
        ).fetchall()
        return {
            name: [row for (row,) in connection.execute(f'SELECT t::text FROM "{schema}"."{name}" t').fetchall()]
            for schema, name in tables
        }


@pytest.mark.parametrize("way", WAYS)
def test_workers_and_their_jobs_show_it_nowhere(
    way: str,
    postgres: Postgres,
    shared_url: str,
    registry_server: DistributionServer,
    pusher: Pusher,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for tag in ("1.0", "2.0"):
        pusher.push_image("team/a", tag, seed=tag)
    given = Given(way, shared_url, postgres.password, tmp_path / "secret")
    for name in GIVEN:
        monkeypatch.delenv(name, raising=False)
    shown, folder = [], tmp_path / "team"
    folder.mkdir()
    jobs: set[str] = set()
    with Machines(folder, given, registry_server.url) as team, CommandLines(str(folder), postgres.password) as lines:
        team.run("ann", "store", "migrate")
        team.schedules = EVERY_SECOND
        made = team.run("ann", "remove-tags", "-r", "team/a", "-t", "1.0", "--approve", "--format=json")
        worker = team.worker("w", "-l", "debug")
        wait_until(lambda: "is done, in" in worker.said)
        approved = team.run("bob", "plans", "approve", made.stdout.partition("sha256:")[2][:12])
        while not jobs:  # each is deleted when it is done
            jobs.update(rows_of(postgres, shared_url)["procrastinate_jobs"])
        wait_until(lambda: sorted(pusher.tags("team/a")) == ["2.0"])
        shown += [worker.get(path)[1] for path in ("healthz", "metrics")]
        shown += [team.run("bob", "history", "-l", "debug").stdout, team.run("bob", "plans", "--all").stdout]
        shown += [text for one in (made, approved) for text in (one.stdout, one.stderr)]
        rows = rows_of(postgres, shared_url)
        worker.end()
        shown.append(worker.said)
    assert [line for line in lines.seen if " refresh" in line], lines.seen
    assert [line for line in lines.seen if " apply " in line], lines.seen
    assert not [line for line in lines.seen if postgres.password in line]
    assert not [text for text in (*shown, *jobs) if postgres.password in text]
    assert {"line", "plan", "run", "procrastinate_jobs"} <= rows.keys()
    assert rows["line"]
    assert not {name for name, found in rows.items() if any(postgres.password in row for row in found)}
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if postgres.password.encode() in path.read_bytes()]


FAILURES = {
    "a wrong password": lambda port: f"postgresql://postgres@127.0.0.1:{port}/postgres",
    "a host that is not found": lambda _: "postgresql://postgres@nowhere.invalid/postgres",
    "no TLS": lambda port: f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=require",
    "no root certificate": lambda port: (
        f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=verify-full&sslrootcert=/nowhere.pem"
    ),
}


@pytest.mark.parametrize(
    ("way", "what"), [("in the URL", "a wrong password"), *zip(WAYS, [*FAILURES][1:], strict=True)]
)
def test_a_connection_that_fails_does_not_say_it(way: str, what: str, postgres: Postgres, tmp_path: Path) -> None:
    secret = "mellon-" + postgres.password
    address: Callable[[int], str] = FAILURES[what]
    given = Given(way, address(postgres.port), secret, tmp_path / "secret")
    left = {name: value for name, value in os.environ.items() if name not in GIVEN}
    environment = {**left, "DREGUTIL_STORE": given.url, **given.environment}
    state = tmp_path / "state"
    program = [sys.executable, "-m", "dregutil", "-reg", "127.0.0.1:9", f"--state-dir={state}", "-l", "debug"]
    running = [
        subprocess.Popen(
            [*program, *words], env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        for words in (("history",), ("store", "check"), ("work", "--addr=127.0.0.1:0"))
    ]
    end = time.monotonic() + 60
    for one in running:
        said, _ = one.communicate(timeout=max(1.0, end - time.monotonic()))
        assert one.returncode not in (0, None), said
        assert "store" in said
        assert "Traceback" not in said
        assert secret not in said
    assert not [path for path in state.rglob("*") if path.is_file() and secret.encode() in path.read_bytes()]

"""What docs/team.md says of upgrades and backups: two versions of the tables, and a backup that is restored."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.store.address import StoreAddress
from dregutil.store.database import Database, open_database
from dregutil.store.migrations import NEWEST
from images import Pusher
from servers import DistributionServer
from servers.postgres import Postgres
from sharing import Machine


def test_what_is_restored_lists_and_undoes_the_runs(
    postgres: Postgres, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    if not Path(postgres.program("pg_dump")).exists():
        pytest.skip("pg_dump is not installed")
    tags = [f"1.{number}" for number in range(4)]
    for number, tag in enumerate(tags, 1):
        pusher.push_image("shop/web", tag, seed=tag, config={"created": f"2025-0{number}-03T10:00:00Z"})
    urls = [postgres.new_database(), postgres.new_database()]
    given = [{"DREGUTIL_STORE": one, "PGPASSWORD": postgres.password} for one in urls]
    before = Machine(registry_server.url, tmp_path / "before", given[0])
    before.does("store", "migrate")
    with postgres.connect(urls[0].rpartition("/")[2]) as connection:
        connection.execute(before.does("store", "grants").encode())
    before.does("remove-tags", "-r", "shop/web", "-t", "<1.2", "-y")
    assert sorted(pusher.tags("shop/web")) == tags[-2:]

    environment = {**os.environ, "PGPASSWORD": postgres.password}
    made = subprocess.run(
        [postgres.program("pg_dump"), "--format=custom", urls[0]], env=environment, check=True, capture_output=True
    )
    command = [postgres.program("pg_restore"), "--exit-on-error", f"--dbname={urls[1]}"]
    subprocess.run(command, input=made.stdout, env=environment, check=True, capture_output=True)

    after = Machine(registry_server.url, tmp_path / "after", given[1])
    after.does("store", "check")
    assert after.does("history", "--format", "json") == before.does("history", "--format", "json")
    after.does("undo", "-y")
    assert sorted(pusher.tags("shop/web")) == tags


@pytest.fixture
def opened(shared_url: str, postgres: Postgres, tmp_path: Path) -> Iterator[tuple[Machine, Database]]:
    """A machine, and its store: PostgreSQL, with tables."""
    machine = Machine("registry.example.com", tmp_path / "here", {"DREGUTIL_STORE": shared_url})
    machine.does("store", "migrate")
    database = open_database(StoreAddress.parse(shared_url))
    yield machine, database
    database.close()


COMMANDS = (
    ("history",),
    ("plans",),
    ("ls", "shop/web"),
    ("undo", "-y"),
    ("cleanup", "-f", "policy.yml", "-y"),
    ("remove-tags", "-r", "shop/web", "-t", "1.0", "--approve"),
    ("work", "pause"),
)


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("INSERT INTO migration (number, name, at) VALUES (99, 'of the future', 0)", "use a newer dregutil"),
        ("DELETE FROM migration WHERE number = :newest", "`dregutil store migrate` brings them up to date"),
    ],
    ids=["newer", "older"],
)
def test_tables_of_another_version_are_refused_by_every_command(
    change: str, advice: str, opened: tuple[Machine, Database]
) -> None:
    """A `helm rollback` leaves the newer tables; a machine that was not upgraded meets them, too."""
    machine, database = opened
    with database.transaction() as transaction:
        transaction.execute(change, {"newest": NEWEST})
    for words in COMMANDS:
        done = machine.run(*words)
        assert (done.returncode, advice in done.stderr) == (1, True), (words, done)
    assert machine.run("store", "check").returncode == 3
    if "newer" in advice:
        for words in (("work", "--addr=127.0.0.1:0"), ("store", "migrate"), ("serve", "--addr=127.0.0.1:0")):
            done = machine.run(*words)
            assert (done.returncode, advice in done.stderr) == (1, True), (words, done)
    with database.transaction() as transaction:
        assert not transaction.rows("SELECT 1 FROM run UNION ALL SELECT 1 FROM plan UNION ALL SELECT 1 FROM registry")

"""A backup of the store's database, as docs/team.md makes it, restored into another database: everything is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

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

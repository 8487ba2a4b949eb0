"""The chart's pods on a real PostgreSQL: the migration as the owner of the tables, with a password from a secret."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from charted import LEAST, joined, render
from podded import container_of

if TYPE_CHECKING:
    from servers.postgres import Postgres


def test_the_migration_makes_the_tables(postgres: Postgres, tmp_path: Path) -> None:
    database = postgres.new_database().rpartition("/")[2]
    with postgres.connect() as connection:
        connection.execute("CREATE ROLE owner LOGIN PASSWORD 'an-owners-password'")
        connection.execute(f"ALTER DATABASE {database} OWNER TO owner")
    url = postgres.url_of(database, user="owner")
    store = {"url": url, "migrate": {"enabled": True, "existingSecret": "own"}}
    (answer,) = render([joined(LEAST, {"store": store})])
    secrets = {"own": {"password": "an-owners-password"}}
    words, environment = container_of("migrate", answer["files"], tmp_path, secrets, {})
    for command in (words, [words[0], "store", "check"]):
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert "an-owners-password" not in done.stdout + done.stderr

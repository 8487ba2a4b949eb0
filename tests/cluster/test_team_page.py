"""What docs/team.md leads to: from an empty database over `helm install` to a cleanup that is approved and undone.

The chart is rendered with the page's own options, and the worker's container runs as a process. Other than on the page
are addresses, folders, passwords, and the time of the schedule.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from charted import Document, joined, render
from documents import ROOT
from images import Pusher
from podded import container_of
from program import PROGRAM
from servers import DistributionServer
from servers.postgres import Postgres
from team_work import wait_until

PAGE = (ROOT / "docs" / "team.md").read_text()
SECRET = "pass-of-the-page"
POLICY = "version: 1\npolicies:\n  - {name: web, repositories: ['shop/*'], keep: {last: 2}, min_age: 0s}\n"


def values_of_the_page() -> Document:
    """The values that the page's `helm install` sets."""
    (command,) = re.findall(r"^ *helm install (.*?)\n *```", PAGE, re.DOTALL | re.MULTILINE)
    words = shlex.split(command)
    found: Document = {}
    for option, text in pairwise(words):
        path, _, value = text.partition("=")
        if option == "--set-file":
            assert text == "policy=policy.yml"
            found["policy"] = POLICY
        elif option in ("--set", "--set-json"):
            part: object = json.loads(value) if option == "--set-json" or value in ("true", "false") else value
            for name in reversed(path.split(".")):
                part = {name: part}
            assert isinstance(part, dict)
            found = joined(found, part)
    return found


@pytest.fixture
def database(postgres: Postgres) -> str:
    """An empty database whose owner may make roles, and nothing else."""
    name = postgres.new_database().rpartition("/")[2]
    with postgres.connect() as connection:
        connection.execute(f"CREATE ROLE owner_{name} LOGIN CREATEROLE PASSWORD '{SECRET}'")
        connection.execute(f"ALTER DATABASE {name} OWNER TO owner_{name}")
    return name


class Laptop:
    """Commands of the page with the store that a user names, from a folder of that user's own."""

    def __init__(self, folder: Path, store: str) -> None:
        self.folder = folder
        folder.mkdir()
        self._store = store

    def does(self, line: str) -> str:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "DREGUTIL_STORE": self._store,
            "PGPASSWORD": SECRET,
        }
        words = [str(PROGRAM), *shlex.split(line)]
        done = subprocess.run(words, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, (line, done.stdout, done.stderr)
        return done.stdout


def test_the_page_leads_to_an_approved_cleanup_and_its_undo(
    postgres: Postgres, database: str, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    tags = [f"1.{number}" for number in range(5)]
    for number, tag in enumerate(tags, 1):
        pusher.push_image("shop/web", tag, seed=tag, config={"created": f"2025-0{number}-03T10:00:00Z"})
    url = {user: postgres.url_of(database, user=f"{user}_{database}") for user in ("owner", "workers", "ann", "nele")}
    owner = Laptop(tmp_path / "owner", url["owner"])
    owner.does("store migrate")
    sql = owner.does("store grants")
    with postgres.connect(database) as connection:
        connection.execute(f"SET SESSION AUTHORIZATION owner_{database}")
        connection.execute(sql.encode())
        for user, role in (("workers", "worker"), ("ann", "approver"), ("nele", "worker")):
            connection.execute(f"CREATE ROLE {user}_{database} LOGIN PASSWORD '{SECRET}' IN ROLE dregutil_{role}")
    worker = started(url["workers"], registry_server, tmp_path)
    try:
        ann = Laptop(tmp_path / "ann", url["ann"])
        wait_until(lambda: json.loads(ann.does("plans --format json")))
        plan = json.loads(ann.does("plans --format json"))[0]
        assert "1.2" in ann.does(f"plans show {plan['sum'][7:19]}")
        assert sorted(pusher.tags("shop/web")) == tags, "it waits"
        ann.does(f"plans approve {plan['sum'][7:19]}")
        wait_until(lambda: sorted(pusher.tags("shop/web")) == tags[-2:])
        wait_until(lambda: not json.loads(ann.does("history --format json"))[0]["unfinished"])
        assert "shop/web" in ann.does(f"history {json.loads(ann.does('history --format json'))[0]['run']}")
    finally:
        worker.terminate()
        worker.communicate(timeout=60)
    Laptop(tmp_path / "nele", url["nele"]).does(f"undo -reg {registry_server.url} -y")
    assert sorted(pusher.tags("shop/web")) == tags


def started(store: str, registry: DistributionServer, folder: Path) -> subprocess.Popen[str]:
    """The worker of the chart."""
    (answer,) = render([values_of_the_page()])
    assert "files" in answer, answer
    replaced = {
        "postgresql://workers@db.example.com/registry_cleanup": store,
        "https://registry.example.com": registry.url,
        '"/etc/dregutil/policy"': json.dumps(str(folder / "volumes" / "worker" / "policy")),
        '"17 2 * * *"': '"* * * * * *"',
        "0.0.0.0:8091": "127.0.0.1:0",
    }
    files = answer["files"]
    for old, new in replaced.items():
        files = {name: text.replace(old, new) for name, text in files.items()}
    secrets = {"store": {"password": SECRET}, "registry-login": {".dockerconfigjson": "{}"}}
    words, environment = container_of("worker", files, folder, secrets, {})
    return subprocess.Popen(words, env=environment, cwd=folder, stderr=subprocess.PIPE, text=True)

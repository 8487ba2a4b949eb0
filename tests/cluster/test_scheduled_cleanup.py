"""A scheduled cleanup, and workers that are killed or stand still: one run carries out each time, and is continued."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dregutil.store.database import Database
from images import Pusher
from servers import DistributionServer
from team_work import SlowRegistry, Team, WorkerProcess, wait_until

REPOSITORIES = [f"team/{name}" for name in "abcd"]
TAGS = [f"{major}.{minor}" for major in (1, 2) for minor in range(4)]
GOES, STAYS = TAGS[:4], TAGS[4:]
NUMBER = len(REPOSITORIES) * len(GOES)
ON_POSTGRESQL = pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
POLICY = """
version: 1
policies:
  - name: old
    repositories: ["team/*"]
    keep: {tags: ["2.*"]}
    min_age: 0s
    max_remove: 60%
"""


class Registry(SlowRegistry):
    seconds = 0.1


@pytest.fixture
def registry(registry_server: DistributionServer, pusher: Pusher) -> Iterator[Registry]:
    """With tags to remove in each repository, and as many to keep."""
    with Registry(registry_server.port) as found:
        for name in REPOSITORIES:
            for tag in TAGS:
                found.images.add(pusher.push_image(name, tag, seed=f"{name} {tag}")["digest"])
        yield found


@pytest.fixture
def team(tmp_path: Path, store: str, registry: Registry) -> Iterator[Team]:
    """With a cleanup that is due once, as soon as a worker knows of it."""
    policy = tmp_path / "policy.yaml"
    policy.write_text(POLICY)
    with Team(tmp_path, store, registry.url) as found:
        found.timeout = 0.3
        due = datetime.now(UTC) + timedelta(seconds=3)
        found.schedules = (
            f'[schedule.nightly]\nrun = "cleanup"\ncron = "{due.minute} {due.hour} * * * {due.second}"\n'
            f'args = ["--policy", "{policy}", "-y"]\n'
        )
        yield found


def is_clean(pusher: Pusher) -> bool:
    return all(sorted(pusher.tags(name)) == STAYS for name in REPOSITORIES)


def history(team: Team) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(team.run("ann", "history", "--format=json").stdout)
    return found


def ticks(database: Database) -> list[tuple[str, int, str]]:
    """The state of each tick, how often it was carried out, and its run."""
    with database.transaction() as transaction:
        return [(str(a), int(b), str(c)) for a, b, c in transaction.rows("SELECT state, tries, run FROM tick")]


def kill(worker: WorkerProcess) -> None:
    """As when its machine dies."""
    send(signal.SIGKILL, family(worker))
    worker.process.wait(20)


def family(worker: WorkerProcess) -> list[int]:
    """A worker and the processes of its jobs."""
    children = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children").read_text().split()
    return [worker.process.pid, *map(int, children)]


def send(number: signal.Signals, processes: list[int]) -> None:
    for process in processes:
        os.kill(process, number)


def cut_off(team: Team, registry: Registry) -> str:
    """A worker begins the cleanup, and is killed in the middle of it; the name of its run."""
    worker = team.worker("w1")
    wait_until(lambda: registry.deleted or "failed" in worker.said)
    assert registry.deleted, worker.said
    kill(worker)
    assert 0 < len(registry.deleted) < NUMBER
    (run,) = history(team)
    assert run["unfinished"]
    return str(run["run"])


@ON_POSTGRESQL  # what differs by the dialect, test_workers_store.py tests on both
def test_when_its_worker_is_killed_another_one_continues_its_run(
    team: Team, registry: Registry, pusher: Pusher, database: Database
) -> None:
    run = cut_off(team, registry)
    wait_until(lambda: f"{run} was interrupted: `dregutil apply --resume {run}" in team.run("ann", "history").stderr)
    second = team.worker("w2")
    wait_until(lambda: "cleanup of schedule nightly is done" in second.said, 60)
    assert f"continuing {run} of schedule nightly" in second.said
    assert is_clean(pusher)
    assert [(one["run"], one["unfinished"], one["removed"]) for one in history(team)] == [(run, False, NUMBER)]
    assert ticks(database) == [("done", 2, run)]
    team.run("cy", "undo", "-y")
    for name in REPOSITORIES:
        assert sorted(pusher.tags(name)) == TAGS
        assert all(pusher.is_whole(name, tag) for tag in TAGS)


def test_two_workers_and_one_time_make_one_run(
    team: Team, registry: Registry, pusher: Pusher, database: Database
) -> None:
    workers = [team.worker("w1"), team.worker("w2")]
    wait_until(lambda: any("cleanup of schedule nightly is done" in worker.said for worker in workers))
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.ended() for worker in workers] == [0, 0]
    assert sum(worker.said.count("cleanup of schedule nightly") for worker in workers) == 1
    (run,) = history(team)
    assert ticks(database) == [("done", 1, run["run"])]
    assert is_clean(pusher)
    assert len(registry.deleted) == len(set(registry.deleted)) == NUMBER


@ON_POSTGRESQL  # a stopped writer of SQLite stops all others
def test_a_worker_that_stood_still_past_its_lease_wakes_to_nothing(
    team: Team, registry: Registry, pusher: Pusher, database: Database
) -> None:
    first = team.worker("w1")
    wait_until(lambda: registry.deleted)
    stopped = family(first)
    assert len(stopped) == 2
    send(signal.SIGSTOP, stopped)
    second = team.worker("w2")
    wait_until(lambda: "cleanup of schedule nightly is done" in second.said, 60)
    assert is_clean(pusher)
    deleted, (run,), found = len(registry.deleted), history(team), ticks(database)
    assert found == [("done", 2, run["run"])]
    send(signal.SIGCONT, stopped)
    wait_until(lambda: len(family(first)) == 1)
    wait_until(lambda: first.get("healthz")[0] == 200)
    first.signal(signal.SIGTERM)
    assert first.ended() == 0
    assert len(registry.deleted) == deleted, "it sent nothing any more"
    assert [one["run"] for one in history(team)] == [run["run"]]
    assert ticks(database) == found
    assert is_clean(pusher)
    team.run("cy", "undo", "-y")
    assert all(sorted(pusher.tags(name)) == TAGS for name in REPOSITORIES)

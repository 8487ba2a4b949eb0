"""Real workers on a real registry, with a store of each dialect: schedules, approved plans, and what becomes of both
when workers end, die, or lose their database."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from dregutil.store.database import Database
from images import Pusher
from servers import DistributionServer
from servers.link import Link
from servers.postgres import Postgres
from team_work import EVERY_SECOND, SlowRegistry, Team, WorkerProcess, wait_until

REPOSITORIES = [f"team/{name}" for name in "abcdefgh"]


@pytest.fixture
def registry(registry_server: DistributionServer) -> Iterator[SlowRegistry]:
    with SlowRegistry(registry_server.port) as found:
        yield found


@pytest.fixture
def team(tmp_path: Path, store: str, registry: SlowRegistry) -> Iterator[Team]:
    with Team(tmp_path, store, registry.url) as found:
        yield found


@pytest.fixture
def shared_team(tmp_path: Path, shared_url: str, registry: SlowRegistry) -> Iterator[Team]:
    """On PostgreSQL."""
    with Team(tmp_path, shared_url, registry.url) as found:
        found.run("ann", "store", "migrate")
        yield found


def pushed(pusher: Pusher, registry: SlowRegistry) -> dict[str, list[str]]:
    """Repositories with two tags to remove each, and one to keep."""
    for name in REPOSITORIES:
        for tag in ("1.0", "1.1", "2.0"):
            registry.images.add(pusher.push_image(name, tag, seed=f"{name} {tag}")["digest"])
    return tags_of(pusher)


def tags_of(pusher: Pusher) -> dict[str, list[str]]:
    return {name: sorted(pusher.tags(name)) for name in REPOSITORIES}


def is_clean(pusher: Pusher) -> bool:
    return all(tags == ["2.0"] for tags in tags_of(pusher).values())


def planned(team: Team) -> str:
    return team.plan("ann", "remove-tags", "-r", *REPOSITORIES, "-t", "<2")


def approved(team: Team) -> str:
    sum_ = planned(team)
    team.run("bob", "plans", "approve", sum_[7:19], DREGUTIL_ACTOR="bob@laptop")
    return sum_


def metric(worker: WorkerProcess, name: str) -> float:
    status, text = worker.get("metrics")
    assert status == 200
    found = re.search(rf"^dregutil_work_{re.escape(name)} (\S+)$", text, re.MULTILINE)
    return 0.0 if found is None else float(found[1])


def processes_of(worker: WorkerProcess) -> list[int]:
    path = Path(f"/proc/{worker.process.pid}/task/{worker.process.pid}/children")
    return [int(one) for one in path.read_text().split()]


def test_what_is_approved_is_carried_out_and_undone_from_a_laptop(
    team: Team, registry: SlowRegistry, pusher: Pusher
) -> None:
    before = pushed(pusher, registry)
    sum_ = planned(team)
    worker = team.worker("w1")
    wait_until(lambda: metric(worker, 'plans{state="waiting"}') == 1)
    team.run("ann", "apply", *saved(team, sum_), "-y", code=5)
    assert not registry.deleted, "nobody has approved it"
    team.run("bob", "plans", "approve", sum_[7:19], DREGUTIL_ACTOR="bob@laptop")
    wait_until(lambda: team.plan_of(sum_)["state"] == "done")
    assert is_clean(pusher)
    assert len(registry.deleted) == len(set(registry.deleted)) == 16
    found = team.plan_of(sum_)
    assert (found["made_by"], found["approved_by"]) == ("ann", ["bob"])
    wait_until(lambda: metric(worker, 'jobs_total{kind="apply",result="done"}') == 1)
    team.run("cy", "undo", "-y")
    assert tags_of(pusher) == before


def saved(team: Team, sum_: str) -> list[str]:
    """The plan as a file, as one who can read the store gets it."""
    from dregutil.store.address import StoreAddress
    from dregutil.store.database import open_database
    from dregutil.store.plans import Plans

    path = team.folder / "plan.jsonl"
    database = open_database(StoreAddress.parse(team.store))
    path.write_bytes(Plans(database).body(sum_))
    database.close()
    return [str(path)]


def test_two_workers_run_each_tick_once(team: Team, database: Database, pusher: Pusher) -> None:
    pusher.push_image("team/a", "1.0", seed="one")
    team.schedules = EVERY_SECOND
    workers = [team.worker("w1"), team.worker("w2")]
    done = "is done, in"
    # Both look each second. The one that does so earlier in it may have all of them.
    wait_until(lambda: sum(worker.said.count(done) for worker in workers) >= 5, 90)
    for worker in workers:
        worker.signal(signal.SIGTERM)
    assert [worker.ended() for worker in workers] == [0, 0]
    with database.transaction() as transaction:
        ticks = transaction.rows("SELECT at, tries FROM tick WHERE state = 'done'")
    assert len(ticks) == sum(worker.said.count(done) for worker in workers)
    assert {tries for _, tries in ticks} == {1}


def test_a_worker_that_is_ended_stops_after_the_step_in_flight_and_another_continues(
    team: Team, registry: SlowRegistry, pusher: Pusher
) -> None:
    pushed(pusher, registry)
    sum_ = approved(team)
    first = team.worker("w1", "--grace=20s")
    wait_until(lambda: registry.deleted)
    first.signal(signal.SIGTERM)
    assert first.ended(20) == 0, first.said
    assert 0 < len(registry.deleted) < 16, "in the middle"
    assert "another worker continues it" in first.said
    assert team.plan_of(sum_)["state"] == "running"
    team.worker("w2")
    wait_until(lambda: team.plan_of(sum_)["state"] == "done")
    assert is_clean(pusher)
    assert len(registry.deleted) == len(set(registry.deleted)) == 16


def test_a_worker_whose_store_hangs_ends_soon_after_the_grace_period(
    tmp_path: Path, shared_url: str, registry: SlowRegistry, postgres: Postgres
) -> None:
    with Link(postgres.port) as link:
        store = shared_url.replace(f":{postgres.port}/", f":{link.port}/")
        with Team(tmp_path, store, registry.url, lease=30.0) as team:
            team.run("ann", "store", "migrate")
            team.schedules = EVERY_SECOND
            worker = team.worker("w1", "--grace=1s")
            wait_until(lambda: worker.get("healthz")[0] == 200)
            link.swallow()
            wait_until(lambda: worker.get("healthz")[0] == 503)
            worker.signal(signal.SIGTERM)
            worker.ended(1 + 9)  # the chart gives it ten


def test_a_second_signal_ends_at_once(team: Team, registry: SlowRegistry, pusher: Pusher) -> None:
    pushed(pusher, registry)
    approved(team)
    registry.seconds = 6.0
    worker = team.worker("w1", "--grace=1h")
    wait_until(lambda: registry.deleted)
    worker.signal(signal.SIGTERM)
    time.sleep(0.5)  # both are not one
    worker.signal(signal.SIGTERM)
    assert worker.ended(15) == 0
    assert "another signal: the jobs that are left are ended at once" in worker.said
    registry.seconds = 0.0


def test_when_a_worker_is_killed_another_takes_over(shared_team: Team, registry: SlowRegistry, pusher: Pusher) -> None:
    pushed(pusher, registry)
    shared_team.timeout = 1.0
    sum_ = approved(shared_team)
    first = shared_team.worker("w1")
    wait_until(lambda: registry.deleted)
    for process in (first.process.pid, *processes_of(first)):  # as when its machine dies
        os.kill(process, signal.SIGKILL)
    assert len(registry.deleted) < 16
    second = shared_team.worker("w2")
    wait_until(lambda: shared_team.plan_of(sum_)["state"] == "done", 90)
    assert is_clean(pusher)
    assert "continuing" in second.said


def test_while_the_database_is_away_a_worker_is_unhealthy_and_then_goes_on(
    shared_team: Team, registry: SlowRegistry, pusher: Pusher, postgres: object
) -> None:
    from servers.postgres import Postgres

    assert isinstance(postgres, Postgres)
    pushed(pusher, registry)
    shared_team.schedules = EVERY_SECOND
    workers = [shared_team.worker("w1"), shared_team.worker("w2")]
    wait_until(lambda: all(worker.get("healthz") == (200, "ok\n") for worker in workers))
    postgres.stop()
    try:
        wait_until(lambda: all(worker.get("healthz")[0] == 503 for worker in workers))
        status, text = workers[0].get("healthz")
        assert (status, postgres.password in text, shared_team.store in text) == (503, False, False)
        wait_until(lambda: all("the store cannot be used" in worker.said for worker in workers))
    finally:
        postgres.start()
    wait_until(lambda: all(worker.get("healthz")[0] == 200 for worker in workers))
    sum_ = approved(shared_team)
    seen = {worker.said.count("is done, in") for worker in workers}
    wait_until(lambda: shared_team.plan_of(sum_)["state"] == "done", 90)
    wait_until(lambda: sum(worker.said.count("is done, in") for worker in workers) > max(seen))
    assert is_clean(pusher)
    wait_until(lambda: all("the store can be used again" in worker.said for worker in workers))
    assert all(postgres.password not in worker.said for worker in workers)


def test_nothing_begins_on_a_paused_registry_and_a_run_there_stops(
    team: Team, registry: SlowRegistry, pusher: Pusher
) -> None:
    pushed(pusher, registry)
    sum_ = approved(team)
    worker = team.worker("w1")
    wait_until(lambda: registry.deleted)
    team.run("ann", "work", "pause", DREGUTIL_ACTOR="ann@laptop")
    wait_until(lambda: "prod is paused by ann" in worker.said and "was stopped" in worker.said)
    stopped_at = len(registry.deleted)
    assert stopped_at < 16
    assert metric(worker, 'paused{registry="prod"}') == 1
    wait_until(lambda: worker.get("healthz")[0] == 200)
    assert len(registry.deleted) == stopped_at
    team.run("ann", "work", "resume")
    wait_until(lambda: team.plan_of(sum_)["state"] == "done")
    assert len(registry.deleted) == len(set(registry.deleted)) == 16

"""200 repositories and three processes of which one is killed; a process that is ended by Ctrl-C; one SQLite file."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from many_machines import (
    LIMIT,
    Cluster,
    SmallCluster,
    SqliteCluster,
    check,
    check_deletions,
    check_leases,
    check_nothing_else_went,
    check_undo,
    check_wait,
    ended,
    go_on,
    wait_for,
)
from servers import DistributionServer
from servers.postgres import Postgres

MANY = tuple(f"many/app{number:03d}" for number in range(200))


@pytest.fixture
def many(
    postgres: Postgres, shared_url: str, registry_server: DistributionServer, tmp_path: Path
) -> Iterator[SmallCluster]:
    with SmallCluster(postgres, registry_server, tmp_path, names=MANY) as found:
        yield found


@pytest.fixture
def on_sqlite(registry_server: DistributionServer, tmp_path: Path) -> Iterator[SqliteCluster]:
    with SqliteCluster(registry_server, tmp_path) as found:
        found.proxy.hold(after=3)
        yield found


def test_three_processes_share_200_repositories_and_one_is_killed(many: SmallCluster) -> None:
    processes = [many.ready(many.machine(name)) for name in "abc"]
    many.proxy.hold(after=20)
    go_on(processes[0], *many.remove)
    wait_for(lambda: bool(many.proxy.held))
    (first,) = set(many.holders().values())
    for process in processes[1:]:
        go_on(process, "apply", "--resume", many.run, "-y")
    wait_for(lambda: len(set(many.holders().values())) == 3)
    many.proxy.let_go()
    wait_for(lambda: len(many.proxy.deletions()) > 120)
    processes[0].kill()
    processes[0].wait()
    had = many.held_by(first)
    for process in processes[1:]:
        status, said = ended(process)
        assert status == 0, said
    assert many.is_finished
    claims = {name: {row.fence: row.holder for row in rows if row.holder} for name, rows in many.leases().items()}
    twice = {name for name, found in claims.items() if len(found) > 1}
    assert twice, "it was killed in the middle of none"
    assert twice <= had, "each repository was claimed once, but for those of the process that was killed"
    assert len({holder for found in claims.values() for holder in found.values()}) == 3
    check_wait(many, twice, first)
    check_nothing_else_went(many)
    for name in MANY:
        assert set(many.pusher.tags(name)) == many.stays[name], f"the run is not whole in {name}"
    check_leases(many.leases())
    check_deletions(many)


def test_nobody_waits_for_a_process_that_was_ended_by_ctrl_c(cluster: Cluster) -> None:
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    had = cluster.held_by(cluster.first)
    first.send_signal(signal.SIGINT)
    cluster.proxy.let_go()
    status, said = ended(first)
    assert status == 130, said
    status, said = ended(second)
    assert status == 0, said
    assert cluster.is_finished
    taken_over = {name: [row for row in cluster.leases()[name] if row.fence == 2] for name in had}
    assert any(taken_over.values()), "nothing was left to take over"
    for name, rows in taken_over.items():
        if rows:
            written = min(one.at for one in cluster.proxy.writes() if one.repository == name and one.at > rows[0].at)
            assert written - rows[0].at < LIMIT / 2, f"{name}: {written - rows[0].at} s after the claim"
    check_nothing_else_went(cluster)
    check_undo(cluster, cluster.machine("c"))


def test_two_processes_on_one_sqlite_file_and_one_is_killed(on_sqlite: SqliteCluster) -> None:
    first, second = on_sqlite.begun(on_sqlite.machine("a"), on_sqlite.machine("b"))
    had = on_sqlite.held_by(on_sqlite.first)
    first.kill()
    on_sqlite.proxy.let_go()
    status, said = ended(second)
    assert status == 0, said
    assert on_sqlite.is_finished
    assert had
    check_wait(on_sqlite, had, on_sqlite.first)
    check(on_sqlite, on_sqlite.machine("c"), on_sqlite.machine("d"))

"""What breaks while two processes carry out one run: a process, the database, the network between, a clock.

After each, every DELETE that reached the registry was recorded under a lease then live, nothing else is gone, the run
is finished by a third machine, and undone by a fourth.
"""

from __future__ import annotations

import signal

from many_machines import (
    Cluster,
    check,
    check_nothing_else_went,
    check_undo,
    check_wait,
    ended,
    go_on,
    is_stopped,
    wait_for,
)
from servers.link import Link
from servers.postgres import Postgres

_PROBES = 8  # the process that begins asks each repository whether it deletes


def test_one_is_killed_and_the_clocks_of_the_others_are_five_minutes_off(cluster: Cluster) -> None:
    first, second = cluster.begun(cluster.machine("a"), cluster.machine_with_clock("b", +5))
    had = cluster.held_by(cluster.first)
    first.kill()
    cluster.proxy.let_go()
    status, said = ended(second)
    assert status == 0, said
    assert cluster.is_finished, "the other one did it all"
    check_wait(cluster, had, cluster.first)
    check(cluster, cluster.machine("c"), cluster.machine_with_clock("d", -5))


def test_both_are_killed_and_a_third_machine_goes_on(cluster: Cluster) -> None:
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    had = cluster.held_by(cluster.first)
    first.kill()
    second.kill()
    cluster.proxy.let_go()
    check(cluster, cluster.machine("c"), cluster.machine("d"))
    check_wait(cluster, had, cluster.first)


def test_both_are_killed_and_a_third_machine_undoes_it(cluster: Cluster) -> None:
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    first.kill()
    second.kill()
    cluster.proxy.let_go()
    check_undo(cluster, cluster.machine("c"))
    before = len(cluster.proxy.writes())
    resumed = cluster.machine("d").run("apply", "--resume", cluster.run, "-y")
    assert "was undone" in resumed.stderr
    assert len(cluster.proxy.writes()) == before


def check_wakes_to_nothing(cluster: Cluster, process: object) -> None:
    """A process that was stopped until another one had done its part sends nothing, and records nothing."""
    import subprocess

    assert isinstance(process, subprocess.Popen)
    before, lines = len(cluster.proxy.writes()), cluster.lines()
    process.send_signal(signal.SIGCONT)
    status, said = ended(process)
    assert cluster.proxy.writes()[before:] == []
    assert cluster.lines() == lines
    assert status not in (0, 1), said
    assert "lease" in said, said


def test_one_is_stopped_until_another_has_taken_over(cluster: Cluster) -> None:
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    had = cluster.held_by(cluster.first)
    first.send_signal(signal.SIGSTOP)
    wait_for(lambda: is_stopped(first))
    cluster.proxy.let_go()
    status, said = ended(second)
    assert status == 0, said
    assert cluster.is_finished
    check_wait(cluster, had, cluster.first)
    check_wakes_to_nothing(cluster, first)
    check(cluster, cluster.machine("c"), cluster.machine("d"))


def test_one_is_stopped_when_its_request_is_ready_to_be_sent(cluster: Cluster) -> None:
    """Its intent is recorded, its permit was checked, its connection is there: it is checked once more."""
    cluster.proxy.let_go()
    first = cluster.ready(cluster.machine_that_stops("a", _PROBES + 3))
    go_on(first, *cluster.remove)
    wait_for(lambda: is_stopped(first))
    # Its other tasks may stand still in transactions, each waiting for rows of the one before. PostgreSQL ends each
    # 30 s after its turn; until then the second machine loses its lease of 3 s while it waits, and resumes again.
    cluster.finish(cluster.machine("b"))
    check_wakes_to_nothing(cluster, first)
    check(cluster, cluster.machine("c"), cluster.machine("d"))


def test_the_database_is_away_for_longer_than_the_lease(cluster: Cluster, postgres: Postgres) -> None:
    first, second = cluster.begun(cluster.machine("a"), cluster.machine("b"))
    postgres.stop(signal.SIGQUIT)
    cluster.proxy.let_go()
    try:
        for process in (first, second):
            status, said = ended(process)
            assert status not in (0, 1), said
            assert "store" in said
    finally:
        postgres.start()
    check(cluster, cluster.machine("c"), cluster.machine("d"))


def test_the_database_is_restarted_within_the_lease(cluster: Cluster, postgres: Postgres) -> None:
    machines = [cluster.machine(name, DREGUTIL_LEASE="30") for name in "ab"]
    first, second = cluster.begun(*machines)
    postgres.stop()
    cluster.proxy.let_go()
    postgres.start()
    for process in (first, second):
        status, said = ended(process)
        assert status == 0, said
    assert cluster.is_finished
    check(cluster, cluster.machine("c"), cluster.machine("d"))


def test_the_network_to_the_database_is_cut(cluster: Cluster, postgres: Postgres) -> None:
    """Of one process it is reset, of the other swallowed: it learns nothing at all."""
    with Link(postgres.port) as one, Link(postgres.port) as two:
        first, second = cluster.begun(cluster.machine("a", port=one.port), cluster.machine("b", port=two.port))
        one.reset()
        two.swallow()
        cluster.proxy.let_go()
        for process in (first, second):
            status, said = ended(process)
            assert status, said
            assert "store" in said
        check_nothing_else_went(cluster)
    check(cluster, cluster.machine("c"), cluster.machine("d"))

"""What `/healthz` and `/metrics` say."""

from __future__ import annotations

from dregutil.work.account import STUCK, UNREACHABLE, Account, metrics


def test_a_loop_that_is_stuck_and_a_store_that_is_silent_are_unhealthy() -> None:
    account = Account(round=1000.0)
    assert account.why_unhealthy(1000.0, 1000.0 + UNREACHABLE) is None
    assert "store has not answered" in (account.why_unhealthy(1000.0, 1001.0 + UNREACHABLE) or "")
    assert "no round for 61 seconds" in (account.why_unhealthy(1000.0 + STUCK, 1001.0 + STUCK) or "")


def test_metrics_are_in_the_format_of_prometheus() -> None:
    account = Account(started=1764212400.0, succeeded={"nightly": 1764212401.25}, paused={'pro"d\n': True}, workers=2)
    account.ended("cleanup", "done", 1.5)
    account.ended("cleanup", "done", 2.0)
    account.ended("apply", "failed", 0.25)
    account.plans = {"waiting": 3, "done": 9}
    text = metrics(account, store_seconds=0.125, is_healthy=True)
    lines = text.splitlines()
    for line in (
        'dregutil_work_jobs_total{kind="cleanup",result="done"} 2',
        'dregutil_work_job_seconds_total{kind="cleanup",result="done"} 3.5',
        'dregutil_work_jobs_total{kind="apply",result="failed"} 1',
        'dregutil_work_plans{state="waiting"} 3',
        'dregutil_work_plans{state="approved"} 0',
        'dregutil_work_paused{registry="pro\\"d\\n"} 1',
        'dregutil_work_schedule_last_success_timestamp_seconds{schedule="nightly"} 1764212401.25',
        "dregutil_work_store_seconds_total 0.125",
        "dregutil_work_workers 2",
        "dregutil_work_healthy 1",
        "dregutil_work_start_time_seconds 1764212400",
    ):
        assert line in lines
    assert text.endswith("\n")
    names = [line.split()[2] for line in lines if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) == sum(line.startswith("# HELP") for line in lines)

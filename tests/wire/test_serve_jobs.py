"""The jobs of `dregutil serve`: what they tell, how they wait for each other, how they end."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from dregutil.errors import JournalError
from dregutil.serve.answers import RequestError
from dregutil.serve.child import Ended, said
from dregutil.serve.events import Events
from dregutil.serve.jobs import Jobs
from dregutil.serve.model import Job
from dregutil.serve.program import Program
from serve_inside import inside

COUNTS = """
import os, sys
progress = int(os.environ["DREGUTIL_PROGRESS_FD"])
os.write(progress, b'{"done": 1, "total": 3, "noun": "tags"}\\nno json\\n[]\\n')
os.write(progress, b'{"done": 2, "total": 3, "noun": "tags"}\\n')
print(" ".join(sys.argv[1:]))
"""
WAITS = """
import pathlib, signal, sys
folder = pathlib.Path(sys.argv[2])
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])
(folder / f"{sys.argv[1]}.began").touch()
signal.sigwait([signal.SIGINT])
(folder / f"{sys.argv[1]}.stopped").touch()
if signal.sigtimedwait([signal.SIGINT], 0.3) is not None: (folder / "twice").touch()
sys.stderr.write("dregutil: interrupted: it can be resumed\\n")
sys.exit(130)
"""
FAILS = """
import sys
sys.stderr.write("dregutil: warning: no\\n  no\\na note\\n")
sys.stderr.write("dregutil: one\\n  first\\ndregutil: two\\u202e\\n  second\\n\\n")
sys.exit(int(sys.argv[1]))
"""


def jobs_of(folder: Path, script: str) -> Jobs:
    program = Program(("-x",), {}, " ".join, (sys.executable, "-c", script))
    return Jobs(Program((), {}, program.shown, program.start), folder, Events())


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.005)


async def test_a_job_tells_its_progress_and_what_it_printed(tmp_path: Path) -> None:
    told: list[Job] = []
    jobs = jobs_of(tmp_path, COUNTS)
    jobs._events.job = told.append  # type: ignore[assignment,method-assign]
    printed = []

    async def then(ended: Ended) -> dict[str, str]:
        printed.append(ended.out.read_text())
        return {"plan": "abc"}

    job = await jobs.ended(await jobs.start("plan", "a plan", "anna", ("plan", "--all"), then=then))
    assert (job.state, job.result, job.done, job.total, job.noun) == ("done", {"plan": "abc"}, 2, 3, "tags")
    assert job.started is not None
    assert job.ended is not None
    assert job.command == "plan --all"
    assert printed == ["plan --all\n"]
    assert [(one.state, one.done) for one in told] == [
        ("waiting", 0),
        ("running", 0),
        ("running", 1),
        ("running", 2),
        ("done", 2),
    ]
    assert not any(tmp_path.iterdir()), "its files are removed"  # noqa: ASYNC240 - it is short


@pytest.mark.parametrize(("code", "state"), [(0, "done"), (1, "failed"), (3, "done")])
async def test_the_last_error_is_the_message(code: int, state: str, tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, FAILS)
    job = await jobs.ended(await jobs.start("refresh", "read", "anna", (str(code),), done_codes=(0, 3)))
    assert (job.state, job.message, job.advice) == (state, "two\\u202e", "second")


def test_errors_are_told_from_notes_and_warnings() -> None:
    assert said("dregutil: warning: x\n  y\n") == ("", "")
    assert said("a note\ndregutil: x\nanother\n") == ("x", "")
    assert said("") == ("", "")


async def test_a_result_that_cannot_be_used_fails_the_job(tmp_path: Path) -> None:
    async def then(_ended: Ended) -> None:
        raise JournalError("the disk is full", advice="make room")

    jobs = jobs_of(tmp_path, COUNTS)
    job = await jobs.ended(await jobs.start("report", "report", "anna", (), then=then))
    assert (job.state, job.message, job.advice) == ("failed", "the disk is full", "make room")


async def test_a_defect_after_a_process_fails_the_job(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def then(_ended: Ended) -> None:
        raise KeyError("inside")

    jobs = jobs_of(tmp_path, COUNTS)
    job = await jobs.ended(await jobs.start("report", "report", "anna", (), then=then))
    assert (job.state, job.message) == ("failed", "its result could not be used")
    assert "KeyError" in caplog.text
    assert "Traceback" not in caplog.text


async def test_a_process_that_cannot_be_started_fails_the_job(tmp_path: Path) -> None:
    jobs = Jobs(Program((), {}, " ".join, ("/nothing/here",)), tmp_path, Events())
    job = await jobs.ended(await jobs.start("report", "report", "anna", ()))
    assert (job.state, job.message) == ("failed", "the process failed: No such file or directory")


async def test_one_writes_and_one_reads_at_a_time_and_the_others_wait(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, WAITS)
    where = str(tmp_path)
    one = await jobs.start("apply", "apply", "anna", ("one", where))
    two = await jobs.start("undo", "undo", "anna", ("two", where))
    three = await jobs.start("refresh", "refresh", "anna", ("three", where))
    four = await jobs.start("plan", "plan", "anna", ("four", where))
    five = await jobs.start("hold", "hold", "anna", ("five", where))
    await until(lambda: all((tmp_path / f"{name}.began").exists() for name in ("one", "three", "five")))
    assert [jobs.get(job.id).state for job in (one, two, three, four, five)] == [
        "running",
        "waiting",
        "running",
        "waiting",
        "running",
    ]
    assert jobs.is_writing
    jobs.cancel(one.id)
    await until((tmp_path / "two.began").exists)
    assert jobs.get(one.id).state == "failed"
    await jobs.close()
    assert not (tmp_path / "four.began").exists(), "at the end nothing begins"
    assert jobs.get(four.id).message == "it was cancelled before it began"


async def test_at_the_end_a_run_is_interrupted_once_and_waited_for(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, WAITS)
    job = await jobs.start("apply", "apply", "anna", ("one", str(tmp_path)))
    await until((tmp_path / "one.began").exists)
    closing = asyncio.create_task(jobs.close())
    await until((tmp_path / "one.stopped").exists)
    jobs.cancel(job.id)
    await closing
    assert not (tmp_path / "twice").exists()
    job = jobs.get(job.id)
    assert (job.state, job.message) == ("failed", "interrupted: it can be resumed")
    assert (tmp_path / "one.stopped").exists()
    with pytest.raises(RequestError, match="ending"):
        await jobs.start("apply", "apply", "anna", ())


async def test_the_last_hundred_jobs_are_kept_and_no_more_than_fifty_wait(tmp_path: Path) -> None:
    jobs = Jobs(Program((), {}, " ".join, ("/nothing/here",)), tmp_path, Events())
    first = await jobs.ended(await jobs.start("report", "first", "anna", ()))
    for _ in range(100):
        last = await jobs.ended(await jobs.start("report", "report", "anna", ()))
    assert len(jobs.all) == 100
    assert jobs.all[0] == last
    with pytest.raises(RequestError, match="no such job"):
        jobs.get(first.id)
    for _ in range(50):
        await jobs.start("report", "report", "anna", ())
    with pytest.raises(RequestError, match="too many"):
        await jobs.start("report", "report", "anna", ())
    await jobs.close()


async def test_records_name_who_wanted_it(tmp_path: Path) -> None:
    jobs = jobs_of(tmp_path, "import os, sys; sys.exit('dregutil: ' + os.environ['DREGUTIL_ACTOR'])")
    job = await jobs.ended(await jobs.start("apply", "apply", "anna@example.com", ()))
    assert (job.message or "").startswith("anna@example.com@")


async def test_pages_hear_of_jobs_as_they_go_on(tmp_path: Path) -> None:
    async with inside(tmp_path, COUNTS) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nCookie: {server.cookie}\r\n\r\n".encode())
        await reader.readuntil(b"retry: 2000\n\n")
        job = (await server.post("/api/v1/refresh")).json
        states = []
        while "done" not in states and "failed" not in states:
            text = await reader.readuntil(b"\n\n")
            found = json.loads(text.partition(b"data: ")[2])
            if found["id"] == job["id"]:
                states.append(found["state"])
        assert states[0] in ("waiting", "running")
        writer.close()


async def test_a_page_that_does_not_read_loses_its_connection_and_delays_nobody(tmp_path: Path) -> None:
    async with inside(tmp_path) as server:
        _reader, writer = await asyncio.open_connection("127.0.0.1", server.port, limit=1)
        writer.write(f"GET /api/v1/events HTTP/1.1\r\nHost: localhost\r\nCookie: {server.cookie}\r\n\r\n".encode())
        events = server.site.events
        await until(lambda: events._queues)
        for _ in range(1000):
            events.changed("runs")
        assert not events._queues
        writer.close()

"""What `dregutil serve` does in the background."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from dregutil.serve.events import Events
from dregutil.serve.jobs import Jobs
from dregutil.serve.program import Program
from dregutil.serve.renewal import Renewal
from dregutil.serve.reported import Reported

DOES = """
import datetime, json, os, sys
words = sys.argv[1:]
with open("{folder}/log", "a") as log: print(*words[:2], file=log)
if os.path.exists("{folder}/broken"): sys.exit("dregutil: the registry does not answer")
if words[0] == "refresh" and not os.path.exists("{folder}/unwritable"): open("{folder}/cache", "w").close()
if words[0] == "cleanup": open("{folder}/cache", "w").close()
now = datetime.datetime.now(datetime.UTC).isoformat()
if words[0] == "report": open(words[words.index("-o") + 1], "w").write(json.dumps([{{"made": now, "read": now}}]))
"""


class World:
    def __init__(self, folder: Path, *, every: float, has_cache: bool = True) -> None:
        self.folder = folder
        (folder / "work").mkdir()
        self.cache = folder / "cache"
        program = Program((), dict(os.environ), " ".join, (sys.executable, "-c", DOES.format(folder=folder)))
        self.jobs = Jobs(program, folder / "work", Events())
        self.reported = Reported(folder / "report.json")
        cache = self.cache if has_cache else None
        self.renewal = Renewal(self.jobs, Events(), self.reported, cache=cache, every=every)

    @property
    def done(self) -> list[str]:
        """What the jobs were, the first two words of each."""
        path = self.folder / "log"
        return path.read_text().splitlines() if path.exists() else []

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self.renewal.run())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await self.jobs.close()

    async def idle(self) -> None:
        await until(lambda: all(job.state in ("done", "failed") for job in self.jobs.all))


async def until(look: Callable[[], object]) -> None:
    async with asyncio.timeout(20):
        while not look():  # noqa: ASYNC110 - another process does it
            await asyncio.sleep(0.005)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dregutil.serve.renewal._LOOKED_EVERY", 0.01)


async def test_what_is_too_old_is_read_and_then_shown(tmp_path: Path) -> None:
    world = World(tmp_path, every=3600)
    world.cache.touch()
    os.utime(world.cache, (0, 0))
    async with world.running():
        await until(lambda: len(world.done) == 2)
        await world.idle()
    assert world.done == ["refresh", "report --no-plan"]
    assert world.reported.body is not None


async def test_what_is_new_is_not_read_again_and_a_missing_report_is_made(tmp_path: Path) -> None:
    world = World(tmp_path, every=3600)
    world.cache.touch()
    async with world.running():
        await until(lambda: world.reported.body)
        await world.idle()
    assert world.done == ["report --no-plan"]


@pytest.mark.parametrize("has_cache", [True, False])
async def test_nothing_is_read_unasked_if_that_is_wanted(has_cache: bool, tmp_path: Path) -> None:
    world = World(tmp_path, every=0, has_cache=has_cache)
    async with world.running():
        await until(lambda: world.reported.body)
        await world.idle()
        job = await world.jobs.ended(await world.renewal.refresh("anna", full=True))
        assert job.by == "anna"
        await until(lambda: len(world.done) == 3)
        await world.idle()
    assert world.done == ["report --no-plan", "refresh --full", "report --no-plan"]


async def test_what_another_program_changes_is_shown_without_being_read_again(tmp_path: Path) -> None:
    world = World(tmp_path, every=3600)
    world.cache.touch()
    async with world.running():
        await until(lambda: world.reported.body)
        await world.idle()
        os.utime(world.cache, (time.time() + 5, time.time() + 5))
        await until(lambda: len(world.done) == 2)
        await world.idle()
        await asyncio.sleep(0.1)  # it looked ten times more
    assert world.done == ["report --no-plan"] * 2


async def test_what_an_own_job_writes_begins_no_other_round_and_what_others_write_begins_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, every=3600)
    world.cache.touch()
    looks = 0

    async def plan() -> None:
        await world.jobs.start("plan", "plan", "anna", ("cleanup", "-f"))

    def look() -> float:
        nonlocal looks
        looks += 1
        return 3600.0

    world.renewal.after.append(plan)
    monkeypatch.setattr(world.renewal, "_seconds_left", look)
    async with world.running():
        for rounds in (1, 2):
            wanted = ["report --no-plan", "cleanup -f"] * rounds
            await until(lambda wanted=wanted: world.done == wanted)  # type: ignore[misc]
            await world.idle()
            most = looks + 5
            await until(lambda most=most: looks > most)  # type: ignore[misc]
            await world.idle()
            assert world.done == wanted
            os.utime(world.cache, (time.time() + 5, time.time() + 5))


async def test_what_others_write_just_before_an_own_job_is_not_lost(tmp_path: Path) -> None:
    world = World(tmp_path, every=3600)
    world.cache.touch()
    await world.jobs.ended(await world.renewal.report())
    os.utime(world.cache, (time.time() + 5, time.time() + 5))
    await world.jobs.ended(await world.jobs.start("plan", "plan", "anna", ("cleanup", "-f")))
    async with world.running():
        await until(lambda: len(world.done) == 3)
        await world.idle()
    assert world.done == ["report --no-plan", "cleanup -f", "report --no-plan"]


@pytest.mark.parametrize("trouble", ["broken", "unwritable"])
async def test_a_reading_that_fails_or_leaves_no_file_is_not_begun_again_at_once(trouble: str, tmp_path: Path) -> None:
    world = World(tmp_path, every=3600)
    (tmp_path / trouble).touch()
    async with world.running():
        await until(lambda: world.done)
        await world.idle()
        await asyncio.sleep(0.1)
    assert world.done.count("refresh") == 1


async def test_two_who_ask_share_one_reading(tmp_path: Path) -> None:
    world = World(tmp_path, every=0)
    one, two = await world.renewal.refresh("anna"), await world.renewal.refresh("ben")
    assert one.id == two.id
    assert (await world.renewal.refresh("cy", full=True)).id != one.id
    await until(lambda: len(world.done) >= 3)
    await world.jobs.close()


async def test_what_follows_a_report_begins_after_it(tmp_path: Path) -> None:
    world = World(tmp_path, every=0)
    followed = []

    async def follow() -> None:
        followed.append(world.reported.body)

    world.renewal.after.append(follow)
    await world.jobs.ended(await world.renewal.report("anna"))
    assert followed == [world.reported.body]
    assert followed[0] is not None

"""Attacks on removals and undos: each once lost a tag, or brought back the wrong thing.

What somebody else does between two requests is done by a proxy before the real registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dregutil import repository_run
from dregutil.plan import RemovalOptions
from images import IMAGE, Pusher
from program import Program
from removing import Removing
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request


@pytest.fixture
def proxy(registry_server: DistributionServer) -> Iterator[Proxy]:
    with Proxy(registry_server.port) as found:
        yield found


@pytest.fixture
def program(registry_server: DistributionServer, tmp_path: Path) -> Program:
    return Program(registry_server.url, tmp_path)


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large repository: tags go first."""
    monkeypatch.setattr(repository_run, "tags_first_pays", lambda _, __: True)


def push_again(pusher: Pusher, tag: str, digest: str) -> None:
    pusher.push_manifest("r", tag, pusher.raw("r", digest), IMAGE)


async def killed_in_the_sweep(removing: Removing, pusher: Pusher, *tags: str) -> None:
    """Kill the removal of `tags` once they are all on its placeholder."""
    before = pusher.tags("r")
    plan = await removing.plan(*tags)
    for kill_after in range(100):
        assert await removing.apply(plan, kill_after=kill_after) is None
        now = pusher.tags("r")
        if len({now.get(tag) for tag in tags}) == 1 and now != before:
            return
        if now != before:
            await removing.undo()
    raise AssertionError("the tags never were on a placeholder all together")


@pytest.mark.usefixtures("swept")
async def test_the_undo_of_a_run_leaves_the_placeholder_of_another_one_alone(
    program: Program, pusher: Pusher, registry_server: DistributionServer
) -> None:
    """A tag was removed, pushed anew, and swept by a second run, which was killed: other tags lie there, too."""
    old = pusher.push_image("r", "1.0", seed="old")["digest"]
    first = Removing(registry_server.url, program.state)
    await first.remove("1.0")
    run = first.record().run
    for number in range(4):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    pusher.push_image("r", "stable", seed="stable")
    before = pusher.tags("r")
    await killed_in_the_sweep(first, pusher, "1.0", "1.1", "1.2", "1.3")
    second = first.record().run

    found = program.run("undo", run, "-y")
    assert found.returncode == 3, found.stderr
    wrong = {tag for tag, digest in pusher.tags("r").items() if digest == old}
    assert not wrong, found.stderr
    found = program.run("undo", second, "-y")
    assert found.returncode == 0, found.stderr
    assert pusher.tags("r") == before

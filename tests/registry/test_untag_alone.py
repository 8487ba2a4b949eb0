"""`--untag` removes tags and keeps every digest, including one whose only tag is removed; if that is impossible, it
says so."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer

pytestmark = pytest.mark.every_server


@pytest.fixture
def memory() -> Iterator[MemoryServer]:
    with MemoryServer() as found:
        yield found


def test_the_only_tag_is_removed_and_its_image_stays(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    child = pusher.push_image("r", seed="child")
    digests = [
        pusher.push_image("r", "1.0", seed="one")["digest"],
        pusher.push_image("r", "1.1", "1.1-alpine", seed="two")["digest"],
        pusher.push_index("r", "1.2", children=[child])["digest"],
    ]
    pusher.push_image("r", "2.0", seed="stays")
    program = Program(registry_server.url, tmp_path)
    dry = program.run("remove-tags", "-r", "r", "-t", "<2", "--untag", "--dry-run")
    assert "REMOVE" not in dry.stderr + dry.stdout
    assert "UNTAG" in dry.stderr + dry.stdout
    done = program.run("remove-tags", "-r", "r", "-t", "<2", "--untag", "--yes-remove", "4")
    assert done.returncode == 0, done.stderr
    assert "removed 4 tags (0 manifests)" in done.stderr
    assert pusher.tags("r").keys() == {"2.0"}
    assert all(pusher.is_whole("r", digest) for digest in digests)
    assert program.run("undo", "-y").returncode == 0
    assert pusher.tags("r").keys() == {"1.0", "1.1", "1.1-alpine", "1.2", "2.0"}


@pytest.mark.parametrize("takes", [False, True])
def test_untagging_by_the_name_of_the_tag(memory: MemoryServer, tmp_path: Path, takes: bool) -> None:
    """Even if the manifest is deleted with its last tag: it is put back by its digest."""
    memory.switches.untags, memory.switches.last_tag_takes = True, takes
    with Pusher(memory.url) as pusher:
        digests = [pusher.push_image("r", f"1.{n}", seed=str(n))["digest"] for n in range(3)]
        done = Program(memory.url, tmp_path).run("remove-tags", "-r", "r", "-t", "<2", "--untag", "--yes-remove", "3")
        assert done.returncode == 0, done.stderr
        assert pusher.tags("r") == {}
        assert all(pusher.is_whole("r", digest) for digest in digests)


def test_a_registry_that_keeps_nothing_untagged_refuses(memory: MemoryServer, tmp_path: Path) -> None:
    memory.switches.untags = memory.switches.last_tag_takes = True

    def refuse(request: Request) -> Answer | None:
        return Answer(400) if request.method == "PUT" and ":" in request.reference else None

    with Pusher(memory.url) as pusher, Proxy(memory.port, before=refuse) as proxy:
        digest = pusher.push_image("r", "1.0", seed="one")["digest"]
        pusher.push_image("r", "2.0", seed="two")
        done = Program(proxy.url, tmp_path).run("remove-tags", "-r", "r", "-t", "1.0", "--untag", "-y")
        assert done.returncode == 1, done.stderr
        assert "keeps no manifest without a tag" in done.stderr
        assert "without --untag both go" in done.stderr
        assert pusher.tags("r")["1.0"] == digest
        assert pusher.is_whole("r", "1.0")


def test_a_tag_pushed_before_such_a_registry_gets_it_back_stays(memory: MemoryServer, tmp_path: Path) -> None:
    memory.switches.untags = memory.switches.last_tag_takes = True
    pushed: list[str] = []

    def refuse(request: Request) -> Answer | None:
        if request.method != "PUT" or ":" not in request.reference:
            return None
        pushed.append(pusher.push_image("r", "1.0", seed="new")["digest"])
        return Answer(400)

    with Pusher(memory.url) as pusher, Proxy(memory.port, before=refuse) as proxy:
        pusher.push_image("r", "1.0", seed="one")
        pusher.push_image("r", "2.0", seed="two")
        done = Program(proxy.url, tmp_path).run("remove-tags", "-r", "r", "-t", "1.0", "--untag", "-y")
        assert done.returncode == 1, done.stderr
        assert "'1.0' names something else by now" in done.stderr
        assert [pusher.tags("r")["1.0"]] == pushed
        assert pusher.is_whole("r", "1.0")

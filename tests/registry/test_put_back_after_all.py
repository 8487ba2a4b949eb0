"""What a push in the meantime needs is put back although the registry hesitates, or its tag is reported."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dregutil.registry import writer
from dregutil.registry.http import retry
from images import Pusher
from program import Program
from removing import Removing
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request

REFUSED = Answer(400, json.dumps({"errors": [{"code": "MANIFEST_INVALID"}]}).encode())


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer, "wait_before", lambda _, __: 0.0)
    monkeypatch.setattr(retry, "_FIRST_WAIT", 0.001)


@pytest.fixture
def nightly(registry_server: DistributionServer, pusher: Pusher) -> Iterator[tuple[Proxy, dict[str, Any]]]:
    """A proxy that pushes `nightly`, an index, just before a child of it is deleted; and that child."""
    child = pusher.push_image("r", seed="child")
    pusher.push_index("r", "1.0", children=[child])
    pusher.push_image("r", "stable", seed="stays")
    pushed: list[str] = []

    def push(request: Request) -> None:
        if request.method == "DELETE" and request.reference == child["digest"] and not pushed:
            pushed.append(pusher.push_index("r", "nightly", children=[child, child])["digest"])

    with Proxy(registry_server.port, before=push) as proxy:
        yield proxy, child


def failing(proxy: Proxy, child: str, answer: Answer, times: int) -> list[Request]:
    """From now on, answer the PUT of `child` by digest with `answer`, this many times."""
    push: Callable[[Request], Answer | None] = proxy.before
    failed: list[Request] = []

    def before(request: Request) -> Answer | None:
        if request.method == "PUT" and request.reference == child and len(failed) < times:
            failed.append(request)
            return answer
        return push(request)

    proxy.before = before
    return failed


@pytest.mark.parametrize("answer", [LOST, Answer(500), Answer(502), Answer(503)], ids=["reset", "500", "502", "503"])
async def test_a_put_by_digest_is_sent_again(
    nightly: tuple[Proxy, dict[str, Any]], pusher: Pusher, tmp_path: Path, answer: Answer
) -> None:
    proxy, child = nightly
    failed = failing(proxy, child["digest"], answer, 3)
    result = await Removing(proxy.url, tmp_path).remove("1.0")
    assert result is not None
    assert len(failed) == 3
    assert pusher.is_whole("r", "nightly")
    assert result.is_finished
    assert result.broken == ()


@pytest.mark.parametrize("answer", [REFUSED, Answer(502)], ids=["refused", "502"])
def test_what_cannot_be_put_back_is_reported_and_the_advised_command_repairs_it(
    nightly: tuple[Proxy, dict[str, Any]], pusher: Pusher, tmp_path: Path, answer: Answer
) -> None:
    proxy, child = nightly
    failing(proxy, child["digest"], answer, 99)
    program = Program(proxy.url, tmp_path)
    found = program.run("remove-tags", "-r", "r", "-t", "1.0")
    assert found.returncode == 3, found.stderr
    assert f"broken: r:nightly was pushed in the meantime and needs {child['digest'][:19]}" in found.stderr
    run = program.runs[0].name
    assert f"`dregutil apply --resume {run}" in found.stderr.replace(program.named, "")
    assert not pusher.is_whole("r", "nightly")
    proxy.before = lambda _: None
    mended = program.run("apply", "--resume", run, "-y")
    assert mended.returncode == 0, mended.stderr
    assert pusher.is_whole("r", "nightly")


async def test_an_index_seen_by_an_earlier_look_gets_its_child_back(
    nightly: tuple[Proxy, dict[str, Any]], pusher: Pusher, tmp_path: Path
) -> None:
    """It was pushed after its child was deleted, and was read before the last look."""
    proxy, child = nightly
    more = [pusher.push_image("r", seed=f"more {n}") for n in range(2)]
    inner = pusher.push_index("r", children=more)
    pusher.push_index("r", "1.1", children=[inner])
    await Removing(proxy.url, tmp_path).remove("<2")
    assert pusher.is_whole("r", "nightly")
    assert pusher.has("r", child["digest"])
    assert pusher.tags("r").keys() == {"nightly", "stable"}

"""An undo continues past requests without an answer while the registry answers others, and ends if it does not."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from test_partly_undone import layer_of, removed

from images import Pusher
from program import Program
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request


@dataclass
class Illness:
    """Which requests get no answer (`ill`), and how: the connection is reset, or kept open."""

    ill: Callable[[Request], bool] = lambda _: False
    holds: bool = False
    released: threading.Event = field(default_factory=threading.Event)
    asked: list[str] = field(default_factory=list)

    def release(self) -> None:
        self.released.set()

    def __call__(self, request: Request) -> Answer | None:
        if not self.ill(request):
            return None
        self.asked.append(request.reference)
        if self.holds:
            self.release()  # by now the previous request was given up
            held = self.released = threading.Event()
            held.wait(60)
        return LOST


@dataclass
class Behind:
    """A program behind a proxy that stops answering; `before`: the tags before five of six images were removed."""

    program: Program
    pusher: Pusher
    illness: Illness
    before: dict[str, str]

    def layer(self, tag: str) -> str:
        (path,) = self.program.state.rglob(f"layout/blobs/sha256/{self.before[tag][7:]}")
        return layer_of(self.pusher, path.read_bytes())

    def without(self, tag: str) -> dict[str, str]:
        return {name: digest for name, digest in self.before.items() if name != tag}


@pytest.fixture
def behind(registry_server: DistributionServer, pusher: Pusher, tmp_path: Path) -> Iterator[Behind]:
    illness = Illness()
    with Proxy(registry_server.port, before=illness) as proxy:
        program = Program(proxy.url, tmp_path)
        yield Behind(program, pusher, illness, removed(program, pusher))
        illness.release()


@pytest.mark.parametrize("how", ["reset", "held"])
@pytest.mark.parametrize("when", ["look", "look after"])
def test_a_blob_without_an_answer_does_not_prevent_other_images_from_being_restored(
    behind: Behind, how: str, when: str
) -> None:
    layer = behind.layer("1.2")
    spared = [1 if when == "look after" else 0]

    def ill(request: Request) -> bool:
        if request.method != "GET" or request.reference != layer:
            return False
        spared[0] -= 1
        return spared[0] < 0

    behind.illness.ill, behind.illness.holds = ill, how == "held"
    found = behind.program.run("--timeout", "2", "undo", "-y")
    assert found.returncode == 3, found.stderr
    assert behind.without("1.2").items() <= behind.pusher.tags("r").items()
    what = "left, to be tried again: r sha256:" if when == "look" else "failed: r sha256:"
    why = ": no answer within 2 s from " if how == "held" else r": \S+ closed the connection"
    (line,) = [line for line in found.stderr.splitlines() if line.startswith(what)]
    assert re.search(why, line)
    assert "unfinished" in found.stderr or when == "look after"
    _finishes(behind)


def test_a_put_without_an_answer_does_not_prevent_other_images_from_being_restored(behind: Behind) -> None:
    behind.illness.ill = lambda request: request.method == "PUT" and request.reference == "1.2"
    found = behind.program.run("undo", "-y")
    assert found.returncode == 3, found.stderr
    assert behind.pusher.tags("r") == behind.without("1.2")
    assert "failed: r sha256:" in found.stderr
    assert "whether it was carried out is not known" in found.stderr
    assert behind.illness.asked == ["1.2"], "no write by a tag is sent twice"
    _finishes(behind)


@pytest.mark.parametrize("when", ["look", "put"])
def test_an_unreachable_registry_ends_an_undo(behind: Behind, when: str) -> None:
    """It is unreachable from the first request of a kind on."""
    method = "PUT" if when == "put" else "GET"
    is_away = [False]

    def ill(request: Request) -> bool:
        is_away[0] = is_away[0] or (request.method == method and "/manifests/" in request.path)
        is_away[0] = is_away[0] or (request.method == method and "/blobs/" in request.path)
        return is_away[0]

    behind.illness.ill = ill
    found = behind.program.run("undo", "-y")
    assert found.returncode == 6, found.stderr
    assert "left, to be tried again" not in found.stderr
    assert "failed:" not in found.stderr
    assert behind.pusher.tags("r").keys() == {"2.0"}
    assert len(behind.illness.asked) < 100
    _finishes(behind)


def _finishes(behind: Behind) -> None:
    """A later undo, when the registry works again."""
    behind.illness.ill = lambda _: False
    again = behind.program.run("undo", "-y")
    assert again.returncode == 0, again.stderr
    assert behind.pusher.tags("r") == behind.before
    assert all(behind.pusher.is_whole("r", tag) for tag in behind.before)
    assert behind.program.run("undo", "-y").returncode == 1, "nothing is left to be undone"


def test_what_a_replica_does_not_know_yet_is_requested_again(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """The first answer after a PUT denies the manifest: it is there a second later, and is not removed."""
    waiting: set[str] = set()
    denied: list[str] = []

    def lag(request: Request) -> Answer | None:
        if request.method == "PUT":
            waiting.add(request.reference)
        elif request.method == "GET" and request.reference in waiting:
            waiting.remove(request.reference)
            denied.append(request.reference)
            return Answer(404, b"{}")
        return None

    with Proxy(registry_server.port, before=lag) as proxy:
        program = Program(proxy.url, tmp_path)
        before = removed(program, pusher)
        found = program.run("undo", "-y")
        assert found.returncode == 0, found.stderr
        assert denied
        assert pusher.tags("r") == before


def test_a_tag_that_one_reading_denies_is_requested_again_before_it_is_put(
    registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    """Somebody pushes it with another image during the undo, and the first answer is outdated."""
    pushed: list[str] = []

    def lie(request: Request) -> Answer | None:
        if request.method in ("GET", "HEAD") and request.reference == "1.2" and removing[0] is False and not pushed:
            pushed.append(pusher.push_image("r", "1.2", seed="new")["digest"])
            return Answer(404, b"{}")
        return None

    removing = [True]
    with Proxy(registry_server.port, before=lie) as proxy:
        program = Program(proxy.url, tmp_path)
        before = removed(program, pusher)
        removing[0] = False
        found = program.run("undo", "-y")
        assert found.returncode == 0, found.stderr
        assert pushed
        assert pusher.tags("r") == {**before, "1.2": pushed[0]}

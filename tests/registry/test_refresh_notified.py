"""With recorded notifications, `refresh` reads only what has changed, and then knows what a full one would find."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from dregutil.inventory.cache_file import CacheFile
from dregutil.inventory.refreshed import RefreshedFile
from dregutil.oci.names import RegistryAddress
from dregutil.pulls.store import PullStore
from dregutil.session.refreshing import WHOLE_AFTER
from images import Pusher
from listening import ENDPOINT, Listening, until
from program import Program
from servers import DistributionServer
from servers.http import Proxy
from servers.real import KINDS

REPOSITORIES, TAGS = 12, 8
WHOLE = REPOSITORIES * TAGS
# 2.8 ignores actions only where media types are ignored as well.
IGNORES_PUSHES = ENDPOINT + "      ignore: {{mediatypes: [application/octet-stream], actions: [push]}}\n"


class Counted:
    """A registry whose notifications are recorded, behind a proxy that counts what dregutil asks."""

    def __init__(self, listening: Listening, proxy: Proxy) -> None:
        self.listening, self.proxy = listening, proxy
        self.pusher = Pusher(listening.server.url)

    @property
    def store(self) -> PullStore:
        return PullStore(self.listening.program.state, RegistryAddress.parse(self.proxy.url).identity)

    @property
    def file(self) -> RefreshedFile:
        return RefreshedFile(self.listening.program.state, RegistryAddress.parse(self.proxy.url).identity)

    @property
    def cache(self) -> Path:
        return self.listening.folder / "cache.json"

    def refresh(self, *options: str) -> tuple[int, str]:
        """Refresh; the number of requests, and what it said."""
        self.proxy.requests.clear()
        done = self.listening.program.run("-c", "cache.json", "refresh", *options)
        assert done.returncode == 0, done.stderr
        return len(self.proxy.requests), done.stderr + done.stdout

    def is_true(self) -> bool:
        """Whether the cache file has what is there."""
        cached: dict[str, dict[str, str]] = json.loads(self.cache.read_text())
        names = {f"shop/{number}" for number in range(REPOSITORIES)} | cached.keys() | {"shop/new"}
        there = {name: self.pusher.tags(name) for name in names}
        return {name: tags for name, tags in cached.items() if tags} == {n: tags for n, tags in there.items() if tags}

    def notified(self, act: Callable[[], object]) -> None:
        """Do something, and wait until it was notified."""
        before = self.store.counted("change")
        act()
        until(lambda: self.store.counted("change") > before)

    def reads_all(self, *options: str) -> bool:
        requests, said = self.refresh(*options)
        return requests > WHOLE and "not read" not in said and self.is_true()

    def restart(self) -> None:
        self.listening.server.stop()
        self.listening.server.start()
        self.pusher.close()  # it opens another connection

    def as_if_read(self, ago: timedelta) -> None:
        """Note that the whole registry was read so long ago."""
        last = self.file.read(CacheFile(self.cache))
        assert last is not None
        self.file.write(CacheFile(self.cache), msgspec.structs.replace(last, whole=datetime.now(UTC) - ago))


def counting(kind: str, folder: Path, endpoint: str = ENDPOINT) -> Iterator[Counted]:
    """A registry with REPOSITORIES of TAGS that was read once."""
    KINDS[kind].require()
    server = KINDS[kind].server
    assert issubclass(server, DistributionServer)
    listening = Listening(folder, server, endpoint)
    with Proxy(listening.server.port) as proxy:
        listening.program = Program(proxy.url, folder)
        with listening:
            found = Counted(listening, proxy)
            for number in range(REPOSITORIES):
                for tag in range(TAGS):
                    found.pusher.push_image(f"shop/{number}", f"1.{tag}", seed=f"{number} {tag}")
            found.refresh()
            with found.pusher:
                yield found


@pytest.fixture(params=["distribution-2.8", "distribution-3"])
def counted(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Counted]:
    yield from counting(request.param, tmp_path)


@pytest.fixture
def pushes_are_not_notified(tmp_path: Path) -> Iterator[Counted]:
    yield from counting("distribution-2.8", tmp_path, IGNORES_PUSHES)


def test_only_what_has_changed_is_read_again(counted: Counted) -> None:
    pusher = counted.pusher
    whole, _ = counted.refresh("--full")
    counted.notified(lambda: pusher.push_image("shop/1", "2.0", seed="new"))
    counted.notified(lambda: pusher.push_image("shop/2", "1.0", seed="moved"))
    counted.notified(lambda: pusher.push_image("shop/new", "1.0", seed="a new repository"))
    gone = pusher.tags("shop/3")["1.3"]
    counted.notified(lambda: pusher.request("DELETE", f"/v2/shop/3/manifests/{gone}"))
    requests, said = counted.refresh()
    until(lambda: counted.refresh()[0] and counted.is_true())
    assert requests < whole / 3
    assert f"{WHOLE - 1 - 1} tags not read: no change of them was notified" in said
    assert "1.3" not in json.loads(counted.cache.read_text())["shop/3"]
    nothing, _ = counted.refresh()
    assert nothing <= 4
    assert counted.reads_all("--full")
    assert counted.refresh()[0] <= 4, "all of them had been notified"


def test_a_restart_of_the_registry_forces_a_full_refresh(counted: Counted) -> None:
    """What it had not sent is lost."""
    assert not counted.reads_all()
    counted.listening.end_listener()
    counted.pusher.push_image("shop/1", "2.0", seed="lost")
    counted.restart()
    counted.listening.listen()
    assert counted.reads_all()
    until(lambda: not counted.reads_all())


def test_nothing_that_listens_forces_a_full_refresh(counted: Counted) -> None:
    counted.listening.end_listener()
    counted.pusher.push_image("shop/1", "2.0", seed="not notified")
    assert counted.reads_all()


def test_a_cache_file_of_another_program_and_a_week_force_a_full_refresh(counted: Counted) -> None:
    counted.cache.write_text(counted.cache.read_text().replace("1.0", "9.9"))
    assert counted.reads_all()
    counted.as_if_read(WHOLE_AFTER + timedelta(seconds=1))
    assert counted.reads_all()
    counted.as_if_read(-timedelta(days=1))  # a clock that was wrong
    assert counted.reads_all()


def test_a_registry_that_does_not_notify_pushes_is_read_whole_once_that_was_found(
    pushes_are_not_notified: Counted,
) -> None:
    counted = pushes_are_not_notified
    counted.pusher.push_image("shop/1", "2.0", seed="not notified")
    assert not counted.reads_all(), "nothing says so yet"
    assert "1 of 1 changed tags were not notified" in counted.refresh("--full")[1]
    assert counted.is_true()
    counted.pusher.push_image("shop/1", "3.0", seed="not notified")
    assert counted.reads_all()
    assert counted.reads_all()


def test_a_removal_of_ours_is_no_reason_to_read_all(counted: Counted) -> None:
    removed = counted.listening.program.run("-c", "cache.json", "remove-tags", "-r", "shop/1", "-t", "1.0", "--yes")
    assert removed.returncode == 0, removed.stderr
    requests, said = counted.refresh()
    assert requests < WHOLE, said
    until(lambda: counted.is_true() or not counted.refresh())


def test_a_removal_reads_live_whatever_was_notified(counted: Counted) -> None:
    """The last refresh has not seen a push; the removal does."""
    counted.listening.end_listener()
    stays = counted.pusher.push_image("shop/1", "1.0", "kept", seed="moved")
    done = counted.listening.program.run("-c", "cache.json", "remove-tags", "-r", "shop/1", "-t", "1.0", "--untag")
    assert done.returncode in (0, 3), done.stderr
    assert counted.pusher.tags("shop/1")["kept"] == stays["digest"]
    assert counted.pusher.is_whole("shop/1", "kept")


def test_repositories_whose_list_is_unchanged_are_believed_up_to_an_age(counted: Counted) -> None:
    """Without notifications. A moved tag is seen only by a full refresh, as is documented."""
    counted.listening.end_listener()
    counted.refresh("--full")
    before = counted.cache.stat().st_mtime_ns
    counted.pusher.push_image("shop/1", "2.0", seed="new")
    moved = counted.pusher.push_image("shop/1", "1.1", seed="moved, and its list has changed")
    requests, said = counted.refresh("--max-age", "1h")
    assert requests < WHOLE / 2
    assert "1 new, 0 gone\n" in said, "what was moved elsewhere is not known"
    assert f"{WHOLE - TAGS} tags not read: the list of their repository is unchanged" in said
    assert json.loads(counted.cache.read_text())["shop/1"]["1.1"] == moved["digest"]
    assert counted.is_true()
    assert counted.cache.stat().st_mtime_ns == before, "its age is that of the oldest tags in it"
    counted.pusher.push_image("shop/2", "1.1", seed="moved")
    counted.refresh("--max-age", "1h")
    assert not counted.is_true()
    counted.as_if_read(timedelta(hours=2))
    assert counted.reads_all("--max-age", "1h")
    assert counted.refresh("--max-age", "1h")[0] < WHOLE / 2

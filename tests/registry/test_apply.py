"""Removal on a server whose answers are lost or refused: nothing that stays is damaged, and the reported outcome is
true."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from dregutil.apply.apply import apply_plan
from dregutil.apply.untag.untagger import Untagger
from dregutil.errors import RegistryError
from dregutil.inventory.crawl import crawl
from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.model import RemovalOptions
from dregutil.plan.outcome import Intent, NoRecorder, Result, RunResult
from dregutil.registry import ConnectOptions, connect_writable
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from images import Pusher
from remembering import plan_removal
from servers import DistributionServer
from servers.http import Answer, Proxy, Request
from servers.memory import MemoryServer, Switches


class Between:
    """A proxy that interferes with each DELETE of a manifest that exists.

    `how`: `lost` (processed, then the connection is reset), `dropped` (reset before it is sent), or the status line of
    a refusal. This affects `times` such DELETEs of a digest in `spared`, the others pass; with `by_tag_passes`, it
    affects those of any digest, and those by tag pass.
    """

    def __init__(self, upstream: int, how: str, times: int) -> None:
        self.upstream = upstream
        self.how = how
        self.times = times
        self.spared: set[str] = set()
        self.by_tag_passes = False
        self.deletes: list[str] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = _length(head)
                body = await reader.readexactly(length)
                if head.startswith(b"DELETE") and self._treats(head.split(b" ")[1].decode()):
                    if self.how in ("lost", "500 After the fact"):
                        await self._forward(head, body)
                    if self.how in ("lost", "dropped"):
                        writer.transport.abort()
                        return
                    writer.write(f"HTTP/1.1 {self.how}\r\nContent-Length: 0\r\n\r\n".encode())
                else:
                    writer.write(await self._forward(head, body))
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    def _treats(self, path: str) -> bool:
        digest = path.rpartition("/")[2]
        treated = ":" in digest if self.by_tag_passes else digest in self.spared
        if not treated or self.times <= 0:
            return False
        self.times -= 1
        self.deletes.append(digest)
        return True

    async def _forward(self, head: bytes, body: bytes) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.upstream)
        line, _, rest = head.partition(b"\r\n")
        writer.write(line + b"\r\nConnection: close\r\n" + rest + body)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            return int(line.partition(b":")[2])
    return 0


@asynccontextmanager
async def between(server: DistributionServer, how: str, times: int) -> AsyncIterator[tuple[str, Between]]:
    made = Between(server.port, how, times)
    listening = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}", made
    finally:
        listening.close()
        await listening.wait_closed()


async def remove(url: str, tag: str, options: RemovalOptions | None = None) -> RunResult:
    async with connect_writable(url) as registry:
        found = (await crawl(registry)).inventory
        selection = select_tags(found, [Repository("r")], TagSelector.build([tag]))
        plan = await plan_removal(registry, selection, found, options)
        return await apply_plan(registry, plan, recorder=NoRecorder())


@pytest.mark.parametrize("how", ["lost", "dropped", "500 Oops", "500 After the fact"])
async def test_a_delete_whose_answer_is_lost(registry_server: DistributionServer, pusher: Pusher, how: str) -> None:
    gone = pusher.push_image("r", "1.0", seed="one")
    pusher.push_image("r", "2.0", seed="two")
    async with between(registry_server, how, times=1) as (url, proxy):
        proxy.spared = {gone["digest"]}
        result = await remove(url, "1.0")
    assert [outcome.result for outcome in result.outcomes] == [Result.REMOVED]
    assert len(proxy.deletes) == 1
    assert set(pusher.tags("r")) == {"2.0"}
    assert pusher.is_whole("r", "2.0")


async def test_a_delete_may_take_longer_than_the_timeout(registry_server: DistributionServer, pusher: Pusher) -> None:
    """A server that reads every tag takes long: dregutil waits for it, and sends the DELETE once."""
    gone = pusher.push_image("r", "1.0", seed="one")
    wait = threading.Event()

    def work_long(request: Request) -> Answer | None:
        if request.method == "DELETE" and request.reference == gone["digest"]:
            wait.wait(1.5)
        return None

    with Proxy(registry_server.port, before=work_long) as proxy:
        async with connect_writable(proxy.url, ConnectOptions(timeout=0.5)) as registry:
            assert await registry.delete_manifest(Repository("r"), Digest(gone["digest"]))
    assert proxy.sent("DELETE") == [gone["digest"]]
    assert not pusher.has("r", gone["digest"])


@pytest.mark.parametrize("how", ["412 Precondition Failed", "409 Conflict", "500 Oops", "403 Forbidden", "dropped"])
async def test_an_index_that_is_refused_keeps_its_children_and_signature(
    registry_server: DistributionServer, pusher: Pusher, how: str
) -> None:
    children = [pusher.push_image("r", seed=seed) for seed in ("amd", "arm")]
    index = pusher.push_index("r", "1.0", children=children)
    signature = f"sha256-{index['digest'][7:]}.sig"
    pusher.push_image("r", signature, seed="signature")
    async with between(registry_server, how, times=99) as (url, proxy):
        proxy.spared = {index["digest"]}
        result = await remove(url, "1.0")
    assert result.outcomes[0].result is Result.FAILED
    assert {outcome.result for outcome in result.outcomes[1:]} == {Result.LEFT}
    assert set(pusher.tags("r")) == {"1.0", signature}
    assert all(pusher.is_whole("r", tag) for tag in pusher.tags("r"))


async def test_an_untag_whose_delete_is_refused_puts_the_tag_back(
    registry_server: DistributionServer, pusher: Pusher
) -> None:
    image = pusher.push_image("r", "1.0", "stable", seed="one")
    async with between(registry_server, "409 Conflict", times=99) as (url, proxy):
        proxy.by_tag_passes = True
        async with connect_writable(url) as registry:
            manifest = await registry.manifest(Repository("r"), Digest(image["digest"]))
            assert manifest is not None
            intent = Intent(1, Repository("r"), (Tag("1.0"),), manifest, beside=(Tag("stable"),))
            with pytest.raises(RegistryError):
                await Untagger(registry, NoRecorder()).untag(intent)
    assert len(proxy.deletes) == 1
    assert pusher.tags("r") == {"1.0": image["digest"], "stable": image["digest"]}
    assert pusher.is_whole("r", "1.0")


@pytest.mark.parametrize("by_name", [True, False])
async def test_a_tag_pushed_during_a_stopped_sweep_stays(by_name: bool) -> None:
    """What was removed so far is put back, but not over a push."""
    repository = Repository("r")
    with MemoryServer(Switches(untags=by_name)) as server, Pusher(server.url) as pusher:
        before = {f"1.{number}": pusher.push_image("r", f"1.{number}", seed=str(number)) for number in range(3)}
        pushed: list[str] = []

        def push() -> None:
            if not pushed:
                pushed.append(pusher.push_image("r", "1.0", seed="new")["digest"])

        async with connect_writable(server.url) as registry:
            intents = []
            for number, (tag, image) in enumerate(before.items()):
                manifest = await registry.manifest(repository, Digest(image["digest"]))
                assert manifest is not None
                intents.append(Intent(number, repository, (Tag(tag),), manifest))
            untagger = Untagger(registry, NoRecorder())
            untagger.progress.on_swept = push
            assert await untagger.sweep(intents, lambda: bool(pushed)) is by_name
        assert pusher.tags("r") == {tag: image["digest"] for tag, image in before.items()} | {"1.0": pushed[0]}


async def test_a_delete_that_is_answered_429_is_sent_again(registry_server: DistributionServer, pusher: Pusher) -> None:
    gone = pusher.push_image("r", "1.0", seed="one")
    async with between(registry_server, "429 Too Many Requests\r\nRetry-After: 0", times=2) as (url, proxy):
        proxy.spared = {gone["digest"]}
        result = await remove(url, "1.0")
    assert [outcome.result for outcome in result.outcomes] == [Result.REMOVED]
    assert len(proxy.deletes) == 2


@pytest.fixture
def tags_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """As in a large repository."""
    monkeypatch.setattr("dregutil.apply.sweep.tags_first_pays", lambda _, __: True)


@pytest.mark.usefixtures("tags_first")
async def test_swept_tags_need_one_delete(registry_server: DistributionServer, pusher: Pusher) -> None:
    for number in range(12):
        pusher.push_image("r", f"1.{number}", f"1.{number}-alpine", seed=str(number))
    pusher.push_image("r", "2.0", seed="stays")
    async with between(registry_server, "", times=0) as (url, _), connect_writable(url) as registry:
        found = (await crawl(registry)).inventory
        selection = select_tags(found, [Repository("r")], TagSelector.build(["<2"]))
        plan = await plan_removal(registry, selection, found)
        result = await apply_plan(registry, plan, recorder=NoRecorder())
    assert {outcome.result for outcome in result.outcomes} == {Result.REMOVED}
    assert set(pusher.tags("r")) == {"2.0"}
    assert not any(pusher.has("r", step.digest) for step in plan.steps)


@pytest.mark.usefixtures("tags_first")
@pytest.mark.parametrize("how", ["412 Precondition Failed", "403 Forbidden", "500 Oops"])
async def test_swept_tags_are_put_back_if_the_digest_stays(
    registry_server: DistributionServer, pusher: Pusher, how: str
) -> None:
    stays = pusher.push_image("r", "1.0", "1.0.0", seed="refused")
    pusher.push_image("r", "1.1", seed="goes")
    async with between(registry_server, how, times=99) as (url, proxy):
        proxy.spared = {stays["digest"]}
        async with connect_writable(url) as registry:
            found = (await crawl(registry)).inventory
            selection = select_tags(found, [Repository("r")], TagSelector.build(["<2"]))
            result = await apply_plan(registry, await plan_removal(registry, selection, found), recorder=NoRecorder())
    assert Result.FAILED in {outcome.result for outcome in result.outcomes}
    assert pusher.is_whole("r", "1.0")
    assert pusher.tags("r")["1.0.0"] == stays["digest"]


@pytest.mark.usefixtures("tags_first")
async def test_a_sweep_that_is_stopped_reverts_itself(registry_server: DistributionServer, pusher: Pusher) -> None:
    for number in range(40):
        pusher.push_image("r", f"1.{number}", seed=str(number))
    before = pusher.tags("r")
    stop = asyncio.Event()
    async with connect_writable(registry_server.url) as registry:
        found = (await crawl(registry)).inventory
        selection = select_tags(found, [Repository("r")], TagSelector.build(["<2"]))
        plan = await plan_removal(registry, selection, found)
        put = registry.put_manifest
        count = 0

        async def counted(*arguments: Any, **more: Any) -> None:
            nonlocal count
            count += 1
            if count == 10:
                stop.set()
            await put(*arguments, **more)

        registry.put_manifest = counted  # type: ignore[method-assign]
        result = await apply_plan(registry, plan, recorder=NoRecorder(), stop=stop)
    assert result.interrupted
    assert count >= 10
    assert pusher.tags("r") == before

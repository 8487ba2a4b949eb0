"""The registry's host name can no longer be resolved during a run: what stays is whole, and the run reports it."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from dregutil.apply.apply import apply_plan
from dregutil.errors import UnreachableError
from dregutil.inventory.crawl import crawl
from dregutil.journal.reader import read_journal
from dregutil.journal.writer import Journal
from dregutil.oci.names import Repository
from dregutil.plan.outcome import Result
from dregutil.registry import ConnectOptions, Registry, connect, connect_writable
from dregutil.select.selection import select_tags
from dregutil.select.selector import TagSelector
from images import Pusher
from remembering import plan_removal
from servers import DistributionServer
from servers.http import LOST, Answer, Proxy, Request

NAME = "registry.test"
OPTIONS = ConnectOptions(insecure=True, concurrency=1, timeout=5)
DOOMED = ("1.0", "1.1", "1.2")


class Resolver:
    """Replaces the system's resolver, and knows one name until it forgets it."""

    def __init__(self, registry: list[Registry]) -> None:
        self.knows = True
        self.registry = registry

    def __call__(self, host: str, port: Any, *_: Any, **__: Any) -> list[Any]:
        if not self.knows:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    def forget(self) -> Answer:
        """From now on, and for the open connection and the cached address."""
        self.knows = False
        for registry in self.registry:
            session = vars(registry._transport._connections).get("_session")
            if session is not None:  # nothing but plain requests needs none
                session.connector.clear_dns_cache()
        return LOST


@pytest.fixture
def connected() -> list[Registry]:
    """The clients whose cached addresses end with the name."""
    return []


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch, connected: list[Registry]) -> Resolver:
    found = Resolver(connected)
    monkeypatch.setattr(socket, "getaddrinfo", found)
    return found


@pytest.fixture
def proxy(registry_server: DistributionServer, pusher: Pusher) -> Iterator[Proxy]:
    for tag in (*DOOMED, "2.0", "stable"):
        pusher.push_image("r", tag, seed=tag)
    with Proxy(registry_server.port) as found:
        yield found


async def test_while_it_is_read(proxy: Proxy, resolver: Resolver, connected: list[Registry]) -> None:
    proxy.before = lambda request: resolver.forget() if request.reference == "1.1" else None
    async with connect(f"http://{NAME}:{proxy.port}", OPTIONS) as registry:
        connected.append(registry)
        with pytest.raises(UnreachableError, match=f"no address found for {NAME}"):
            await crawl(registry)


async def test_while_it_deletes(
    proxy: Proxy, resolver: Resolver, connected: list[Registry], pusher: Pusher, tmp_path: Path
) -> None:
    before = pusher.tags("r")

    def forget_at_the_second(request: Request) -> Answer | None:
        return resolver.forget() if request.method == "DELETE" and request.reference == before["1.1"] else None

    url = f"http://{NAME}:{proxy.port}"
    async with connect_writable(url, OPTIONS) as registry:
        connected.append(registry)
        inventory = (await crawl(registry)).inventory
        selection = select_tags(inventory, [Repository("r")], TagSelector.build(["<2"]))
        plan = await plan_removal(registry, selection, inventory)
        journal = Journal(tmp_path)
        journal.begin(plan, started=datetime.now(UTC))
        proxy.before = forget_at_the_second
        result = await apply_plan(registry, plan, recorder=journal)
        journal.close(None)
    assert isinstance(result.error, UnreachableError)
    assert f"no address found for {NAME}" in result.error.message
    assert {tag: digest for tag, digest in before.items() if tag not in DOOMED}.items() <= pusher.tags("r").items()
    assert all(pusher.is_whole("r", tag) for tag in pusher.tags("r"))

    resolver.knows, proxy.before = True, lambda _: None
    async with connect_writable(url, OPTIONS) as registry:
        result = await apply_plan(registry, plan, recorder=Journal(tmp_path), earlier=read_journal(tmp_path))
    assert {outcome.result for outcome in result.outcomes} == {Result.REMOVED}
    assert pusher.tags("r") == {tag: digest for tag, digest in before.items() if tag not in DOOMED}

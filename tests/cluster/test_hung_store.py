"""A database that takes everything and answers nothing: the event loop of a run goes on meanwhile, so that the answers
to its DELETEs are read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import pytest

import dregutil
from dregutil.errors import StoreError
from dregutil.store import documents
from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from images import Pusher
from servers import DistributionServer
from servers.link import Link
from servers.postgres import Postgres

WITHIN = 2.0  # seconds that the store is waited for
MOST_STILL = 1.0  # seconds that the loop may stand still


class Heart:
    """Beats on the event loop in `async with`; `longest` is the longest time in seconds between two beats."""

    longest = 0.0

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.sleep(0.02)  # a beat that is late is counted
        self._task.cancel()

    async def _beat(self) -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.01)
            now = time.monotonic()
            self.longest, last = max(self.longest, now - last), now


@pytest.fixture
def link(postgres: Postgres) -> Iterator[Link]:
    with Link(postgres.port) as found:
        yield found


@pytest.fixture
def hanging(store: str, postgres: Postgres, link: Link, monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a store that can hang."""
    monkeypatch.setattr(documents, "_WITHIN", WITHIN)
    return store.replace(f":{postgres.port}/", f":{link.port}/")


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_run_waits_for_a_hung_store_beside_its_event_loop(
    hanging: str, link: Link, registry_server: DistributionServer, pusher: Pusher, tmp_path: Path
) -> None:
    for tag in ("1.0", "2.0"):
        pusher.push_image("team/a", tag, seed=tag)

    async def ask() -> tuple[float, float, list[object]]:
        async with dregutil.connect(
            registry_server.url, store=hanging, state_dir=tmp_path / "a", contents=None, insecure=True
        ) as session:
            plan = await session.plan_removal("team/a", tags=["1.0"])
            holds = await session._asked_holds(plan)
            assert not (await holds()).all
            link.swallow()
            await asyncio.sleep(documents.POLLED_EVERY)  # the answer of the last time counts until then
            started = time.monotonic()
            async with Heart() as heart:
                found = await asyncio.gather(holds(), holds(), holds(), return_exceptions=True)
            took = time.monotonic() - started
            link.heal()
            assert not (await holds()).all, "it is asked again"
            return took, heart.longest, list(found)

    took, still, found = asyncio.run(ask())
    assert all(isinstance(one, StoreError) and one.may_repeat for one in found), found
    assert WITHIN <= took < 2 * WITHIN, "those who wait together wait once"
    assert still < MOST_STILL


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_no_question_waits_longer_than_it_may_however_many_connections_hang(hanging: str, link: Link) -> None:
    database = open_database(StoreAddress.parse(hanging))
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(database.transaction())
    link.swallow()
    for _ in range(2):
        started = time.monotonic()
        with pytest.raises(StoreError) as failed, database.transaction(within=4.0):
            pass
        assert failed.value.may_repeat
        assert time.monotonic() - started < 2 * 4.0
    link.heal()
    with database.transaction(within=4.0) as transaction:
        assert transaction.rows("SELECT 1") == [(1,)]
    database.close()

"""The queue of ticks on a real PostgreSQL, with the rights of a worker alone."""

from __future__ import annotations

import asyncio

import pytest

from dregutil.store.address import StoreAddress
from dregutil.store.database import open_database
from dregutil.store.grants import grants_sql
from dregutil.store.migrations import migrate
from dregutil.work.queue import NotNowError, Queue
from dregutil.work.schedule import Schedule

NIGHTLY = Schedule("nightly", "refresh", "17 2 * * *")


@pytest.fixture
def as_worker(shared_url: str, postgres: object) -> StoreAddress:
    from servers.postgres import Postgres

    assert isinstance(postgres, Postgres)
    owner = open_database(StoreAddress.parse(shared_url))
    migrate(owner)
    owner.close()
    name = shared_url.rpartition("/")[2]
    with postgres.connect(name) as connection:
        connection.execute("\n".join(grants_sql()))
        connection.execute(f"CREATE ROLE queue_of_{name} LOGIN PASSWORD '{postgres.password}' IN ROLE dregutil_worker")
    return StoreAddress.parse(postgres.url_of(name, user=f"queue_of_{name}"))


async def test_a_tick_that_two_schedulers_defer_is_handed_out_once_and_again_if_it_could_not_begin(
    as_worker: StoreAddress,
) -> None:
    handed: list[tuple[str, int]] = []
    came, stop = asyncio.Event(), asyncio.Event()

    async def carry_out(name: str, at: int) -> None:
        handed.append((name, at))
        if len(handed) == 1:
            raise NotNowError
        came.set()

    queues = [Queue(as_worker, ["refresh"], carry_out) for _ in range(2)]
    serving = [asyncio.create_task(queue.serve(stop)) for queue in queues]
    async with asyncio.timeout(60):
        while not all(queue.is_connected for queue in queues):  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        for queue in queues:
            await queue.defer(NIGHTLY, 1_764_212_400)
            await queue.sweep()
        await came.wait()
        stop.set()
        await asyncio.gather(*serving)
    assert handed == [("nightly", 1_764_212_400)] * 2

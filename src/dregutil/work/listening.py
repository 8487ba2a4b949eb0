"""`/healthz` and `/metrics`. Both are for whoever reaches the address: they name nothing that is secret."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from dregutil.errors import StoreError, UsageError
from dregutil.store.workers import Workers
from dregutil.work.account import Account, metrics
from dregutil.work.asking import Asking

__all__ = ["listening"]

_PATIENCE = 5.0  # seconds for an answer of the store


@asynccontextmanager
async def listening(host: str, port: int, account: Account, asking: Asking, workers: Workers) -> AsyncIterator[str]:
    """Answer; yield the address. Raises UsageError if it cannot be used."""

    async def why_unhealthy() -> str | None:
        try:
            async with asyncio.timeout(_PATIENCE):
                await asking.ask(workers.now)
        except StoreError:
            return "the store cannot be used; the log says why"
        except TimeoutError:
            return f"the store has not answered within {_PATIENCE:g} seconds"
        return account.why_unhealthy(asking.answered, time.monotonic())

    async def healthz(_request: web.Request) -> web.Response:
        why = await why_unhealthy()
        return web.Response(text=f"{why or 'ok'}\n", status=503 if why else 200)

    async def send_metrics(_request: web.Request) -> web.Response:
        is_healthy = await why_unhealthy() is None
        text = metrics(account, store_seconds=round(asking.seconds, 3), is_healthy=is_healthy)
        return web.Response(text=text, headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    application = web.Application()
    application.add_routes([web.get("/healthz", healthz), web.get("/metrics", send_metrics)])
    quiet = logging.getLogger("dregutil.work.http")
    quiet.setLevel(logging.CRITICAL)  # of what is no HTTP
    runner = web.AppRunner(application, access_log=None, logger=quiet, shutdown_timeout=1.0)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            why = os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)
            raise UsageError(
                f"cannot listen on {host}:{port}: {why}", advice="choose another one with --addr"
            ) from error
        name, number = runner.addresses[0][:2]
        yield f"http://{f'[{name}]' if ':' in name else name}:{number}/"
    finally:
        await runner.cleanup()

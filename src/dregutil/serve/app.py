"""The server: its parts put together, from its start to its end."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from aiohttp import web

from dregutil.errors import UsageError
from dregutil.serve import acting, basics, openapi, searching, shell
from dregutil.serve.events import Events
from dregutil.serve.files import ServeFolder
from dregutil.serve.guard import HEADERS, Guard
from dregutil.serve.images.keeper import Images
from dregutil.serve.jobs import Jobs
from dregutil.serve.model import Job
from dregutil.serve.patience import Patience
from dregutil.serve.program import Program
from dregutil.serve.renewal import Renewal
from dregutil.serve.reported import Reported
from dregutil.serve.site import Asked, Options, Site
from dregutil.serve.where import routes as where

if TYPE_CHECKING:
    from dregutil.serve.team import Team

__all__ = ["application", "made", "run", "serving"]

_LARGEST_BODY = 1 << 20  # bytes of a request
_KEPT_OPEN = 30.0  # seconds without a request
_LONGEST_STOP = 5.0  # seconds for requests in progress


def made(
    options: Options,
    asked: Asked,
    program: Program,
    folder: ServeFolder,
    cache: Path | None,
    team: Team | None = None,
) -> Site:
    """The server's parts, with what was kept on the disk. `cache` is the file of the tags, `team` the store of which
    this is a face."""
    events = Events()
    jobs = Jobs(program, folder.work, events)
    reported = Reported(folder.report)
    reported.load()
    renewal = Renewal(jobs, events, reported, cache=cache, every=options.refresh_every)
    images = Images(folder.images, jobs, events, cache=cache)
    images.load()
    return Site(options, asked, program, folder, events, jobs, reported, renewal, images, team)


def application(site: Site, guard: Guard) -> web.Application:
    """All routes, behind the checks. Each part of the API is a module with its `routes`."""
    found = web.Application(middlewares=[guard.middleware], client_max_size=_LARGEST_BODY)
    for routes in (
        basics.routes(site),
        openapi.routes(site.asked.program),
        searching.routes(site),
        acting.routes(site),
        where.routes(site),
        shell.routes(site.asked.registry),
    ):
        found.add_routes(routes)
    found.on_response_prepare.append(_with_headers)
    return found


def _why(error: OSError) -> str:
    """asyncio puts the address into the error's own text."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)


def _unlogged() -> logging.Logger:
    """For what aiohttp says of requests that are no HTTP: it quotes them, with their cookies."""
    found = logging.getLogger("dregutil.serve.http")
    found.setLevel(logging.CRITICAL)
    return found


async def _with_headers(_request: web.Request, response: web.StreamResponse) -> None:
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)
    response.headers["Server"] = "dregutil"


@asynccontextmanager
async def serving(site: Site) -> AsyncIterator[str]:
    """Answer requests; yield the address to open. At the end, what runs is ended in good order and waited for.

    Raises UsageError if the address cannot be used.
    """
    patience = Patience()
    guard = Guard(site.options, patience)
    runner = web.AppRunner(
        application(site, guard),
        access_log=None,
        logger=_unlogged(),
        shutdown_timeout=_LONGEST_STOP,
        keepalive_timeout=_KEPT_OPEN,
    )
    await runner.setup()
    background: list[asyncio.Task[None]] = []
    try:
        try:
            await web.TCPSite(runner, site.options.host, site.options.port).start()
        except OSError as error:
            where = f"{site.options.host}:{site.options.port}"
            raise UsageError(
                f"cannot listen on {where}: {_why(error)}", advice="choose another one with --addr"
            ) from error
        host, guard.port = runner.addresses[0][:2]
        await _begin(site)
        background += [
            asyncio.create_task(site.renewal.run()),
            asyncio.create_task(patience.watch(lambda: runner.server.connections if runner.server else ())),
        ]
        shown = f"[{host}]" if ":" in host else host
        yield f"http://{shown}:{guard.port}/" + (f"?token={guard.token}" if guard.token else "")
    finally:
        await site.jobs.close()
        for task in background:
            task.cancel()
        await asyncio.gather(*background, return_exceptions=True)
        site.events.close()
        await runner.cleanup()
        _close(site)


async def _begin(site: Site) -> None:
    """Raises StoreError if the team's store cannot be asked."""
    if site.team is not None:
        await asyncio.to_thread(site.team.begin)
    await site.images.begin()


def _close(site: Site) -> None:
    site.images.close()
    if site.team is not None:
        site.team.end()


def run(
    options: Options,
    asked: Asked,
    program: Program,
    folder: ServeFolder,
    cache: Path | None,
    on_ready: Callable[[str], None],
    on_wait: Callable[[], None],
    on_job: Callable[[Job], None],
    team: Team | None = None,
) -> None:
    """Serve until SIGINT, SIGTERM or SIGHUP.

    `on_ready` gets the address to open; `on_wait` is called if a run is waited for at the end; `on_job` with each
    change of a job until then. Raises UsageError, and JournalError or RefusedError if the folder cannot be used.
    """

    async def until_stopped() -> None:
        stopped, loop = asyncio.Event(), asyncio.get_running_loop()
        for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(one) is not signal.SIG_IGN:  # as with nohup
                loop.add_signal_handler(one, stopped.set)
            elif one is signal.SIGINT:
                signal.signal(one, lambda *_: None)  # ignored as before, but not by the jobs, which are ended by it
        site = made(options, asked, program, folder, cache, team)
        site.jobs.watchers.append(on_job)
        async with serving(site) as address:
            on_ready(address)
            await stopped.wait()
            site.jobs.watchers.remove(on_job)  # that jobs are ended now is no news
            if site.jobs.is_writing:
                on_wait()

    with folder.held():
        asyncio.run(until_stopped())

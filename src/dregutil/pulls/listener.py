"""Receives a registry's notifications over HTTP and records them.

An answer 204 means that the events are on the disk: the registry keeps them in memory until then. Pulls that do not
count are recorded once a second: `refresh` and scanners cause one per tag. Notifications that arrive while a
transaction is written share the next one. A notification with a malformed event is accepted, without that event. If it
were refused, the registry would retry it endlessly and send nothing else.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime

from aiohttp import web

from dregutil.errors import DregutilError, JournalError, UsageError
from dregutil.pulls.agents import IgnoredAgents
from dregutil.pulls.event import LARGEST_ENVELOPE, Event, parse_envelope
from dregutil.pulls.pull import SourceKind
from dregutil.pulls.store import PullStore
from dregutil.pulls.writer import PullWriter, batch_of

__all__ = ["PATH", "Listener", "ListenerCounts"]

PATH = "/events"
_MOST_IDS = 100_000  # identities of events that are remembered: a registry repeats what it got no answer to
_MOST_PROCESSES = 1000  # of a registry
_LONGEST_STOP = 10.0  # seconds for requests in progress

_log = logging.getLogger("dregutil.pulls")


@dataclass(slots=True)
class ListenerCounts:
    """What was received: events that were recorded, those that came twice, those that could not be parsed."""

    events: int = 0
    doubles: int = 0
    malformed: int = 0
    commits: int = 0


class Listener:
    """An endpoint for notifications. `token`: what a request must have as its bearer token; empty for none."""

    def __init__(self, store: PullStore, name: str, *, token: str = "", ignored: IgnoredAgents | None = None) -> None:
        """`name` is that of the source in the records."""
        self.counts = ListenerCounts()
        self._store = store
        self._name = name
        self._token = f"Bearer {token}".encode() if token else b""
        self._ignored = ignored or IgnoredAgents()
        self._seen: OrderedDict[str, None] = OrderedDict()
        self._heard: dict[str, int] = {}  # the last written second of each process of the registry
        self._waiting: list[Event] = []
        self._written: asyncio.Future[None] | None = None
        self._has_more = asyncio.Event()
        self._failure = ""
        self._refuses = False  # the last notification lacked the token

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[tuple[str, int]]:
        """Receive notifications, and yield the address. At the end, what was received is recorded and answered.

        Raises JournalError if nothing can be recorded, UsageError if the address cannot be used.
        """
        with self._store.writer(SourceKind.EVENTS, self._name) as writer, ThreadPoolExecutor(1) as thread:
            await asyncio.get_running_loop().run_in_executor(thread, writer.prepare)
            committing = asyncio.create_task(self._commit_all(writer, thread))
            runner = web.AppRunner(self._application(), access_log=None, shutdown_timeout=_LONGEST_STOP)
            try:
                await runner.setup()
                site = web.TCPSite(runner, host, port)
                try:
                    await site.start()
                except OSError as error:
                    raise UsageError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
                yield runner.addresses[0][:2]
            finally:
                await runner.cleanup()
                committing.cancel()
                await asyncio.gather(committing, return_exceptions=True)

    def _application(self) -> web.Application:
        application = web.Application(client_max_size=LARGEST_ENVELOPE)
        application.router.add_get("/healthz", self._health)
        application.router.add_post("/", self._receive)
        application.router.add_post(PATH, self._receive)
        return application

    async def _health(self, _request: web.Request) -> web.Response:
        return web.Response(text=f"{self._failure or 'ok'}\n", status=503 if self._failure else 200)

    async def _receive(self, request: web.Request) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if self._token and not hmac.compare_digest(given, self._token):
            if not self._refuses:  # the registry retries endlessly
                _log.warning("a notification from %s was refused: its token is wrong or missing", request.remote)
            self._refuses = True
            return web.Response(status=401, text="the token is wrong or missing\n")
        self._refuses = False
        try:
            envelope = parse_envelope(await request.read())
        except UsageError as error:
            return web.Response(status=400, text=f"{error.message}\n")
        if envelope.malformed:
            self.counts.malformed += envelope.malformed
            _log.warning("%d malformed events were left out", envelope.malformed)
        try:
            await self._record([event for event in envelope.events if self._says_something(event)])
        except DregutilError as error:
            return web.Response(status=503, text=f"{error.message}\n")
        return web.Response(status=204)

    def _says_something(self, event: Event) -> bool:
        """False for a pull that does not count if one was recorded in the same second."""
        counts = event.is_of_manifest and not self._ignored.ignores(event.agent)
        if event.action != "pull" or counts or self._ignored.is_marked(event.agent):
            return True
        return self._heard.get(event.instance, -1) < _second(event)

    async def _record(self, events: Sequence[Event]) -> None:
        """Return once the events are durable. Raises JournalError."""
        if not events:
            return
        self._waiting += events
        if self._written is None:
            self._written = asyncio.get_running_loop().create_future()
        self._has_more.set()
        await asyncio.shield(self._written)

    async def _commit_all(self, writer: PullWriter, thread: ThreadPoolExecutor) -> None:
        """Write what is waiting, one transaction after another."""
        loop = asyncio.get_running_loop()
        while True:
            await self._has_more.wait()
            self._has_more.clear()
            events, self._waiting = self._waiting, []
            written, self._written = self._written, None
            if written is None:
                continue
            fresh = [event for event in events if event.id not in self._seen]
            try:
                await loop.run_in_executor(thread, self._write, writer, fresh)
            except JournalError as error:
                self._failure = error.message
                _log.error("%s", error.message)
                written.set_exception(error)
                written.exception()  # nobody may be left who waits for it
                continue
            self._failure = ""
            self._count(events, fresh)
            written.set_result(None)

    def _write(self, writer: PullWriter, events: Sequence[Event]) -> None:
        with self._store.guarded():
            writer.write(batch_of(events, self._ignored, datetime.now(UTC)))

    def _count(self, events: Sequence[Event], fresh: Sequence[Event]) -> None:
        self.counts.commits += 1
        self.counts.events += len(fresh)
        self.counts.doubles += len(events) - len(fresh)
        if len(self._heard) > _MOST_PROCESSES:
            self._heard.clear()
        for event in fresh:
            if event.action != "pull" or not event.is_of_manifest:
                continue  # it does not show that pulls are recorded
            self._heard[event.instance] = max(_second(event), self._heard.get(event.instance, 0))
        self._seen.update((event.id, None) for event in fresh if event.id)
        while len(self._seen) > _MOST_IDS:
            self._seen.popitem(last=False)


def _second(event: Event) -> int:
    """When it happened, in seconds since 1970; a time in the future is now."""
    return int(min(event.time.timestamp(), time.time()))

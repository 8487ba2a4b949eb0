"""The routes of runs, and of what can be put back."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from typing import Any

from aiohttp import web

from dregutil.oci.names import registry_key
from dregutil.serve.answers import RequestError, answer, read_body
from dregutil.serve.carrying_out import CarryingOut
from dregutil.serve.endpoints import API
from dregutil.serve.listed import Listed, page
from dregutil.serve.model import (
    Empty,
    RemovedPage,
    RunDetail,
    RunPage,
    RunProgress,
    UndoWanted,
)
from dregutil.serve.people import Role, need
from dregutil.serve.records import Records, RunSeen
from dregutil.serve.site import Site

__all__ = ["Lists", "routes"]

_MOST_LISTED = 8  # runs whose steps are kept

_Row = dict[str, Any]


class Lists:
    """The lists of a server: of runs, of what can be put back, of holds, and of the steps of the last runs shown."""

    def __init__(self, site: Site, records: Records) -> None:
        self._site = site
        self._records = records
        folder, program = site.folder.work, site.program
        key = registry_key(site.asked.identity)

        def is_own(row: _Row) -> bool:
            return registry_key(str(row.get("registry"))) == key

        self._is_own = is_own
        self._runs = Listed(program, ("history",), folder, records.mark)
        self.removed = Listed(program, ("undo", "--list"), folder, records.mark)
        self.holds = Listed(program, ("hold", "--list"), folder, lambda: (records.mark(), time.time() // 60))
        self._steps: OrderedDict[str, Listed] = OrderedDict()

    async def runs(self, offset: int, limit: int) -> RunPage:
        order = _start if self._records.by_start else None
        found = await self._runs.part(offset, limit, newest_first=True, order=order, matches=self._is_own)
        return RunPage(total=found.total, runs=found.rows)

    async def run(self, name: str) -> _Row:
        """The object of a run. Raises RequestError (404)."""
        found = await self._runs.part(0, 1, matches=lambda row: self._is_own(row) and row.get("run") == name)
        if not found.rows:
            raise RequestError(404, "there is no such run on this registry")
        return found.rows[0]

    def steps(self, run: str) -> Listed:
        """The steps of a run."""
        if run not in self._steps:
            words = ("history", run)
            self._steps[run] = Listed(self._site.program, words, self._site.folder.work, self._records.mark)
            if len(self._steps) > _MOST_LISTED:
                self._steps.popitem(last=False)[1].remove()
        self._steps.move_to_end(run)
        return self._steps[run]

    def changed(self) -> None:
        """A run has ended: the lists are made again for the next who asks."""
        for one in (self._runs, self.removed, self.holds, *self._steps.values()):
            one.changed()


def _start(row: _Row) -> str:
    return str(row.get("when"))


def routes(site: Site, records: Records, lists: Lists, carrying_out: CarryingOut) -> list[web.RouteDef]:
    """The routes."""

    async def runs(request: web.Request) -> web.Response:
        return answer(await lists.runs(*page(request)))

    async def run(request: web.Request) -> web.Response:
        seen = await asyncio.to_thread(records.find, request.match_info["run"])
        if seen is None:
            raise RequestError(404, "there is no such run on this registry")
        may_resume = carrying_out.why_not_resume(seen) is None
        return answer(await _detail(site, records, lists, seen, *page(request), may_resume=may_resume))

    async def removed(request: web.Request) -> web.Response:
        words = request.query.get("q", "").lower().split()
        found = await lists.removed.part(
            *page(request), matches=lambda row: all(word in str(row.get("image")).lower() for word in words)
        )
        return answer(RemovedPage(total=found.total, rows=found.rows))

    async def undo(request: web.Request) -> web.Response:
        person = need(request, Role.APPROVER)
        wanted = await read_body(request, UndoWanted)
        return answer(await carrying_out.undo(request.match_info["run"], person, wanted.images), 202)

    async def resume(request: web.Request) -> web.Response:
        person = need(request, Role.APPROVER)
        await read_body(request, Empty)
        return answer(await carrying_out.resume(request.match_info["run"], person), 202)

    return [
        web.get(f"{API}/runs", runs),
        web.get(f"{API}/runs/{{run}}", run),
        web.post(f"{API}/runs/{{run}}/undo", undo),
        web.post(f"{API}/runs/{{run}}/resume", resume),
        web.get(f"{API}/removed", removed),
    ]


async def _detail(
    site: Site, records: Records, lists: Lists, seen: RunSeen, offset: int, limit: int, *, may_resume: bool
) -> RunDetail:
    name = seen.header.run
    row = await lists.run(name)
    steps = await lists.steps(name).part(offset, limit)
    progress = None
    if seen.state == "running":
        progress = RunProgress(
            done=min(await asyncio.to_thread(records.outcomes, name), steps.total), total=steps.total
        )
    continued = None if seen.state != "unfinished" else await asyncio.to_thread(records.continues, name)
    can_undo = seen.state != "running" and not row["undoes"] and not row["undone"]
    can_undo = can_undo and bool(row["removed"] or row["digests"] or row["unfinished"])
    command = None
    if continued is not None:
        command = site.advised(*continued)
    elif can_undo:
        command = site.advised("undo", name)
    return RunDetail(
        run=row,
        steps=steps.rows,
        total=steps.total,
        offset=offset,
        progress=progress,
        can_undo=can_undo,
        can_resume=may_resume and continued is not None,
        command=command,
    )

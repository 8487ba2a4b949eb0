"""The routes of the session, the report, the jobs and their events."""

from __future__ import annotations

from aiohttp import web

from dregutil.pages.label import label
from dregutil.serve.answers import RequestError, answer, raw, read_body
from dregutil.serve.endpoints import API
from dregutil.serve.model import Empty, JobList, RefreshWanted, Session
from dregutil.serve.people import PERSON, Person, Role, need
from dregutil.serve.site import Site

__all__ = ["routes"]


def routes(site: Site) -> list[web.RouteDef]:
    """The routes."""
    basics = _Basics(site)
    return [
        web.get(f"{API}/session", basics.session),
        web.get(f"{API}/report", basics.report),
        web.get(f"{API}/jobs", basics.jobs),
        web.get(f"{API}/jobs/{{id}}", basics.job),
        web.post(f"{API}/jobs/{{id}}/cancel", basics.cancel),
        web.get(f"{API}/events", site.events.stream, allow_head=False),
        web.post(f"{API}/refresh", basics.refresh),
        web.post(f"{API}/check", basics.check),
        web.get("/healthz", basics.health),
    ]


class _Basics:
    """The handlers."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def session(self, request: web.Request) -> web.Response:
        person: Person = request[PERSON]
        site, asked = self._site, self._site.asked
        return answer(
            Session(
                registry=label(asked.registry),
                program=asked.program,
                command=label(asked.command, 1000),
                user=person.name,
                roles=person.roles,
                approvals=site.options.approvals,
                policy=None if asked.policy is None else label(asked.policy),
                read=site.reported.read,
                images=site.images.rows,
                store=None if site.team is None else label(site.team.address),
                store_problem=None if site.team is None else label(site.team.problem, 1000) or None,
            )
        )

    async def report(self, request: web.Request) -> web.Response:
        if self._site.reported.body is None:
            raise RequestError(503, "the report is being made for the first time", "the registry is read before it")
        return raw(request, self._site.reported.body)

    async def jobs(self, _request: web.Request) -> web.Response:
        return answer(JobList(jobs=self._site.jobs.all))

    async def job(self, request: web.Request) -> web.Response:
        return answer(self._site.jobs.get(request.match_info["id"]))

    async def cancel(self, request: web.Request) -> web.Response:
        await read_body(request, Empty)
        found = self._site.jobs.get(request.match_info["id"])
        need(request, Role.APPROVER if found.kind in ("apply", "undo", "resume") else Role.PLANNER)
        return answer(self._site.jobs.cancel(found.id))

    async def refresh(self, request: web.Request) -> web.Response:
        wanted = await read_body(request, RefreshWanted)
        person = need(request, Role.PLANNER)
        return answer(await self._site.renewal.refresh(person.name, full=wanted.full), 202)

    async def check(self, request: web.Request) -> web.Response:
        await read_body(request, Empty)
        person = need(request, Role.PLANNER)
        return answer(await self._site.renewal.report(person.name, check=True), 202)

    async def health(self, _request: web.Request) -> web.Response:
        return web.Response(text="ok\n")

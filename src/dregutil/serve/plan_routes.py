"""The routes of plans and their approvals."""

from __future__ import annotations

from aiohttp import web

from dregutil.serve.answers import RequestError, answer, read_body
from dregutil.serve.carrying_out import CarryingOut
from dregutil.serve.endpoints import API
from dregutil.serve.model import Empty, PlanList, PlanToApply, PlanWanted
from dregutil.serve.people import PERSON, Role, need
from dregutil.serve.plan_making import PlanMaking
from dregutil.serve.plans import Plans

__all__ = ["routes"]

_BELOW = f"{API}/plans/{{sum}}"


def routes(plans: Plans, making: PlanMaking, carrying_out: CarryingOut) -> list[web.RouteDef]:
    """The routes."""

    async def listed(_request: web.Request) -> web.Response:
        return answer(PlanList(plans=await plans.list()))

    async def one(request: web.Request) -> web.Response:
        return answer(await plans.detail(request.match_info["sum"], request[PERSON]))

    async def make(request: web.Request) -> web.Response:
        person = need(request, Role.PLANNER)
        wanted = await read_body(request, PlanWanted)
        if wanted.policy == (wanted.images is not None):
            raise RequestError(400, "a plan is by the policy or of images", 'send {"policy": true} or {"images": […]}')
        if wanted.images is None:
            return answer(await making.of_policy(person.name), 202)
        return answer(await making.of_images(wanted.images, person.name), 202)

    return [
        web.get(f"{API}/plans", listed),
        web.post(f"{API}/plans", make),
        web.get(_BELOW, one),
        *_decisions(plans, carrying_out),
    ]


def _decisions(plans: Plans, carrying_out: CarryingOut) -> list[web.RouteDef]:
    async def approve(request: web.Request) -> web.Response:
        person = need(request, Role.APPROVER)
        await read_body(request, Empty)
        return answer(await plans.approve(request.match_info["sum"], person))

    async def withdraw(request: web.Request) -> web.Response:
        person = need(request, Role.APPROVER)
        await read_body(request, Empty)
        return answer(await plans.withdraw(request.match_info["sum"], person))

    async def discard(request: web.Request) -> web.Response:
        person = need(request, Role.PLANNER)
        await read_body(request, Empty)
        await plans.discard(request.match_info["sum"], person)
        return web.Response(status=204)

    async def apply(request: web.Request) -> web.Response:
        person = need(request, Role.APPROVER)
        wanted = await read_body(request, PlanToApply)
        return answer(await carrying_out.apply(request.match_info["sum"], person, wanted.confirm_tags), 202)

    return [
        web.post(f"{_BELOW}/approve", approve),
        web.post(f"{_BELOW}/withdraw", withdraw),
        web.post(f"{_BELOW}/discard", discard),
        web.post(f"{_BELOW}/apply", apply),
    ]

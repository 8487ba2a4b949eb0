"""The routes of plans and their approvals."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path
from typing import Any

from aiohttp import web

from dregutil.serve.answers import RequestError, answer, read_body
from dregutil.serve.carrying_out import CarryingOut
from dregutil.serve.endpoints import API
from dregutil.serve.listed import Listed, page
from dregutil.serve.model import Empty, PlanList, PlanToApply, PlanWanted, StepPage
from dregutil.serve.people import PERSON, Role, need
from dregutil.serve.plan_making import PlanMaking
from dregutil.serve.plans import Plans

__all__ = ["routes"]

_MOST_LISTED = 8  # plans whose steps are kept
_BELOW = f"{API}/plans/{{sum}}"


class _Listings:
    """The steps of the plans that were looked at last."""

    def __init__(self, plans: Plans) -> None:
        self._site = plans.site
        self._found: OrderedDict[str, Listed] = OrderedDict()

    def of(self, sum_: str, file: Path) -> Listed:
        if sum_ not in self._found:
            words = ("plan", "show", str(file))
            self._found[sum_] = Listed(self._site.program, words, self._site.folder.work, lambda: sum_)
            if len(self._found) > _MOST_LISTED:
                self._found.popitem(last=False)[1].remove()
        self._found.move_to_end(sum_)
        return self._found[sum_]


def _names(row: dict[str, Any]) -> str:
    """What a search looks in: `repository:tag`, and the digest."""
    repository = str(row.get("repository"))
    return " ".join(
        [repository, str(row.get("digest")), *(f"{repository}:{tag}" for tag in row.get("tags") or ())]
    ).lower()


def routes(plans: Plans, making: PlanMaking, carrying_out: CarryingOut) -> list[web.RouteDef]:
    """The routes."""
    listings = _Listings(plans)

    async def listed(_request: web.Request) -> web.Response:
        return answer(PlanList(plans=await plans.list()))

    async def one(request: web.Request) -> web.Response:
        return answer(await plans.detail(request.match_info["sum"], request[PERSON]))

    async def steps(request: web.Request) -> web.Response:
        plan = plans.get(request.match_info["sum"])
        offset, limit = page(request)
        words = request.query.get("q", "").lower().split()
        found = await listings.of(plan.sum, plans.store.file(plan.sum)).part(
            offset, limit, matches=lambda row: "step" in row and all(word in _names(row) for word in words)
        )
        return answer(StepPage(total=found.total, offset=offset, rows=found.rows))

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
        web.get(f"{_BELOW}/steps", steps),
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

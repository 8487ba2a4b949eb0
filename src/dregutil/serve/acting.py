"""The parts of the API that plan, approve, carry out, put back and hold, put together."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from aiohttp import web

from dregutil.serve import hold_routes, plan_routes, run_routes
from dregutil.serve.carrying_out import CarryingOut
from dregutil.serve.plan_keeper import PlanKeeper
from dregutil.serve.plan_making import PlanMaking
from dregutil.serve.plan_store import PlanStore
from dregutil.serve.plans import Plans
from dregutil.serve.records import Records
from dregutil.serve.run_routes import Lists
from dregutil.serve.site import Site

if TYPE_CHECKING:
    from dregutil.serve.team import News, Team

__all__ = ["routes"]


def routes(site: Site) -> list[web.RouteDef]:
    """The routes. The plans are read from the disk, and the policy's plan is made again after each report. It is called
    in the event loop."""
    store, records = _kept(site)
    store.load()
    plans = Plans(site, store, records)
    making, lists = PlanMaking(plans), Lists(site, records)
    if site.team is not None:
        _follow(site, site.team, lists)
    carrying_out = CarryingOut(plans, lists.changed)
    site.renewal.after.append(making.tonight)
    site.images.tonight = plans.tonights_file
    return [
        *plan_routes.routes(plans, making, carrying_out),
        *run_routes.routes(site, records, lists, carrying_out),
        *hold_routes.routes(site, lists),
    ]


def _kept(site: Site) -> tuple[PlanKeeper, Records]:
    """Where plans and runs are: on this machine, or in the team's store."""
    if site.team is None:
        return PlanStore(site.folder.plans), Records(site.folder.runs, site.asked.identity)
    from dregutil.serve.shared_plans import SharedPlans
    from dregutil.serve.team import TeamRecords

    plans = SharedPlans(site.folder.stored_plans, site.team, site.asked.policy or "")
    return plans, TeamRecords(site.team, site.asked.identity)


def _follow(site: Site, team: Team, lists: Lists) -> None:
    """Tell pages what is new in the store, and make again what follows from it."""
    loop = asyncio.get_running_loop()

    def tell(what: News) -> None:
        if what == "listed":
            lists.changed()
        elif what != "ended":
            site.events.changed(what)
        elif not site.jobs.is_writing:  # what this server does itself is followed already
            site.reported.forget_check()
            site.renewal.changed()

    def hear(what: News) -> None:
        with suppress(RuntimeError):  # the server has ended
            loop.call_soon_threadsafe(tell, what)

    team.watchers.append(hear)

"""The parts of the API that plan, approve, carry out, put back and hold, put together."""

from __future__ import annotations

from aiohttp import web

from dregutil.serve import hold_routes, plan_routes, run_routes
from dregutil.serve.carrying_out import CarryingOut
from dregutil.serve.plan_making import PlanMaking
from dregutil.serve.plan_store import PlanStore
from dregutil.serve.plans import Plans
from dregutil.serve.records import Records
from dregutil.serve.run_routes import Lists
from dregutil.serve.site import Site

__all__ = ["routes"]


def routes(site: Site) -> list[web.RouteDef]:
    """The routes. The plans are read from the disk, and the policy's plan is made again after each report."""
    store = PlanStore(site.folder.plans)
    store.load()
    records = Records(site.folder.runs, site.asked.identity)
    plans = Plans(site, store, records)
    making, lists = PlanMaking(plans), Lists(site, records)
    carrying_out = CarryingOut(plans, lists.changed)
    site.renewal.after.append(making.tonight)
    site.images.tonight = plans.tonights_file
    return [
        *plan_routes.routes(plans, making, carrying_out),
        *run_routes.routes(site, records, lists, carrying_out),
        *hold_routes.routes(site, lists),
    ]

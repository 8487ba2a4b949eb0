"""Every route of the server: the role that it needs, and the types of what it takes and answers.

A route that is not in this table is refused to everyone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from dregutil.pages.model import Report
from dregutil.serve import model
from dregutil.serve.people import Role

__all__ = ["API", "ENDPOINTS", "PAGES", "Endpoint", "endpoint"]

API = "/api/v1"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """`path` is as the router has it; `role` the least that is needed. `takes` is the type of the body, `gives` that of
    the answer, None for one without a body or that is not JSON; `query` the parameters."""

    method: str
    path: str
    role: Role
    summary: str
    gives: type | None = None
    takes: type | None = None
    status: int = 200
    query: tuple[str, ...] = ()
    kind: str = field(default="application/json")


def _get(path: str, gives: type | None, summary: str, *query: str) -> Endpoint:
    return Endpoint("GET", API + path, Role.VIEWER, summary, gives, query=query)


def _post(path: str, role: Role, takes: type, gives: type | None, summary: str, status: int = 200) -> Endpoint:
    return Endpoint("POST", API + path, role, summary, gives, takes, status)


def _job(path: str, role: Role, takes: type, summary: str) -> Endpoint:
    return _post(path, role, takes, model.Job, summary, 202)


PAGES = ("/", "/space", "/images", "/plans", "/plans/{sum}", "/where", "/runs", "/runs/{run}", "/health")

_SHOWN = (
    _get("/session", model.Session, "Who you are, and which registry this is."),
    _get("/report", Report, "The document of `dregutil report`: this week, space, health."),
    _get("/images", model.ImagePage, "Search for tags.", "q", "sort", "desc", "offset", "limit"),
    _get("/timeline", model.Timeline, "What happened to a tag, a digest or a layer.", "of"),
    _get("/why", model.WhyList, "Why images stay or go, as `dregutil why`.", "image"),
    _get("/plans", model.PlanList, "The plans, newest first."),
    _get("/plans/{sum}", model.PlanDetail, "A plan with its reasons."),
    _get("/plans/{sum}/steps", model.StepPage, "Each step, as `dregutil plan show`.", "q", "offset", "limit"),
    _get("/runs", model.RunPage, "The recorded runs, as `dregutil history`.", "offset", "limit"),
    _get("/runs/{run}", model.RunDetail, "One run and its steps.", "offset", "limit"),
    _get("/removed", model.RemovedPage, "What can be put back, as `dregutil undo --list`.", "q", "offset", "limit"),
    _get("/holds", model.HoldList, "What no removal takes, as `dregutil hold --list`."),
    _get("/jobs", model.JobList, "The work of this server, newest first."),
    _get("/jobs/{id}", model.Job, "One job."),
    Endpoint("GET", f"{API}/events", Role.VIEWER, "Events as they happen: `job`, `changed`.", kind="text/event-stream"),
    Endpoint("GET", f"{API}/openapi.json", Role.VIEWER, "This description.", dict),
)
_DONE = (
    _job("/refresh", Role.PLANNER, model.RefreshWanted, "Read the registry again."),
    _job("/check", Role.PLANNER, model.Empty, "Read every tag and index to see what is broken."),
    _job("/plans", Role.PLANNER, model.PlanWanted, "Make a plan by the policy, or of a selection."),
    _post("/plans/{sum}/discard", Role.PLANNER, model.Empty, None, "Remove a plan that is not carried out.", 204),
    _post("/plans/{sum}/approve", Role.APPROVER, model.Empty, model.PlanDetail, "Approve a plan."),
    _post("/plans/{sum}/withdraw", Role.APPROVER, model.Empty, model.PlanDetail, "Withdraw an approval."),
    _job("/plans/{sum}/apply", Role.APPROVER, model.PlanToApply, "Carry out an approved plan."),
    _job("/runs/{run}/undo", Role.APPROVER, model.UndoWanted, "Put back what a run removed."),
    _job("/runs/{run}/resume", Role.APPROVER, model.Empty, "Continue a run that was interrupted."),
    _job("/holds", Role.PLANNER, model.HoldWanted, "Keep an image from every removal."),
    _job("/holds/end", Role.PLANNER, model.HoldEnd, "End a hold."),
    _post("/jobs/{id}/cancel", Role.PLANNER, model.Empty, model.Job, "End a job, as Ctrl-C would."),
)
_UNCHECKED = (
    Endpoint("GET", "/healthz", Role.NOBODY, "Whether the server answers.", kind="text/plain"),
    *(Endpoint("GET", path, Role.VIEWER, "A page.", kind="text/html") for path in PAGES),
    Endpoint("GET", "/static/{name}", Role.VIEWER, "The script and the style of the pages.", kind="text/plain"),
)
ENDPOINTS = {(one.method, one.path): one for one in (*_SHOWN, *_DONE, *_UNCHECKED)}


def endpoint(method: str, path: str) -> Endpoint | None:
    """The row of a route; None if it has none. HEAD is as GET."""
    return ENDPOINTS.get(("GET" if method == "HEAD" else method, path))

"""What a session returned → the document of a report. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dregutil.pages import model
from dregutil.pages.health import Checked, findings, health_part
from dregutil.pages.label import label
from dregutil.pages.limits import Limits
from dregutil.pages.plan import PlanFound, plan_part
from dregutil.pages.space import Measured, space_tree
from dregutil.pages.week import Command, ListSeen, alarm, read_at, week_part
from dregutil.report.units import plural
from dregutil.retention.verdict import Decision
from dregutil.session.results import Overview

__all__ = ["Found", "report_of"]

_LONGEST_COMMAND = 4000  # characters: one that is cut cannot be copied


@dataclass(frozen=True, slots=True)
class Found:
    """Everything that a report shows. `program` is its name and version, `command` what makes the report; `advised`
    returns a command to copy."""

    program: str
    registry: str
    command: str
    overview: Overview
    plan: PlanFound | None = None
    checked: Checked | None = None
    lists: Sequence[ListSeen] = ()
    advised: Command = str


def report_of(found: Found, limits: Limits) -> model.Report:
    """The document, with as much as `limits` allow."""
    overview, measured = found.overview, found.overview.space

    def advised(command: str) -> str:
        return label(found.advised(command), _LONGEST_COMMAND)

    plan = None if found.plan is None else plan_part(found.plan, limits)
    rows = findings(overview, found.checked, advised)
    broken = sum(one.broken for one in rows)
    first = alarm(overview, broken, None if plan is None else plan.refused, found.lists, advised)
    space = space_tree(
        Measured(measured.total, measured.namespaces, measured.repositories, measured.tags, measured.layers), limits
    )
    return model.Report(
        program=found.program,
        registry=label(found.registry),
        made=overview.now,
        read=read_at(overview),
        command=label(found.command, _LONGEST_COMMAND),
        notes=[*_unread(overview), *_notes(space, plan), *_unjudged(found.plan)],
        week=week_part(overview, found.lists, None if found.checked is None else broken, first, advised),
        space=space,
        plan=plan,
        health=health_part(rows, found.checked, limits),
    )


def _unread(found: Overview) -> list[str]:
    """What is not counted."""
    if found.unasked is None:
        return []
    return [label(f"What only the referrers API lists is not counted: {found.unasked.message}")]


def _notes(space: model.Space, plan: model.Plan | None) -> list[str]:
    """What the document leaves out."""
    found = []
    if space.summed:
        found.append(f"{space.summed:,} of the smallest repositories, tags and layers are summed.")
    named = 0 if plan is None else sum(row.more for group in plan.groups for row in group.rows if row.action != "KEEP")
    if named:
        found.append(f"{named:,} more images of the plan are counted and not named.")
    return found


def _unjudged(found: PlanFound | None) -> list[str]:
    """What no policy decides."""
    verdicts = () if found is None or found.judgement is None else found.judgement
    number = sum(one.decision is Decision.KEEP and not one.policy for one in verdicts)
    return [f"{plural(number, 'tag')} that no policy selects: they stay."] if number else []

"""What differs between two plans of one registry. Pure."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.along import freed_with
from dregutil.plan.model import Plan, StepKind

__all__ = ["Change", "PlanChange", "plan_changes"]


class Change(enum.Enum):
    NEW = "new to go"
    OTHER = "goes from another digest"
    NO_LONGER = "no longer to go"


@dataclass(frozen=True, slots=True)
class PlanChange:
    """A tag, or a manifest without one, that two plans treat differently.

    `digest` is that of the newer plan, or of the older one for what no longer goes; `was` the older one of a tag whose
    digest differs. `frees` is what removing the digest gives back, in bytes, with its children and referrers.
    """

    change: Change
    repository: Repository
    tag: Tag | None
    digest: Digest
    frees: int
    size: int
    created: datetime | None = None
    was: Digest | None = None


@dataclass(frozen=True, slots=True)
class _Going:
    digest: Digest
    frees: int
    size: int
    created: datetime | None


_Key = tuple[Repository, Tag | None, Digest | None]  # of a tag, or of a digest without one


def plan_changes(old: Plan, new: Plan) -> tuple[PlanChange, ...]:
    """What `new` removes and `old` does not, then what both remove from different digests, then what only `old`
    removes; in each part the one that frees the most first. What goes along with an image is not listed on its own."""
    before, after = dict(_going(old)), dict(_going(new))
    found = [
        *(_change(Change.NEW, key, one) for key, one in after.items() if key not in before),
        *(
            _change(Change.OTHER, key, one, before[key].digest)
            for key, one in after.items()
            if key in before and before[key].digest != one.digest
        ),
        *(_change(Change.NO_LONGER, key, one) for key, one in before.items() if key not in after),
    ]
    places = {change: place for place, change in enumerate(Change)}
    return tuple(sorted(found, key=lambda one: (places[one.change], -one.frees, one.repository, one.tag or "")))


def _going(plan: Plan) -> Iterator[tuple[_Key, _Going]]:
    freed: Mapping[int, int] = freed_with(plan.steps)
    for step in plan.steps:
        if step.kind in (StepKind.CHILD, StepKind.REFERRER):
            continue
        going = _Going(step.digest, freed.get(step.number, 0), step.size, step.created)
        for tag in step.tags:
            yield (step.repository, tag, None), going
        if not step.tags:
            yield (step.repository, None, step.digest), going


def _change(change: Change, key: _Key, going: _Going, was: Digest | None = None) -> PlanChange:
    repository, tag, _ = key
    return PlanChange(change, repository, tag, going.digest, going.frees, going.size, going.created, was)

"""Brakes: a plan that removes suspiciously much is not applied without confirmation. Pure."""

from __future__ import annotations

from dregutil.oci.names import Repository
from dregutil.plan.model import Plan

__all__ = ["braked_repositories"]

MANY_TAGS = 50


def braked_repositories(plan: Plan) -> tuple[Repository, ...]:
    """The repositories from which `plan` removes more than 50 tags *and* more than half of their tags.

    A plan for whole repositories is exempt: the user named what it empties.
    """
    if plan.names_repositories:
        return ()
    taken = {name: sum(len(step.tags) for step in steps) for name, steps in plan.by_repository.items()}
    return tuple(
        repository
        for repository, number in taken.items()
        if number > MANY_TAGS and number * 2 > plan.tags_before.get(repository, 0)
    )

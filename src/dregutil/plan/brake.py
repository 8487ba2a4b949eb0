"""Brakes: a plan that removes suspiciously much is not applied without confirmation. Pure."""

from __future__ import annotations

from dregutil.errors import BrakeError
from dregutil.oci.names import Repository
from dregutil.plan.model import Plan

__all__ = ["braked_repositories", "check_brake"]

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


def check_brake(plan: Plan, confirm_tags: int | None) -> None:
    """Raises BrakeError where `plan` takes most of a repository, and `confirm_tags` is not the number of its tags."""
    braked = braked_repositories(plan)
    if braked and confirm_tags != plan.removed_tags:
        named = ", ".join(braked[:3]) + (f" and {len(braked) - 3} more" if len(braked) > 3 else "")
        raise BrakeError(
            f"this plan removes {plan.removed_tags} tags, and more than half of what {named} has: nothing was removed",
            advice=f"look at the plan; if it is meant, confirm_tags={plan.removed_tags} lets it through",
        )

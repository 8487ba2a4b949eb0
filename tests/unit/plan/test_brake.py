"""The limits of the brake."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from dregutil.oci.names import Digest, Repository, Tag
from dregutil.plan.brake import braked_repositories
from dregutil.plan.model import Action, Plan, Step, StepKind

APP, OTHER = Repository("app"), Repository("other")


def plan(taken: int, before: int) -> Plan:
    """A plan that removes `taken` of `before` tags, with two steps for all of them."""
    names = [Tag(f"t{number}") for number in range(taken)]
    halves = (tuple(names[: taken // 2]), tuple(names[taken // 2 :]))
    steps = tuple(
        Step(number, Action.DELETE, APP, Digest.of(bytes([number])), tags, StepKind.IMAGE, "selected")
        for number, tags in enumerate(halves, 1)
    )
    return Plan("r", datetime(2026, 1, 1, tzinfo=UTC), "", steps, tags_before={APP: before, OTHER: 1})


@pytest.mark.parametrize(
    ("taken", "before", "held"),
    [
        (50, 50, False),
        (51, 51, True),
        (51, 101, True),
        (51, 102, False),
        (60, 119, True),
        (60, 120, False),
        (3, 3, False),
    ],
)
def test_more_than_fifty_and_more_than_half(taken: int, before: int, held: bool) -> None:
    assert braked_repositories(plan(taken, before)) == ((APP,) if held else ())


def test_repositories_named_on_the_command_line_and_those_without_known_tags_are_not_braked() -> None:
    assert braked_repositories(replace(plan(60, 60), names_repositories=True)) == ()
    assert braked_repositories(replace(plan(60, 60), tags_before={})) == (APP,)

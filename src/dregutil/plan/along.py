"""What goes along with what was selected: children of an index, referrers of an image. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from dregutil.plan.model import Step, StepKind

__all__ = ["along_of", "freed_with"]

_ALONG = (StepKind.CHILD, StepKind.REFERRER)


def along_of(steps: Iterable[Step]) -> Mapping[int, int]:
    """For each step that goes along with a selected one, the number of that one. `steps` are in the order of a plan."""
    owner: dict[int, int] = {}
    for step in steps:
        along = step.kind in _ALONG and step.needs
        owner[step.number] = owner.get(step.needs[0], step.number) if along else step.number
    return {number: of for number, of in owner.items() if number != of}


def freed_with(steps: Sequence[Step]) -> Mapping[int, int]:
    """For each selected step, the bytes that it frees with its children and referrers."""
    owner = along_of(steps)
    freed: Counter[int] = Counter()
    for step in steps:
        freed[owner.get(step.number, step.number)] += step.frees
    return freed

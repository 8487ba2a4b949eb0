"""What goes along with what was selected: children of an index, referrers of an image. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from dregutil.plan.model import Step, StepKind

__all__ = ["along_of", "freed_with"]

_ALONG = (StepKind.CHILD, StepKind.REFERRER)


def along_of(steps: Iterable[Step]) -> Mapping[int, int]:
    """For each step that goes along with a selected one, the number of that one. `steps` are in the order of a plan."""
    listed = list(steps)
    along = [step for step in listed if step.kind in _ALONG and step.needs]
    wanted = {step.needs[0] for step in along}
    there = {step.number for step in listed if step.number in wanted} if wanted else set[int]()
    owner: dict[int, int] = {}
    for step in along:
        need = step.needs[0]
        if need in there:
            owner[step.number] = owner.get(need, need)
    return owner


def freed_with(steps: Sequence[Step]) -> Mapping[int, int]:
    """For each selected step, the bytes that it frees with its children and referrers."""
    freed = {step.number: step.frees for step in steps}
    for number, owner in along_of(steps).items():
        freed[owner] += freed.pop(number)
    return freed

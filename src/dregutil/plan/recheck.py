"""Whether the steps of a plan still hold, by a fresh reading of the repository. Pure.

A run carries out what was shown *and* still holds. Each check names one thing that may have changed since the plan was
made; its docstring says what would be lost without it. What passes the checks must also be free to go by `settle`, the
rule that the plan was made by.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from dregutil.oci.graph import RepositoryGraph, settle
from dregutil.oci.names import Digest
from dregutil.plan.model import Action, RemovalOptions, Step

__all__ = ["CHECKS", "Check", "Now", "recheck"]


@dataclass(frozen=True, slots=True)
class Now:
    """A repository as it is now.

    `begun`: the numbers of the steps that the run itself has started on; it may have removed their tags already.
    `gone`: the digests of the steps that it has carried out, by their numbers.
    """

    graph: RepositoryGraph
    begun: Set[int] = frozenset()
    gone: Mapping[int, Digest] = field(default_factory=dict)


# Says why a step no longer holds; None where nothing speaks against it.
Check: TypeAlias = Callable[[Step, Now], str | None]


def recheck(
    steps: Sequence[Step],
    graph: RepositoryGraph,
    options: RemovalOptions,
    *,
    begun: Set[int] = frozenset(),
    gone: Mapping[int, Digest] | None = None,
) -> Mapping[int, str]:
    """The numbers of those of one repository's `steps` that no longer hold in a fresh `graph`, each with its reason.

    `begun` and `gone` are those of `Now`. A digest that is gone counts as holding: to delete it again does no harm,
    and the outcome says that it was gone.
    """
    if graph.unjudgeable:
        return {step.number: graph.unjudgeable for step in steps}
    now = Now(graph, begun, gone or {})
    reasons = ((step.number, _reason(step, now)) for step in steps)
    dropped = {number: reason for number, reason in reasons if reason}
    return {**dropped, **_held(steps, graph, options, dropped.keys())}


def _reason(step: Step, now: Now) -> str | None:
    if step.action is Action.DELETE and _is_gone(step, now.graph):
        return None
    return next(filter(None, (check(step, now) for check in CHECKS[step.action])), None)


def _held(
    steps: Sequence[Step], graph: RepositoryGraph, options: RemovalOptions, dropped: Set[int]
) -> Mapping[int, str]:
    """The steps that are held by something that stays. Without it, a child would go although an index that was pushed
    since needs it, or one that stays because its own step is in `dropped`."""
    deletes = {step.digest: step for step in steps if step.action is Action.DELETE and not _is_gone(step, graph)}
    doomed = {tag for digest, step in deletes.items() for tag in graph.those_on(digest, step.tags)}
    going = [digest for digest, step in deletes.items() if step.number not in dropped]
    _, held = settle(graph, going, doomed, allow_irreversible=options.allow_irreversible)
    return {deletes[digest].number: reason for digest, reason in held.items()}


# -- the checks ------------------------------------------------------------------------------------------------------


def tag_moved(step: Step, now: Now) -> str | None:
    """Without it, a tag that is removed alone would be taken off the image that somebody has moved it to."""
    return _first_moved(step, now.graph)


def need_is_back(step: Step, now: Now) -> str | None:
    """Without it, a child or a signature would go although its index or image, deleted before, was pushed again."""
    back = [now.gone[need] for need in step.needs if now.gone.get(need) in now.graph.manifests]
    return f"{back[-1].short}, to which it belongs, is there again" if back else None


def tag_refers_to_it(step: Step, now: Now) -> str | None:
    """Without it, an untagged image would go although what a tag names refers to it by now."""
    tag = now.graph.tagged_referrer(step.digest) if step.is_untagged else None
    return None if tag is None else f"'{tag}' refers to it"


def tag_came(step: Step, now: Now) -> str | None:
    """Without it, a tag that was not shown would go with its digest, as where a signature gets a second tag."""
    came = [tag for tag in now.graph.tags_of.get(step.digest, ()) if tag not in step.tags]
    return f"also '{came[0]}'" if came else None


def all_tags_moved(step: Step, now: Now) -> str | None:
    """Without it, the image that somebody has replaced while its tags were being removed would go."""
    return None if _has_a_tag(step, now.graph) else _first_moved(step, now.graph)


def all_tags_were_removed(step: Step, now: Now) -> str | None:
    """Without it, an image that was shown by its tags would go although somebody else has kept it without them."""
    if not step.tags or step.number in now.begun or _has_a_tag(step, now.graph):
        return None
    return f"'{step.tags[0]}' is no longer on it"


def _first_moved(step: Step, graph: RepositoryGraph) -> str | None:
    for tag in step.tags:
        digest = graph.tags.get(tag, step.digest)
        if digest != step.digest:
            return f"'{tag}' has moved to {digest.short}"
    return None


def _has_a_tag(step: Step, graph: RepositoryGraph) -> bool:
    """Whether one of the step's tags is still on its digest."""
    return any(graph.tags.get(tag) == step.digest for tag in step.tags)


def _is_gone(step: Step, graph: RepositoryGraph) -> bool:
    return step.digest in graph.absent and step.digest not in graph.tags_of


# The first that speaks against a step is its reason.
CHECKS: Mapping[Action, tuple[Check, ...]] = {
    Action.UNTAG: (tag_moved,),
    Action.DELETE: (need_is_back, tag_refers_to_it, tag_came, all_tags_moved, all_tags_were_removed),
}

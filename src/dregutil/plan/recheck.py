"""Whether the steps of a plan still hold, after the repository was read again. Pure.

A run does only what was shown *and* still holds. Each check covers one change that may have happened since the plan was
made; its docstring says what would be lost without it. What passes the checks must also pass `settle`, the rule by
which the plan was made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import TypeAlias

from dregutil.oci.graph import RepositoryGraph, settle
from dregutil.oci.names import Digest
from dregutil.plan.model import Action, RemovalOptions, Step
from dregutil.retention.holds import HeldHere, Holds

__all__ = ["CHECKS", "Check", "Now", "recheck"]


@dataclass(frozen=True, slots=True)
class Now:
    """A repository as it is now.

    `begun`: the numbers of the steps that the run has started; it may have removed their tags already. `gone`: the
    digests of the steps that it has completed, by number. `held`: what is on hold.
    """

    graph: RepositoryGraph
    begun: Set[int] = frozenset()
    gone: Mapping[int, Digest] = field(default_factory=dict)
    held: HeldHere = field(default_factory=HeldHere)


# Why a step no longer holds, or None.
Check: TypeAlias = Callable[[Step, Now], str | None]


def recheck(
    steps: Sequence[Step],
    graph: RepositoryGraph,
    options: RemovalOptions,
    *,
    begun: Set[int] = frozenset(),
    gone: Mapping[int, Digest] | None = None,
    holds: Holds | None = None,
) -> Mapping[int, str]:
    """The `steps` of one repository that no longer hold in a fresh `graph`: their numbers, each with the reason.

    `begun` and `gone` are those of `Now`; `holds` are those on the registry. A step whose digest is gone still holds:
    deleting it again does no harm, and the outcome says that it was gone.
    """
    if graph.unjudgeable:
        return {step.number: graph.unjudgeable for step in steps}
    now = Now(graph, begun, gone or {}, (holds or Holds()).here(graph))
    reasons = ((step.number, _reason(step, now)) for step in steps)
    dropped = {number: reason for number, reason in reasons if reason}
    return {**dropped, **_needed(steps, now, options, dropped.keys())}


def _reason(step: Step, now: Now) -> str | None:
    if step.action is Action.DELETE and _is_gone(step, now.graph):
        return None
    return next(filter(None, (check(step, now) for check in CHECKS[step.action])), None)


def _needed(steps: Sequence[Step], now: Now, options: RemovalOptions, dropped: Set[int]) -> Mapping[int, str]:
    """The steps that something needs which stays. Without it, a child would go although an index needs it that was
    pushed since, or whose own step is in `dropped`."""
    graph = now.graph
    deletes = {step.digest: step for step in steps if step.action is Action.DELETE and not _is_gone(step, graph)}
    doomed = {tag for digest, step in deletes.items() for tag in graph.tags_on(digest, step.tags)}
    going = [digest for digest, step in deletes.items() if step.number not in dropped]
    named = {digest for digest, step in deletes.items() if step.is_named}
    allowed, on_hold = options.allow_irreversible, now.held.digests
    _, needed = settle(graph, going, doomed, allow_irreversible=allowed, named=named, on_hold=on_hold)
    return {deletes[digest].number: reason for digest, reason in needed.items()}


# -- the checks ------------------------------------------------------------------------------------------------------


def held(step: Step, now: Now) -> str | None:
    """Without it, an image would go that is on hold since the plan was made, such as one that an undo put back."""
    by_digest = now.held.digests.get(step.digest) if step.action is Action.DELETE else None
    return by_digest or next((now.held.tags[tag] for tag in step.tags if tag in now.held.tags), None)


def tag_moved(step: Step, now: Now) -> str | None:
    """Without it, a tag would be removed from the image that somebody has moved it to since."""
    return _first_moved(step, now.graph)


def need_is_back(step: Step, now: Now) -> str | None:
    """Without it, a child or signature would go although its index or image was pushed again after its DELETE."""
    back = [now.gone[need] for need in step.needs if now.gone.get(need) in now.graph.manifests]
    return f"{back[-1].short}, to which it belongs, is there again" if back else None


def tag_refers_to_it(step: Step, now: Now) -> str | None:
    """Without it, an untagged image would go although something with a tag now refers to it."""
    tag = now.graph.tagged_referrer(step.digest) if step.is_untagged else None
    return None if tag is None else f"'{tag}' refers to it"


def tag_came(step: Step, now: Now) -> str | None:
    """Without it, a tag that was not shown would go with its digest, such as a second tag on a signature."""
    came = [tag for tag in now.graph.tags_of.get(step.digest, ()) if tag not in step.tags]
    return f"also '{came[0]}'" if came else None


def all_tags_moved(step: Step, now: Now) -> str | None:
    """Without it, an image would go whose tags somebody moved to another image while the run removed them."""
    return None if _has_a_tag(step, now.graph) else _first_moved(step, now.graph)


def all_tags_were_removed(step: Step, now: Now) -> str | None:
    """Without it, an image would go although somebody else removed its tags and not the image."""
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


# The first one that returns a reason decides.
CHECKS: Mapping[Action, tuple[Check, ...]] = {
    Action.UNTAG: (held, tag_moved),
    Action.DELETE: (held, need_is_back, tag_refers_to_it, tag_came, all_tags_moved, all_tags_were_removed),
}

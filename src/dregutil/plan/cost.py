"""How long a removal takes, and which way is faster in a large repository. Pure.

For each DELETE by digest, distribution reads every tag of the repository: version 2.8.2 takes about 4 ms plus 16 µs for
each tag (36 ms with 2,000 tags, 130 ms with 8,000). Deleting one digest after the other is therefore quadratic. If the
doomed tags are removed first, in one sweep, each later DELETE is cheap.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from dregutil.oci.names import Repository
from dregutil.plan.model import Action, Plan, Step

__all__ = ["plan_seconds", "swept_repositories", "tags_first_pays", "tags_first_steps"]

_DELETE = 0.004  # seconds on the server for one DELETE, without the time for each tag
_DELETE_TAG = 16e-6  # seconds for each tag of the repository
_MOVE = 0.004  # seconds to read a tag and move it
_WORTH = 5.0  # seconds below which a sweep is not worth it
_AT_ONCE = 2  # DELETEs that a server really executes in parallel


def tags_first_steps(steps: Iterable[Step]) -> tuple[Step, ...]:
    """The steps whose tags may be removed before their digest: they do not depend on other steps."""
    return tuple(step for step in steps if step.action is Action.DELETE and step.tags and not step.needs)


def tags_first_pays(steps: Iterable[Step], tags: int) -> bool:
    """Whether it is faster to remove the tags first, for these steps of a repository with `tags` tags."""
    listed = list(steps)
    plain = _plain(listed, tags)
    return plain > _WORTH and _tags_first(listed, tags) < 0.7 * plain


def swept_repositories(plan: Plan) -> tuple[Repository, ...]:
    """The repositories whose doomed tags are removed first."""
    return tuple(
        repository
        for repository, steps in plan.by_repository.items()
        if tags_first_pays(steps, plan.tags_before.get(repository, 0))
    )


def plan_seconds(plan: Plan, request_seconds: float, concurrency: int) -> float:
    """The estimated duration of `plan`, in seconds. `request_seconds`: the time of one small request."""
    groups = plan.by_repository
    server = 0.0
    for repository, steps in groups.items():
        tags = plan.tags_before.get(repository, 0)
        server += min(_plain(steps, tags), _tags_first(steps, tags)) / _AT_ONCE
    looks = sum(plan.tags_before.get(repository, 0) for repository in groups) + 3 * len(plan.steps)
    return server + looks * request_seconds / max(concurrency, 1)


def _plain(steps: Iterable[Step], tags: int) -> float:
    total = 0.0
    for step in steps:
        total += _DELETE + _DELETE_TAG * tags
        tags -= len(step.tags)
    return total


def _tags_first(steps: Sequence[Step], tags: int) -> float:
    first = tags_first_steps(steps)
    moved = sum(len(step.tags) for step in first)
    rest = _DELETE + _DELETE_TAG * (tags - moved)  # for each digest: its own tags are gone by then
    return moved * _MOVE + _DELETE + _DELETE_TAG * tags + len(steps) * rest

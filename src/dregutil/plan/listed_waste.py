"""What no tag needs of what a registry's service lists. Pure.

It is counted by the rule by which `cleanup` removes it, as in `plan/waste`.
"""

from __future__ import annotations

from collections.abc import Iterator, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from dregutil.inventory.untagged import untagged_in_graph
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Digest
from dregutil.plan.make import make_plan
from dregutil.plan.model import RemovalOptions
from dregutil.select.selection import Selected, Selection

__all__ = ["ListedWaste", "removable"]

_EPOCH = datetime.fromtimestamp(0, UTC)


@dataclass(frozen=True, slots=True)
class ListedWaste:
    """What the registry's service lists without a tag, in `repositories`, and `cleanup` can remove.

    `manifests`: how many, with those that go with them; `size`: the bytes that they alone hold, each blob once;
    `is_exact`: else both are upper bounds. `unread` manifests without a tag are not among them: what they hold is not
    known, because they could not be read or, with `counts_pulls`, were not. In `unjudged` repositories it removes none.
    """

    manifests: int = 0
    size: int = 0
    is_exact: bool = True
    unread: int = 0
    counts_pulls: bool = False
    unjudged: int = 0
    repositories: int = 0


def removable(graph: RepositoryGraph, untagged: Set[Digest]) -> frozenset[Digest]:
    """Those of `untagged` that cleanups remove, one after another: a referrer that no list names becomes a root once
    its subject is gone."""
    return frozenset(_gone(graph, untagged)) & untagged


def _gone(graph: RepositoryGraph, untagged: Set[Digest]) -> Iterator[Digest]:
    gone: set[Digest] = set()
    while roots := untagged_in_graph(graph, dict.fromkeys(untagged - gone, _EPOCH)).roots:
        chosen = Selection(tuple(Selected(graph.repository, digest, ()) for digest in roots))
        graphs = {graph.repository: graph}
        plan = make_plan(chosen, graphs, RemovalOptions(), registry="", made_at=_EPOCH, command="")
        new = {step.digest for step in plan.steps} - gone
        if not new:
            return
        yield from new
        gone |= new
        graph = replace(
            graph,
            tags={tag: digest for tag, digest in graph.tags.items() if digest not in gone},
            manifests={digest: found for digest, found in graph.manifests.items() if digest not in gone},
            absent=graph.absent | gone,
        )

"""Live readings of repositories, each with its moment: what a plan was made from, and may be carried out on."""

from __future__ import annotations

import time
from collections.abc import Mapping

from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Repository

__all__ = ["FreshSurveys"]

_FRESH = 15.0  # seconds: a reading that was made for the plan so shortly before is not made again


class FreshSurveys:
    def __init__(self) -> None:
        self._found: dict[Repository, tuple[RepositoryGraph, float, float]] = {}

    def add(self, graph: RepositoryGraph, read_at: float) -> None:
        """`read_at` is on the clock of `time.monotonic`, from before the first request of the reading."""
        self._found[graph.repository] = (graph, read_at, time.monotonic() - read_at)

    @property
    def graphs(self) -> Mapping[Repository, RepositoryGraph]:
        """What was read, and not taken yet."""
        return {repository: graph for repository, (graph, _, _) in self._found.items()}

    def take_fresh(self, repository: Repository) -> tuple[RepositoryGraph, float, float] | None:
        """The reading of a repository if it is only seconds old, its moment, and how long it took (seconds). It is
        given once."""
        found = self._found.pop(repository, None)
        return found if found is not None and time.monotonic() - found[1] <= _FRESH else None

"""The surveys that a plan was made from: a run that follows at once need not read the same again."""

from __future__ import annotations

from collections.abc import Mapping

from dregutil import clock
from dregutil.oci.graph import RepositoryGraph
from dregutil.oci.names import Repository

__all__ = ["FreshSurveys"]

_FRESH = 15.0  # seconds: an older survey is read again


class FreshSurveys:
    """By repository: its graph, when it was read, and how long that took."""

    def __init__(self) -> None:
        self._found: dict[Repository, tuple[RepositoryGraph, float, float]] = {}

    def add(self, graph: RepositoryGraph, read_at: float) -> None:
        """`read_at`: when the first request was sent, by `clock.now`."""
        self._found[graph.repository] = (graph, read_at, clock.now() - read_at)

    @property
    def graphs(self) -> Mapping[Repository, RepositoryGraph]:
        """The graphs that were not taken yet."""
        return {repository: graph for repository, (graph, _, _) in self._found.items()}

    def take_fresh(self, repository: Repository) -> tuple[RepositoryGraph, float, float] | None:
        """The graph of a repository, when it was read, and how long that took in seconds; None if it is not fresh.

        Each is returned once.
        """
        found = self._found.pop(repository, None)
        return found if found is not None and clock.now() - found[1] <= _FRESH else None

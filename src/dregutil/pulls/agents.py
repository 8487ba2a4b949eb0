"""Agents whose pulls do not count. Pure.

A scanner looks at every tag, and so does this program: their pulls say nothing about use. Mirrors and proxies count, as
they stand for clients behind them.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["IGNORED", "IgnoredAgents", "agent_name", "marked_agent"]

_OWN = "dregutil"
IGNORED = (_OWN, "trivy", "grype", "clair", "renovate", "renovatebot", "diun")
_LONGEST = 80  # characters of an agent that are kept


def agent_name(user_agent: str) -> str:
    """The first product of a User-Agent with its version (`containerd/2.1`); empty if there is none."""
    first = user_agent.strip().partition(" ")[0]
    return "" if first == "-" else first[:_LONGEST]


def marked_agent(mark: str) -> str:
    """The User-Agent of a request of this program that is known again by its mark."""
    return f"{_OWN}/{mark}"


class IgnoredAgents:
    """The names of agents that do not count, compared in full and without regard to case."""

    def __init__(self, names: Iterable[str] = IGNORED) -> None:
        self._names = frozenset(name.strip().lower() for name in names) | {_OWN}

    @staticmethod
    def is_marked(agent: str) -> bool:
        """Whether it is a `marked_agent`."""
        return agent.startswith(f"{_OWN}/")

    def ignores(self, agent: str) -> bool:
        """Whether the pulls of an agent, `name` or `name/version`, do not count."""
        return agent.partition("/")[0].lower() in self._names

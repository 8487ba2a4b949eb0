"""The processes of this worker's jobs, by registry, so that those of a paused registry or of a worker that ends can be
ended: SIGTERM ends a run after the step in flight, and it can be continued."""

from __future__ import annotations

import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from dregutil.serve.child import Child, Ended
from dregutil.work.site import Registry, Site

__all__ = ["Children", "Finished"]


@dataclass(frozen=True, slots=True)
class Finished:
    """How a process ended. `was_stopped`: it was asked to end."""

    ended: Ended
    was_stopped: bool


@dataclass(slots=True, eq=False)
class _Running:
    registry: str
    child: Child
    was_stopped: bool = False


class Children:
    """The processes that run."""

    def __init__(self, site: Site, environment: Callable[[str], Mapping[str, str]]) -> None:
        """`environment` returns what the processes of a registry get besides."""
        self._site = site
        self._environment = environment
        self._running: set[_Running] = set()

    async def run(self, registry: Registry, words: Sequence[str], environment: Mapping[str, str]) -> Finished:
        """Run a command of this program on a registry to its end. Raises OSError if it cannot be started."""
        program = self._site.program
        argv = program.argv((words[0], f"--registry={registry.name}", *words[1:]))
        out = self._site.folder / f"job-{secrets.token_hex(8)}"
        own = {"DREGUTIL_ACTOR": self._site.actor, **self._environment(registry.key)}
        child = Child(argv, {**program.environment, **own, **environment}, out, _ignore)
        one = _Running(registry.key, child)
        self._running.add(one)
        try:
            return Finished(await child.run(), one.was_stopped)
        finally:
            self._running.discard(one)
            child.remove()

    def stop(self, registry: str | None = None) -> None:
        """Ask the processes of a registry, or all, to end in good order; each is asked once."""
        for one in self._running:
            if registry in (None, one.registry) and not one.was_stopped:
                one.was_stopped = True
                one.child.signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all processes at once."""
        for one in self._running:
            one.was_stopped = True
            one.child.signal(signal.SIGKILL)


def _ignore(_done: int, _total: int, _noun: str) -> None:
    """Nobody watches the progress."""

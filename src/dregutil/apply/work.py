"""What the modules that carry out a repository's steps share."""

from __future__ import annotations

from dataclasses import dataclass

from dregutil.apply.intents import Intents
from dregutil.apply.live_graph import LiveReading
from dregutil.apply.looks import Looks
from dregutil.apply.run import Run
from dregutil.apply.steps import Steps
from dregutil.oci.names import Repository

__all__ = ["Work"]


@dataclass(frozen=True, slots=True)
class Work:
    """The work on one repository: its steps, what it holds, the looks at its tags, and the record of intents."""

    run: Run
    repository: Repository
    steps: Steps
    live: LiveReading
    looks: Looks
    intents: Intents

    @classmethod
    def of(cls, run: Run, repository: Repository) -> Work:
        """The work on a repository of `run`, before anything is read."""
        steps = run.steps[repository]
        live = LiveReading(run, repository, steps)
        looks = Looks(run, repository, live, steps)
        return cls(run, repository, steps, live, looks, Intents(run.recorder, steps, live))

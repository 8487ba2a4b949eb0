"""This program, as the server starts it for a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Program"]


@dataclass(frozen=True, slots=True)
class Program:
    """`options` are the global options that every command gets; `environment` that of the process, which alone holds
    secrets. `shown` returns the command as a person types it, from its words. `start` begins the command line."""

    options: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    shown: Callable[[Sequence[str]], str]
    start: tuple[str, ...] = (sys.executable, "-m", "dregutil")

    def argv(self, words: Sequence[str]) -> list[str]:
        """The process that carries out a command: `("refresh", "--full")`."""
        return [*self.start, *self.options, *words]

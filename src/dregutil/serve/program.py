"""This program, as the server starts it for a job."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Program"]


@dataclass(frozen=True, slots=True)
class Program:
    """`options` are the global options that every command gets; `environment` that of the process, which alone holds
    secrets. `shown` returns the command as a person types it, from its words."""

    options: tuple[str, ...]
    environment: Mapping[str, str] = field(repr=False)
    shown: Callable[[Sequence[str]], str]

    def argv(self, words: Sequence[str]) -> list[str]:
        """The process that carries out a command: `("refresh", "--full")`."""
        return [sys.executable, "-m", "dregutil", *self.options, *words]

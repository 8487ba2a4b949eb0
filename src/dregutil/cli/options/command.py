"""A command, as the tables of this package describe it."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Command"]


def _no_options(_parser: argparse.ArgumentParser) -> None:
    """For a command that has only the global options."""


@dataclass(frozen=True, slots=True)
class Command:
    """One command.

    `summary` is its line in `dregutil --help`, of at most 51 characters; `about` is the text of its own help, if there
    is more to say. `run` names its function, as `module:function` in `dregutil.cli.commands`; it is imported when the
    command runs. `options` adds the command's own options to its parser. `changes`: it changes the registry or a file;
    if its output cannot be written, its exit code stays. `registry`: it needs the name of a registry, otherwise it does
    not start. `default`: without one, it takes the default registry of the configuration file. `settings`: its function
    takes the settings, too. `own`: the global options that it defines in another way. `examples` are two or more pairs
    of a command line (without `dregutil`) and what it does; a test runs them in order.
    """

    name: str
    summary: str
    run: str
    options: Callable[[argparse.ArgumentParser], None] = _no_options
    changes: bool = False
    registry: bool = True
    default: bool = True
    settings: bool = True
    own: tuple[str, ...] = ()
    about: str = ""
    examples: tuple[tuple[str, str], ...] = ()

"""The command that runs a registry's own garbage collector, as the user gave it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from dregutil.errors import UsageError
from dregutil.storage.collector import Collector
from dregutil.storage.garbage_collector import Generation

__all__ = ["CollectorCommand", "generation_of"]

_SUBCOMMAND = "garbage-collect"
_EXAMPLE = "give the registry's own command after --: -- registry garbage-collect [-m] CONFIG"
_TRUE, _FALSE = ("1", "t", "T", "true", "TRUE", "True"), ("0", "f", "F", "false", "FALSE", "False")
_VERSION = re.compile(r"distribution(?:/v\d+)?\s+v?(\d+)\.\d")


@dataclass(frozen=True, slots=True)
class CollectorCommand:
    """The words of the command, and how it runs the collector."""

    words: tuple[str, ...]
    collector: Collector
    is_quiet: bool = False

    @classmethod
    def parse(cls, words: Sequence[str]) -> CollectorCommand:
        """Raises UsageError if `garbage-collect` is not a word of it, or it is a dry run."""
        if _SUBCOMMAND not in words[1:]:
            what = "no command was given" if not words else f"{words[0]} … has no word {_SUBCOMMAND}"
            raise UsageError(f"{what}, so it is not known how the collector runs", advice=_EXAMPLE)
        place = words.index(_SUBCOMMAND, 1)
        if words[place - 1].startswith("-"):
            raise UsageError(f"{words[place - 1]} is before {_SUBCOMMAND}", advice=_EXAMPLE)
        given = dict(_flags(words[place + 1 :]))
        if given.get("dry-run"):
            raise UsageError("the collector's own --dry-run frees nothing", advice="use `dregutil collect --dry-run`")
        untagged, quiet = given.get("delete-untagged", False), given.get("quiet", False)
        return cls(tuple(words), Collector.of(untagged=untagged), quiet)

    @property
    def is_plain(self) -> bool:
        """Whether its first word is the registry's own program, or passes all words on to it."""
        return self.words[1] == _SUBCOMMAND

    @property
    def dry_run(self) -> tuple[str, ...]:
        """The same command as a dry run, which deletes nothing."""
        place = self.words.index(_SUBCOMMAND, 1) + 1
        return (*self.words[:place], "--dry-run", *self.words[place:])


def _flags(words: Sequence[str]) -> Iterator[tuple[str, bool]]:
    """The options of `garbage-collect` by their long names, as Go's pflag reads them; the last of a name counts."""
    names = {"m": "delete-untagged", "d": "dry-run", "q": "quiet"}
    for word in words:
        if word == "--":
            return
        name, _, value = word.partition("=")
        if name.startswith("--"):
            yield name[2:], _as_bool(name, value or "true")
        elif name.startswith("-"):
            for letter in name[1:]:
                is_last = letter == name[-1]
                yield names.get(letter, letter), _as_bool(f"-{letter}", (value if is_last else "") or "true")


def _as_bool(name: str, value: str) -> bool:
    if value not in (*_TRUE, *_FALSE):
        raise UsageError(f"{name}={value} is neither true nor false", advice=_EXAMPLE)
    return value in _TRUE


def generation_of(version: str) -> Generation | None:
    """The generation of a collector by what its `--version` prints; None if that is not distribution's."""
    found = _VERSION.search(version)
    if found is None:
        return None
    return {"2": Generation.V2, "3": Generation.V3}.get(found[1])

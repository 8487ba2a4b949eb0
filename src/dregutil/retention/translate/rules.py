"""What a translation consists of: policies with comments, and what cannot be said."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from dregutil.errors import UsageError
from dregutil.select.quantity import duration_as_written, parse_duration

__all__ = ["EVERYTHING", "UNNAMED", "Rule", "Rules", "listed", "mapping", "whole_duration"]

EVERYTHING: Mapping[str, Any] = {"tags": "*"}
"""`keep` for what a rule here cannot say: no tag has a slash."""
UNNAMED = "REPOSITORY"
"""In place of a repository that an export does not name; it matches none."""


@dataclass(slots=True)
class Rule:
    """A policy, as a mapping of its keys without `name`, and comments for it."""

    keys: Mapping[str, Any]
    comments: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Rules:
    """The policies of a translation. `lost`: what cannot be said. `protect`: the section of that name."""

    policies: list[Rule] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    protect: dict[str, Any] = field(default_factory=dict)

    def add(self, comment: str, lost: Iterable[str] = (), **keys: Any) -> None:
        """A policy; empty keys are left out. What it has `lost` becomes a comment, too."""
        found = [f"not said here: {one}" for one in lost]
        self.policies.append(Rule({key: value for key, value in keys.items() if value}, [comment, *found]))
        self.lost += [f"{comment}: {one}" for one in lost]

    def rely_on_pulls(self) -> None:
        """Say that `pulled_within` relies on recorded notifications."""
        self.protect["pulls"] = [{"events": True}]


def mapping(value: Any) -> Mapping[str, Any]:
    """A section of an export; an empty one for anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def whole_duration(text: object) -> str:
    """A duration of Go (`720h0m0s`) or of days, as written here; empty if it is none, or zero."""
    bare = re.sub(r"(?<![0-9])0+[a-z]", "", str(text))
    try:
        found = parse_duration(bare)
    except UsageError:
        return ""
    return duration_as_written(found) if found else ""

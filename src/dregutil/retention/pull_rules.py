"""What a policy says about pulls: the rule `pulled_within`, and what it relies on. Values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from dregutil.pulls.pull import SourceKind

__all__ = ["PullSource", "PulledWithin"]


@dataclass(frozen=True, slots=True)
class PulledWithin:
    """Everything that was pulled within `age`, or came since then, or of which that is not known.

    `since`: from when on all pulls are recorded; None until that is read, and if it is not known. `by_server`: the API
    of the registry's service must know pulls, too.
    """

    age: timedelta
    text: str
    since: datetime | None = None
    by_server: bool = False


@dataclass(frozen=True, slots=True)
class PullSource:
    """What records pulls: the registry's notifications, access logs, or the API of the registry's service.

    `since`: nothing before it counts as recorded, even if it is. A gap longer than `max_gap` makes what was before it
    unknown. `files`: paths and globs of access logs, which each run reads first; `line_format`: the regular expression
    for their lines, if they are in no known format. `names`: those of the recorded sources that these logs are; None
    until they are read. `line` and `column` are its place in the policy file.
    """

    kind: SourceKind
    since: datetime | None = None
    max_gap: timedelta = timedelta(days=1)
    files: Sequence[str] = ()
    line_format: str | None = None
    names: frozenset[str] | None = field(default=None, compare=False)
    line: int = 0
    column: int = 0

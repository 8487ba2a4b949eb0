"""What a policy says about pulls: the rule `pulled_within`, and what it relies on. Values."""

from __future__ import annotations

from dataclasses import dataclass
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
    unknown. `line` and `column` are its place in the policy file.
    """

    kind: SourceKind
    since: datetime | None = None
    max_gap: timedelta = timedelta(days=1)
    line: int = 0
    column: int = 0

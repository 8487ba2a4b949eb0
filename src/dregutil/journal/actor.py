"""Who runs this program, and on which machine: records and holds name both.

`DREGUTIL_ACTOR=USER@HOST` says it instead, for a job in a container, whose user and host say nothing; the user may be a
mail address. `DREGUTIL_PLANNED_BY` and `DREGUTIL_APPROVED_BY` (a name per line) say who planned and who approved what
is carried out: `serve` sets them. `DREGUTIL_SCHEDULED` (seconds since 1970, and the name of a schedule) says for which
time of a schedule this is: `work` sets it.
"""

from __future__ import annotations

import os
import pwd
import socket
from contextlib import suppress

__all__ = ["approvers", "host_name", "planner", "scheduled", "user_name"]


def user_name() -> str:
    """The name of the user; of one without a name, as containers have, the number."""
    given = _given()[0]
    if given:
        return given
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def host_name() -> str:
    """The name of this machine."""
    return _given()[1] or socket.gethostname()


def planner() -> str:
    """Who planned what is carried out; empty if nobody said it."""
    return os.environ.get("DREGUTIL_PLANNED_BY", "").strip()


def approvers() -> list[str]:
    """Who approved what is carried out, each once."""
    names = os.environ.get("DREGUTIL_APPROVED_BY", "").split("\n")
    return list(dict.fromkeys(name.strip() for name in names if name.strip()))


def scheduled() -> tuple[str, float] | None:
    """The schedule that this is carried out for, and when it was due, in seconds since 1970; None if for none."""
    at, _, name = os.environ.get("DREGUTIL_SCHEDULED", "").partition(" ")
    with suppress(ValueError):
        return (name, float(at)) if name else None
    return None


def _given() -> tuple[str, str]:
    user, at, host = os.environ.get("DREGUTIL_ACTOR", "").rpartition("@")
    return (user, host) if at else (host, "")

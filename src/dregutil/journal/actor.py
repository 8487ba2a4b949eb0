"""Who runs this program, and on which machine: records and holds name both.

`DREGUTIL_ACTOR=USER@HOST` says it instead, for a job in a container, whose user and host say nothing.
"""

from __future__ import annotations

import os
import pwd
import socket

__all__ = ["host_name", "user_name"]


def user_name() -> str:
    """The name of the user; of one without a name, as containers have, the number."""
    given = os.environ.get("DREGUTIL_ACTOR", "").partition("@")[0]
    if given:
        return given
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def host_name() -> str:
    """The name of this machine."""
    return os.environ.get("DREGUTIL_ACTOR", "").partition("@")[2] or socket.gethostname()

"""Who runs this program, and on which machine: a record names both."""

from __future__ import annotations

import os
import pwd
import socket

__all__ = ["host_name", "user_name"]


def user_name() -> str:
    """The name of the user; of one without a name, as containers have, the number."""
    user = os.geteuid()
    try:
        return pwd.getpwuid(user).pw_name
    except KeyError:
        return str(user)


def host_name() -> str:
    """The name of this machine."""
    return socket.gethostname()

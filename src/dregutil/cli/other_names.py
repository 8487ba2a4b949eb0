"""Runs on what may be the same registry under another name of this machine: `127.0.0.2`, a host's own name.

It is not known which of them are one server. So they are suggested, and never treated as one.
"""

from __future__ import annotations

import socket

from dregutil.cli.settings import Settings
from dregutil.errors import UsageError
from dregutil.journal.store import RunStore
from dregutil.oci.names import RegistryAddress

__all__ = ["other_name_advice"]


def other_name_advice(settings: Settings, store: RunStore, command: str) -> str:
    """A line with the newest run under another local name with the same port, and the command for it; empty if there
    is none."""
    here = settings.registry
    if here is None:
        return ""
    host = socket.gethostname()
    for header in reversed(store.headers()):
        try:
            there = RegistryAddress.parse(header.registry)
        except UsageError:
            continue
        if _may_be_one(here, there, host):
            scheme = f"{here.scheme}://" if here.scheme else ""
            named = settings.advised(command, registry=f"{scheme}{header.registry}")
            return f"{header.run} is of {header.registry}, which may be the same registry: {named}"
    return ""


def _may_be_one(one: RegistryAddress, other: RegistryAddress, host: str) -> bool:
    """Whether two names of this machine with the same port and path have different keys, but may be one registry."""
    return (
        one.key != other.key
        and _port(one) == _port(other)
        and one.prefix == other.prefix
        and all(name.is_loopback or _is_own(name.host, host) for name in (one, other))
    )


def _port(address: RegistryAddress) -> int | None:
    """None for the scheme's default port, as in an identity."""
    return RegistryAddress.parse(address.identity).port


def _is_own(name: str, host: str) -> bool:
    return name.partition(".")[0].lower() == host.partition(".")[0].lower()

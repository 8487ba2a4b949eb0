"""One registry, for as long as it is worked with: one pool of connections, logins and learnt pace, one state folder.

Every command of the command line, and everything that the library offers, is a verb of `AsyncSession`; `Session` has
the same verbs for code without an event loop. A verb reads the registry through a view that sends nothing but GET and
HEAD; `apply` and `undo` make the one that writes themselves. What talks to a network is imported when it is first
needed: a query from the cache file needs no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from dregutil.session.cleanup import load_policy
from dregutil.session.session import AsyncSession
from dregutil.session.sync import Session

if TYPE_CHECKING:
    from dregutil.oci.names import RegistryAddress
    from dregutil.session.base import Options

__all__ = ["AsyncSession", "Session", "connect", "load_policy", "open"]


def open(address: str | RegistryAddress, **options: Unpack[Options]) -> Session:  # noqa: A001 - as one opens a file
    """A registry to work with: `with dregutil.open("registry.example.com") as registry: …`.

    `options` are those of `Options`: credentials, TLS, and where this machine keeps what it knows. Raises UsageError
    where `address` cannot be a registry's.
    """
    return Session(address, **options)


def connect(address: str | RegistryAddress, **options: Unpack[Options]) -> AsyncSession:
    """As `open`, for code with an event loop: `async with dregutil.connect("registry.example.com") as registry: …`."""
    return AsyncSession(address, **options)

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
    """A session with the registry at `address` (a host, `host:port` or a URL): `with dregutil.open(…) as registry`.

    `options` are those of `Options`, all optional: the login, TLS, where this machine keeps what it has read and
    recorded. Nothing is sent before the first method is called. Raises UsageError if `address` is not an address.
    """
    return Session(address, **options)


def connect(address: str | RegistryAddress, **options: Unpack[Options]) -> AsyncSession:
    """As `open`, for asyncio: `async with dregutil.connect(…) as registry`, and its methods are awaited."""
    return AsyncSession(address, **options)

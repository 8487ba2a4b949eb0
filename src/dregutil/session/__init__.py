"""A session with one registry: one connection pool, its logins and request rate, one state folder.

Everything that the command line and the library do is a method of `AsyncSession`; `Session` has the same methods for
code without an event loop. Methods read the registry through a client that sends nothing but GET and HEAD; `apply` and
`undo` create the one that writes, and `examine` and `plan_collection`, to try what the registry allows. Modules for the
network are imported when they are first needed: a query from the cache file needs no HTTP client.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from dregutil.session.protected import load_policy
from dregutil.session.session import AsyncSession
from dregutil.session.sync import Session

if TYPE_CHECKING:
    from dregutil.oci.names import RegistryAddress
    from dregutil.session.base import Options

__all__ = ["AsyncSession", "Session", "connect", "load_policy", "open"]


def open(address: str | RegistryAddress, **options: Unpack[Options]) -> Session:  # noqa: A001 - like the built-in
    """A session with the registry at `address` (a host, `host:port` or a URL): `with dregutil.open(…) as registry`.

    `options` are those of `Options`, all optional: the login, TLS, where this machine keeps what it has read and
    recorded. Nothing is sent before the first method is called. Raises UsageError if `address` is not an address.
    """
    return Session(address, **options)


def connect(address: str | RegistryAddress, **options: Unpack[Options]) -> AsyncSession:
    """As `open`, for asyncio: `async with dregutil.connect(…) as registry`, and its methods are awaited."""
    return AsyncSession(address, **options)

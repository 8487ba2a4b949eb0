"""The registry's protocol: transport, credentials, client."""

from dregutil.registry.connect import ConnectOptions, connect, connect_writable
from dregutil.registry.reader import Login, Ping, Registry, Resolved
from dregutil.registry.writer import WritableRegistry

__all__ = [
    "ConnectOptions",
    "Login",
    "Ping",
    "Registry",
    "Resolved",
    "WritableRegistry",
    "connect",
    "connect_writable",
]

"""The registry's protocol: transport, credentials, client."""

from dregutil.registry.client import Login, Ping, Registry, Resolved, WritableRegistry
from dregutil.registry.connect import ConnectOptions, connect, connect_writable

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

"""The distribution API over HTTP: a view that reads (`reader`) and one that also writes (`writer`).

`connect` opens a connection; `http` is the transport, `auth` the logins. Touches the network, and the files of this
machine that configure logins and certificates. Knows nothing of plans.
"""

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

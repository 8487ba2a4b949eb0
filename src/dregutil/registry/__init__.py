"""The distribution API over HTTP: a view that reads (`reader`) and one that also writes (`writer`).

    connect                opens a connection: address, TLS, proxy, logins
    reader, writer         the requests; `learnt` is what both views know about the server
    answers, paging, absence, uncached   what an answer means, lists of many pages, what is not there, caches in between
    deletion               what the answer to a DELETE means
    server_kind            which product it seems to be: for advice to people, never for a decision
    http/, auth/           the transport with its pace and retries; credentials and tokens
    native/                the API that a registry's service has beside the distribution API
    workers, reach, values concurrency, what ends everything, small values

Touches the network, and the files of this machine that configure logins and certificates. Knows nothing of plans.
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

"""Errors of aiohttp and of connections, translated into dregutil's: no other module sees them."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

from yarl import URL

from dregutil.errors import (
    CertificateError,
    CutShortError,
    DregutilError,
    OutcomeUnknownError,
    ProtocolError,
    UnreachableError,
)
from dregutil.registry.http.deadline import TooSlowError
from dregutil.registry.http.lane import BodyLostError

if TYPE_CHECKING:
    import aiohttp

__all__ = ["as_own_error", "connection_was_refused", "host_and_port", "is_of_the_network"]


def host_and_port(url: URL) -> str:
    """Host and port, for messages: a path or query may contain secrets."""
    return url.authority.rpartition("@")[2]


def is_of_the_network(error: Exception) -> bool:
    """Whether `as_own_error` translates an error."""
    if isinstance(error, TimeoutError | OSError):
        return True
    if not _is_aiohttps(error):
        return False
    import aiohttp

    return isinstance(error, aiohttp.ClientError)


def as_own_error(error: Exception, method: str, url: URL, wait: float) -> DregutilError:
    """An error of the network as one of dregutil's. Its text is left out where it may contain a signed URL.

    `wait` is the time-out in seconds.
    """
    where = host_and_port(url)
    if _is_certificate(error):
        return CertificateError(f"the certificate of {where} is not trusted: {_certificate_reason(error)}")
    refused = _as_refused(error, where) if _is_aiohttps(error) else None
    if refused is not None:
        return refused
    lost = "no answer" if isinstance(error, TimeoutError) else "the connection was lost"
    if method not in ("GET", "HEAD"):
        return OutcomeUnknownError(f"{method} to {where}: {lost}; whether it was carried out is not known")
    if isinstance(error, TooSlowError):
        return ProtocolError(f"the answer of {where} is still incomplete after {error.seconds:g} s")
    if isinstance(error, TimeoutError):
        return UnreachableError(f"no answer within {wait:g} s from {where}")
    if isinstance(error, BodyLostError):
        return CutShortError(f"{where} closed the connection in the middle of an answer")
    return _as_lost(error, where)


def connection_was_refused(error: UnreachableError) -> bool:
    """Whether no connection could be made at all: nothing listens there, the name has no address, TLS fails."""
    cause = error.__cause__
    if cause is None or not _is_aiohttps(cause):
        return False
    import aiohttp

    return isinstance(cause, aiohttp.ClientConnectorError)


def _is_aiohttps(error: BaseException) -> bool:
    """Whether aiohttp raised an error. Only then it needs to be imported, and is."""
    return type(error).__module__.startswith("aiohttp.")


def _as_refused(error: Exception, where: str) -> DregutilError | None:
    """The error for a connection that aiohttp could not make; None for any other one."""
    import aiohttp

    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return UnreachableError(f"no TLS connection to {where}: {_ssl_reason(error)}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError(f"the proxy for {where} does not answer")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(f"no address found for {where}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(f"{where} does not answer: {error.os_error.strerror or 'no connection'}")
    return None


def _as_lost(error: Exception, where: str) -> DregutilError:
    """The error for a read whose answer was lost, or is not HTTP."""
    if _is_aiohttps(error):
        import aiohttp

        if isinstance(error, aiohttp.ClientPayloadError):
            return CutShortError(f"{where} closed the connection in the middle of an answer")
        if isinstance(error, aiohttp.ClientResponseError):
            return UnreachableError(f"the answer of {where} is not HTTP")
    return UnreachableError(f"{where} closed the connection")


def _is_certificate(error: BaseException) -> bool:
    if type(error).__name__ == "ClientConnectorCertificateError" and _is_aiohttps(error):
        return True
    reason = getattr(error, "os_error", None) or error.__cause__
    return isinstance(reason, ssl.SSLCertVerificationError)


def _certificate_reason(error: BaseException) -> str:
    reason = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error.__cause__
    return str(getattr(reason, "verify_message", "") or "verification failed")


def _ssl_reason(error: aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(error.os_error, "reason", None)
    return str(reason or "the handshake failed").replace("_", " ").lower()

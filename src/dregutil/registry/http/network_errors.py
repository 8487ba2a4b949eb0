"""aiohttp's errors, translated into dregutil's: no other module sees them."""

from __future__ import annotations

import ssl

import aiohttp
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

__all__ = ["as_own_error", "connection_was_refused", "host_and_port"]


def host_and_port(url: URL) -> str:
    """Host and port, for messages: a path or query may contain secrets."""
    return url.authority.rpartition("@")[2]


def as_own_error(error: Exception, method: str, url: URL, wait: float) -> DregutilError:
    """An error of aiohttp's as one of dregutil's. Its text is left out where it may contain a signed URL.

    `wait` is the time-out in seconds.
    """
    where = host_and_port(url)
    if isinstance(error, aiohttp.ClientConnectorCertificateError) or _is_certificate(error):
        return CertificateError(f"the certificate of {where} is not trusted: {_certificate_reason(error)}")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return UnreachableError(f"no TLS connection to {where}: {_ssl_reason(error)}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError(f"the proxy for {where} does not answer")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(f"no address found for {where}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(f"{where} does not answer: {error.os_error.strerror or 'no connection'}")
    lost = "no answer" if isinstance(error, TimeoutError) else "the connection was lost"
    if method not in ("GET", "HEAD"):
        return OutcomeUnknownError(f"{method} to {where}: {lost}; whether it was carried out is not known")
    if isinstance(error, TooSlowError):
        return ProtocolError(f"the answer of {where} is still incomplete after {error.seconds:g} s")
    if isinstance(error, TimeoutError):
        return UnreachableError(f"no answer within {wait:g} s from {where}")
    if isinstance(error, aiohttp.ClientPayloadError):
        return CutShortError(f"{where} closed the connection in the middle of an answer")
    if isinstance(error, aiohttp.ClientResponseError):
        return UnreachableError(f"the answer of {where} is not HTTP")
    return UnreachableError(f"{where} closed the connection")


def connection_was_refused(error: UnreachableError) -> bool:
    """Whether no connection could be made at all: nothing listens there, the name has no address, TLS fails."""
    return isinstance(error.__cause__, aiohttp.ClientConnectorError)


def _is_certificate(error: BaseException) -> bool:
    reason = getattr(error, "os_error", None) or error.__cause__
    return isinstance(reason, ssl.SSLCertVerificationError)


def _certificate_reason(error: BaseException) -> str:
    reason = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error.__cause__
    return str(getattr(reason, "verify_message", "") or "verification failed")


def _ssl_reason(error: aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(error.os_error, "reason", None)
    return str(reason or "the handshake failed").replace("_", " ").lower()

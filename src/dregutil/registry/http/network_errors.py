"""What breaks between us and a server, as errors of ours: the border at which aiohttp's end."""

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
from dregutil.registry.http.deadline import DraggingError

__all__ = ["has_broken_off", "place", "translated"]


def place(url: URL) -> str:
    """Host and port: a path or a query may hold what nobody should read."""
    return url.authority.rpartition("@")[2]


def translated(error: Exception, method: str, url: URL, wait: float) -> DregutilError:
    """An error of aiohttp's as one of ours; without its text where that may hold a URL with a signature.

    `wait` is how many seconds were waited for an answer.
    """
    where = place(url)
    if isinstance(error, aiohttp.ClientConnectorCertificateError) or _is_certificate(error):
        return CertificateError(f"the certificate of {where} is not trusted: {_certificate_reason(error)}")
    if isinstance(error, aiohttp.ClientConnectorSSLError):
        return UnreachableError(f"{where} does not speak TLS as we do: {_ssl_reason(error)}")
    if isinstance(error, aiohttp.ClientProxyConnectionError):
        return UnreachableError(f"the proxy for {where} does not answer")
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return UnreachableError(f"no address is known for {where}")
    if isinstance(error, aiohttp.ClientConnectorError):
        return UnreachableError(f"{where} does not answer: {error.os_error.strerror or 'no connection'}")
    lost = "no answer came" if isinstance(error, TimeoutError) else "the connection broke off"
    if method not in ("GET", "HEAD"):
        return OutcomeUnknownError(f"{lost} to {method} at {where}: whether it was carried out is not known")
    if isinstance(error, DraggingError):
        return ProtocolError(f"{where} sends its answer so slowly that it is not whole after {error.seconds:g} s")
    if isinstance(error, TimeoutError):
        return UnreachableError(f"{where} gave no answer within {wait:g} s")
    if isinstance(error, aiohttp.ClientPayloadError):
        return CutShortError(f"{where} broke off in the middle of an answer")
    if isinstance(error, aiohttp.ClientResponseError):
        return UnreachableError(f"{where} answers something that is not HTTP")
    return UnreachableError(f"{where} broke off the connection")


def has_broken_off(error: UnreachableError) -> bool:
    """Whether a connection was there, and ended before a whole answer had come."""
    kinds = (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError, ConnectionError)
    cause = error.__cause__
    return isinstance(cause, kinds) and not isinstance(cause, aiohttp.ClientConnectorError)


def _is_certificate(error: BaseException) -> bool:
    reason = getattr(error, "os_error", None) or error.__cause__
    return isinstance(reason, ssl.SSLCertVerificationError)


def _certificate_reason(error: BaseException) -> str:
    reason = getattr(error, "certificate_error", None) or getattr(error, "os_error", None) or error.__cause__
    return str(getattr(reason, "verify_message", "") or "it does not verify")


def _ssl_reason(error: aiohttp.ClientConnectorSSLError) -> str:
    reason = getattr(error.os_error, "reason", None)
    return str(reason or "the handshake failed").replace("_", " ").lower()

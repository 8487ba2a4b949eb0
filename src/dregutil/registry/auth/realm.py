"""Which token servers may receive the credentials for a registry.

The registry is not trusted here: it names the URL to which a password would be sent.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from urllib.parse import SplitResult, urlsplit

from dregutil.errors import LoginError

__all__ = ["check_realm", "host_of"]

_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]")
_ADVICE = "nothing was sent to it; check the registry's token realm (auth.token.realm in its configuration)"


def host_of(url: str) -> str:
    """A URL's host and port, for messages: the rest may contain secrets."""
    return urlsplit(url).netloc.rpartition("@")[2]


def check_realm(realm: str, base_url: str, *, has_credentials: bool) -> str:
    """The URL of the token server that the registry at `base_url` named, if it is safe to use.

    Raises LoginError for anything but a plain http(s) URL, for http if the registry uses https, for an address in a
    private network that is not the registry's own, and for http to another host if there are credentials.
    """
    registry = urlsplit(base_url)
    parts, host = _split(realm)
    own_host = (registry.hostname or "").rstrip(".").lower()
    is_own_host = host == own_host or (_is_loopback(host) and _is_loopback(own_host))
    if parts.scheme != "https" and registry.scheme == "https":
        raise LoginError(f"the registry uses https, but its token server {host} does not", advice=_ADVICE)
    if not is_own_host and _is_internal(host):
        raise LoginError(
            f"the registry names {host}, an address in a private network, as its token server", advice=_ADVICE
        )
    if parts.scheme != "https" and has_credentials and not is_own_host:
        raise LoginError(f"the token server {host} is another host and does not use https", advice=_ADVICE)
    return realm.partition("#")[0]


def _split(realm: str) -> tuple[SplitResult, str]:
    """A realm's parts and its host in lower case. Accepts only URLs that all parsers read alike."""
    refusal = LoginError("the URL of the registry's token server is not valid", advice=_ADVICE)
    if not realm.isascii() or not realm.isprintable() or re.search(r"[\s\\<>\"{}|^`]", realm):
        raise refusal
    try:
        parts = urlsplit(realm)
        _ = parts.port
    except ValueError:
        raise refusal from None
    host, _, port = parts.netloc.partition("]") if parts.netloc.startswith("[") else parts.netloc.partition(":")
    spelled = f"{host}]" if host.startswith("[") else host
    has_odd_port = re.fullmatch(r":?[0-9]*", port) is None
    if parts.scheme not in ("http", "https") or not _HOST.fullmatch(spelled) or has_odd_port:
        raise refusal
    return parts, (parts.hostname or "").rstrip(".")


def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that `host` denotes, in any spelling that the resolver accepts (`127.1`, `0x7f000001`); else None."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        try:
            return ipaddress.IPv4Address(socket.inet_aton(host))
        except OSError:
            return None
    return (address.ipv4_mapped or address) if isinstance(address, ipaddress.IPv6Address) else address


def _is_loopback(host: str) -> bool:
    if host == "localhost" or host.endswith(".localhost"):
        return True
    address = _address(host)
    return address is not None and address.is_loopback


def _is_internal(host: str) -> bool:
    address = _address(host)
    return _is_loopback(host) or (address is not None and (not address.is_global or address.is_multicast))

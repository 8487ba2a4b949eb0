"""Addresses to listen on, as options name them."""

from __future__ import annotations

import ipaddress

from dregutil.errors import UsageError

__all__ = ["is_loopback", "listening_address"]


def listening_address(text: str, example: str) -> tuple[str, int]:
    """The host and the port of `HOST:PORT`. Raises UsageError."""
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"--addr {text}: not an address to listen on", advice=f"give HOST:PORT, such as {example}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

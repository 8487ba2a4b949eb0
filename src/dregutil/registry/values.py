"""Answers of a registry, as values."""

from __future__ import annotations

from dataclasses import dataclass

from dregutil.oci.names import Digest

__all__ = ["Login", "Ping", "Resolved"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """The manifest that a tag or digest names. `size` is in bytes, -1 if the server did not say."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Ping:
    """The answer at `/v2/`. `server` and `api_version` are headers, unchanged."""

    status: int
    server: str
    api_version: str


@dataclass(frozen=True, slots=True)
class Login:
    """The credentials in use, without the secret. `scheme` is empty until the registry has requested any."""

    user: str
    source: str
    scheme: str

"""What the registry says, as values."""

from __future__ import annotations

from dataclasses import dataclass

from dregutil.oci.names import Digest

__all__ = ["Login", "Ping", "Resolved"]


@dataclass(frozen=True, slots=True)
class Resolved:
    """What a tag or digest stands for. `size` is in bytes, -1 where the server did not say."""

    digest: Digest
    media_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Ping:
    """What answers at `/v2/`. `server` and `api_version` are headers, as they came."""

    status: int
    server: str
    api_version: str


@dataclass(frozen=True, slots=True)
class Login:
    """Which credentials are used: never the secret. `scheme` is empty while the registry has not asked for any."""

    user: str
    source: str
    scheme: str

"""Which credentials belong to a registry, and where they were found."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from dregutil.reference import RegistryAddress

__all__ = ["CredentialKind", "Credentials", "find_credentials"]

CredentialKind = Literal["password", "identity_token", "bearer"]


@dataclass(frozen=True, slots=True)
class Credentials:
    """A user's proof towards one registry. `source` says in words where it was found."""

    user: str
    secret: str = field(repr=False)
    kind: CredentialKind = "password"
    source: str = "flags"


def find_credentials(address: RegistryAddress, env: Mapping[str, str] = os.environ) -> Credentials | None:
    """The credentials that Docker or podman keeps for `address`; None without any. Raises CredentialError."""
    raise NotImplementedError

"""What a registry has shown of itself: shared by all views of one connection, so that nothing is found out twice."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from dregutil.oci.names import Repository
from dregutil.registry.uncached import Uncached

__all__ = ["Learnt"]


@dataclass
class Learnt:
    """Grows with every answer.

    `manifest_method` is the method that tells a digest here; `heads_worked` are the repositories where HEAD was ever
    answered; `headers` are those of the last answer that names the server; `odd_names` are what the catalog named and
    what cannot be a repository's name.
    """

    uncached: Uncached
    manifest_method: str
    has_referrers: bool | None = None  # not known yet
    asking_for_referrers: asyncio.Lock = field(default_factory=asyncio.Lock)
    heads_worked: set[Repository] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    odd_names: set[str] = field(default_factory=set)

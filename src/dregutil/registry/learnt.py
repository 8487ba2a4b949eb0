"""What a registry has shown about itself, shared by all views of one connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from dregutil.oci.names import Repository
from dregutil.registry.native.api import NativeApi
from dregutil.registry.recognition import Recognition
from dregutil.registry.uncached import Uncached

__all__ = ["Learnt"]


@dataclass
class Learnt:
    """Grows with every answer.

    `manifest_method`: HEAD, or GET if HEAD does not return digests here. `has_referrers`: None until it is known.
    `heads_worked`: the repositories in which a HEAD was answered. `headers`: those of the last ping, or of the first
    list. `odd_names`: names in the catalog that are not valid. `native`: the API of the registry's service.
    """

    uncached: Uncached
    recognition: Recognition
    manifest_method: str
    has_referrers: bool | None = None
    asking_for_referrers: asyncio.Lock = field(default_factory=asyncio.Lock)
    heads_worked: set[Repository] = field(default_factory=set)
    headers: dict[str, str] = field(default_factory=dict)
    odd_names: set[str] = field(default_factory=set)
    native: NativeApi | None = None

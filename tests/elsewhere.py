"""A registry on the loopback whose service's API is at another address, as that of docker.io and ghcr.io is."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from dregutil.registry.native import hosts, services
from dregutil.registry.native.access import Access
from dregutil.registry.native.service import Service
from servers.http import Endpoint

__all__ = ["at_another_host"]


def at_another_host(
    patched: pytest.MonkeyPatch, registry: Endpoint, api: Endpoint, made: Callable[[Access], Service]
) -> None:
    """From now on `made` is the service of `registry`, and its API is at `api`."""
    name = re.compile(re.escape(registry.host))
    patched.setattr(hosts, "OTHER_HOSTS", [(name, api.url), *hosts.OTHER_HOSTS])
    candidate = services.Candidate(lambda address, _: address.netloc == registry.host, made)
    patched.setattr(services, "CANDIDATES", [candidate, *services.CANDIDATES])

"""A registry on the loopback whose service's API is at another address, as that of docker.io and ghcr.io is.

Run as a program, it is `dregutil` for such a registry: REGISTRY API NAME ARGUMENT …, the first two without a scheme.
Where NAME ends in `+sweep`, tags go first as in a large repository.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import pytest

from dregutil.apply import sweep
from dregutil.cli import run
from dregutil.registry.native import hosts, services
from dregutil.registry.native.access import Access
from dregutil.registry.native.docker_hub import DockerHub
from dregutil.registry.native.ecr import Ecr
from dregutil.registry.native.github import GitHub
from dregutil.registry.native.service import Service
from servers.http import Endpoint

__all__ = ["api_elsewhere", "at_another_host"]

_Api = TypeVar("_Api", bound=Endpoint)


def at_another_host(
    patched: pytest.MonkeyPatch, registry: Endpoint, api: Endpoint, made: Callable[[Access], Service]
) -> None:
    """From now on `made` is the service of `registry`, and its API is at `api`."""
    patched.setattr(hosts, "OTHER_HOSTS", [*hosts.OTHER_HOSTS])
    patched.setattr(services, "CANDIDATES", [*services.CANDIDATES])
    _put_before(registry.host, api.host, made)


@contextmanager
def api_elsewhere(
    patched: pytest.MonkeyPatch, registry: Endpoint, api: _Api, made: Callable[[Access], Service]
) -> Iterator[_Api]:
    """The same, as long as `api` runs."""
    with api:
        at_another_host(patched, registry, api, made)
        yield api


def _put_before(registry: str, api: str, made: Callable[[Access], Service]) -> None:
    hosts.OTHER_HOSTS.insert(0, (re.compile(re.escape(registry)), f"http://{api}"))
    services.CANDIDATES.insert(0, services.Candidate(lambda address, _: address.netloc == registry, made))


if __name__ == "__main__":
    named: dict[str, Callable[[Access], Service]] = {"hub": DockerHub, "github": GitHub, "ecr": Ecr}
    name, _, as_large = sys.argv[3].partition("+")
    _put_before(sys.argv[1], sys.argv[2], named[name])
    if as_large:
        vars(sweep)["tags_first_pays"] = lambda _, __: True
    sys.exit(run(sys.argv[4:]))

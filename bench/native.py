"""`python bench/native.py [TAGS]`: the tags of a repository through the API of the registry's service, and one by one.

10,000 tags, which the targets are for, with 20 ms before each answer. The services are simulations
(`tests/servers/native`) with the page sizes of the real ones; an answer is made once, and then repeated, so that making
it costs nothing. Prints a Markdown table.
"""

from __future__ import annotations

import asyncio
import os
import re
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

import support  # noqa: F401 - it sets the path of what follows

import dregutil
from dregutil.oci.names import Repository
from dregutil.registry import reader
from dregutil.registry.native import api, hosts, services
from dregutil.registry.native.access import Access
from dregutil.registry.native.acr import Acr
from dregutil.registry.native.artifactory import Artifactory
from dregutil.registry.native.docker_hub import DockerHub
from dregutil.registry.native.ecr import Ecr
from dregutil.registry.native.github import GitHub
from dregutil.registry.native.gitlab import GitLab
from dregutil.registry.native.google import Google
from dregutil.registry.native.harbor import Harbor
from dregutil.registry.native.nexus import Nexus
from dregutil.registry.native.service import Service
from dregutil.registry.native.services import Candidate
from dregutil.registry.native.zot import Zot
from native_access import hold_image
from servers.http import Answer, Endpoint, Request
from servers.memory import MemoryServer
from servers.native.acr import AcrServer
from servers.native.artifactory import ArtifactoryServer
from servers.native.ecr import EcrServer
from servers.native.github import GhcrRegistry, GitHubApi
from servers.native.gitlab import GitLabServer
from servers.native.google import GoogleServer
from servers.native.harbor import HarborServer
from servers.native.hub import HubApi, HubRegistry
from servers.native.nexus import NexusApi, NexusRegistry
from servers.native.zot import ZotServer

TAGS = 10_000
WEB, KEPT = Repository("shop/web"), Repository("docker-local/web")
DELAY = 0.02  # seconds
_MARK = re.compile(r"[?&]uncached=[0-9a-f]+")


@dataclass(frozen=True)
class Bench:
    """A service: `api` makes the server of its API, where that is at another host. `requests` and `seconds` are the
    targets. `named`: the repository of Nexus, whose API the user names."""

    name: str
    registry: Callable[[], MemoryServer]
    made: Callable[[Access], Service]
    requests: int
    seconds: float | None = None
    api: Callable[[MemoryServer], Endpoint] | None = None
    user: str | None = None
    password: str | None = None
    tags: int = TAGS
    repository: Repository = WEB
    named: str | None = None


BENCHES = (
    Bench("Docker Hub", HubRegistry, DockerHub, 110, 3, HubApi, "ann", "a-secret"),  # type: ignore[arg-type] # a HubRegistry
    Bench("GHCR", GhcrRegistry, GitHub, 110, 3, GitHubApi, "ann", "a-secret"),  # type: ignore[arg-type] # a GhcrRegistry
    Bench("Harbor", HarborServer, Harbor, 110, 3, None, "robot$ci", "a secret of Harbor"),
    Bench("ECR", EcrServer, Ecr, 15, None, lambda registry: registry, "AWS", "a password for docker"),
    Bench("GitLab", GitLabServer, GitLab, 15, None, None, "ann", "a-secret"),
    Bench("Google", GoogleServer, Google, 15, tags=TAGS - 1),  # a list of 10,000 may be cut, and is not used
    Bench("ACR", AcrServer, Acr, 110, None, None, "ann", "a-secret"),
    Bench("zot", ZotServer, Zot, 110),
    Bench(
        "Artifactory",
        ArtifactoryServer,
        Artifactory,
        110,
        None,
        None,
        "ann",
        "a-secret",
        TAGS,
        Repository("docker-local/web"),
    ),
    Bench("Nexus", NexusRegistry, Nexus, 310, None, NexusApi, "ann", "a-secret", named="docker-hosted"),  # type: ignore[arg-type] # a NexusRegistry
)


class Slow:
    """Answers of a server, each made once, and repeated after a delay. `number`: how many were sent."""

    def __init__(self, server: Endpoint) -> None:
        self.number = 0
        self.delay = 0.0
        self._made: dict[tuple[str, str, bytes], Answer] = {}
        self._respond = server.respond
        server.respond = self.respond  # type: ignore[method-assign]

    async def respond(self, request: Request) -> Answer:
        self.number += 1
        key = (request.method, _MARK.sub("", request.target), request.body)
        found = self._made.get(key)
        if found is None:
            found = await self._respond(request)
            if found.status == 200:
                self._made[key] = found
        if self.delay:
            await asyncio.sleep(self.delay)
        return found


def main() -> None:
    os.environ |= {"AWS_ACCESS_KEY_ID": "AKIDTESTS", "AWS_SECRET_ACCESS_KEY": "a secret key of AWS"}
    os.environ |= {"AWS_DEFAULT_REGION": "eu-west-1", "AWS_EC2_METADATA_DISABLED": "true"}
    print("| service | entries a request | requests, seconds | one by one | target |\n|---|---|---|---|---|")
    fewer = int(sys.argv[1]) if len(sys.argv) > 1 else TAGS
    for bench in BENCHES:
        print(f"| {' | '.join(_row(replace(bench, tags=min(bench.tags, fewer))))} |", flush=True)


def _row(bench: Bench) -> Iterator[str]:
    with ExitStack() as stack:
        registry = stack.enter_context(bench.registry())
        for number in range(bench.tags):
            hold_image(registry, bench.repository, f"1.{number}", seed=str(number))
        servers = [Slow(registry)]
        options: dict[str, Any] = {}
        if bench.api is not None:
            other = bench.api(registry)
            if other is not registry:
                stack.enter_context(other)
                servers.append(Slow(other))
            if bench.named is not None:
                options = {"api": other.url, "api_repository": bench.named}
            there = [(re.compile(re.escape(registry.host)), f"http://{other.host}")]
            stack.enter_context(mock.patch.object(hosts, "OTHER_HOSTS", there))
        stack.enter_context(mock.patch.object(reader, "is_google", return_value=bench.made is Google))
        with _service(bench):
            _crawl(bench, registry, servers, **options)  # makes the answers
            own = _crawl(bench, registry, servers, DELAY, **options)
        with (
            mock.patch.object(services, "CANDIDATES", []),
            mock.patch.object(api, "discovered", mock.AsyncMock(return_value=None)),
        ):
            plain = _crawl(bench, registry, servers, DELAY)
    target = f"{bench.requests} requests" + (f", {bench.seconds:g} s" if bench.seconds else "")
    is_met = own[0] <= bench.requests and (bench.seconds is None or own[1] <= bench.seconds)
    yield bench.name
    yield f"{bench.made.page:,}"  # type: ignore[attr-defined] # a class
    yield f"{own[0]:,}, {own[1]:.2f} s"
    yield f"{plain[0]:,}, {plain[1]:.1f} s"
    yield target if bench.tags < TAGS - 1 else f"{target}: {'met' if is_met else 'MISSED'}"


@contextmanager
def _service(bench: Bench) -> Iterator[None]:
    with mock.patch.object(services, "CANDIDATES", [Candidate(lambda *_: True, bench.made)]):
        yield


def _crawl(
    bench: Bench, registry: MemoryServer, servers: list[Slow], delay: float = 0.0, **options: Any
) -> tuple[int, float]:
    """The requests and the seconds that the tags of the repository took."""
    for one in servers:
        one.number, one.delay = 0, delay
    with (
        tempfile.TemporaryDirectory(prefix="dregutil-bench-") as folder,
        dregutil.open(
            registry.url, user=bench.user, password=bench.password, state_dir=folder, contents=None, **options
        ) as opened,
    ):
        began = time.perf_counter()
        found = opened.crawl(bench.repository)
        seconds = time.perf_counter() - began
    if len(found.inventory.tags(bench.repository)) != bench.tags:
        raise RuntimeError(
            f"{bench.name}: {len(found.inventory.tags(bench.repository))} tags; {found.failed} {found.doubted}"
        )
    return sum(one.number for one in servers), seconds


if __name__ == "__main__":
    main()

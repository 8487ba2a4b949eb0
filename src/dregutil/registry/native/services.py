"""Which service's own API a registry has: by its address, its headers, its challenge."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from dregutil.oci.names import RegistryAddress
from dregutil.registry.native.access import Access
from dregutil.registry.native.acr import Acr, is_acr
from dregutil.registry.native.artifactory import Artifactory, is_artifactory
from dregutil.registry.native.docker_hub import DockerHub, is_docker_hub
from dregutil.registry.native.ecr import Ecr, is_ecr
from dregutil.registry.native.github import GitHub, is_github
from dregutil.registry.native.gitlab import GitLab, is_gitlab
from dregutil.registry.native.google import Google, is_google
from dregutil.registry.native.harbor import Harbor, is_harbor
from dregutil.registry.native.nexus import SETTING, Nexus, is_nexus
from dregutil.registry.native.quay import Quay, is_quay
from dregutil.registry.native.service import Service
from dregutil.registry.native.zot import Zot, has_zot_search
from dregutil.registry.paging import PAGE
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["CANDIDATES", "Candidate", "UnnamedService", "discovered", "service_for", "unnamed_service"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A service: `fits` says whether a registry is one of its kind, `made` makes it.

    Before the first answer the evidence has the host only; `fits` is asked again with headers and challenge.
    """

    fits: Callable[[RegistryAddress, Evidence], bool]
    made: Callable[[Access], Service]


# The first that fits. A test puts its simulation, which listens on 127.0.0.1, before the others.
CANDIDATES: list[Candidate] = [
    Candidate(is_docker_hub, DockerHub),
    Candidate(is_github, GitHub),
    Candidate(is_ecr, Ecr),
    Candidate(is_acr, Acr),
    Candidate(is_gitlab, GitLab),
    Candidate(is_google, Google),
    Candidate(is_harbor, Harbor),
    Candidate(is_artifactory, Artifactory),
    Candidate(is_quay, Quay),
]


def service_for(access: Access, evidence: Evidence) -> Service | None:
    """The service of a registry; None if it has none that is known. What the user named comes first."""
    if access.named is not None:
        return Nexus(access) if access.named.repository else GitHub(access)
    for candidate in CANDIDATES:
        if candidate.fits(access.address, evidence):
            return candidate.made(access)
    return None


@dataclass(frozen=True, slots=True)
class UnnamedService:
    """A service whose API can be used once the user names it. `setting` is how, `page` is how many tags one request
    lists."""

    name: str
    setting: str
    page: int

    def requests(self, tags: int) -> int:
        """About how many requests a list of so many tags takes, with those that it is compared with."""
        return 1 + -(-max(tags, 1) // self.page) + 2 * -(-max(tags, 1) // PAGE)


def unnamed_service(evidence: Evidence) -> UnnamedService | None:
    """The service of a registry that the user has to name; None if it is of none that is known."""
    return UnnamedService(Nexus.name, SETTING, Nexus.page) if is_nexus(evidence) else None


async def discovered(access: Access, evidence: Evidence) -> Service | None:
    """The service of a registry that shows nothing of its kind, found out by a request; None if it has none that is
    known. Raises what reading a registry raises."""
    if name_server(evidence).is_particular or not await has_zot_search(access):
        return None
    return Zot(access)

"""Which registry software answers, and what does not work there with the registry API. Pure.

The name only helps people: what a server can do is found out by requests, never inferred from its name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["KINDS", "Evidence", "ServerKind", "name_server"]


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a registry shows at `/v2/`: its host, headers (names in lower case), the realm of its challenge."""

    host: str
    headers: Mapping[str, str] = field(default_factory=dict)
    realm: str = ""
    service: str = ""


@dataclass(frozen=True, slots=True)
class ServerKind:
    """A kind of registry.

    `limits`: what does not work there, each with the workaround. `deletion`: what to do if it refuses to delete; empty
    if the usual advice applies. `counts_pulls`: reading a manifest counts as a pull, for a limit or for statistics of
    use. `limits_pulls`: the limit is low.
    """

    name: str
    limits: tuple[str, ...] = ()
    deletion: str = ""
    counts_pulls: bool = False
    limits_pulls: bool = False

    @property
    def is_particular(self) -> bool:
        """Whether it is one kind of registry, and not any that behaves like distribution."""
        return self not in (_DISTRIBUTION, _UNKNOWN)


_LIST = "give the repositories with --repositories-from FILE"
_HUB = ServerKind(
    "Docker Hub",
    (
        f"no catalog: {_LIST}",
        "reading a manifest counts as a pull, resolving a tag does not",
        "what a tag or an index refers to is not deleted: its tags go first, by the API of hub.docker.com",
    ),
    "log in with a personal access token that may read, write and delete; a mirror of Docker Hub deletes nothing",
    counts_pulls=True,
    limits_pulls=True,
)
_GHCR = ServerKind(
    "GitHub Container Registry",
    (
        f"no catalog: {_LIST}",
        "no referrers API: only signatures by tag are seen",
        "only the API of api.github.com deletes: 180 a minute, and neither the last tagged version of a package nor "
        "what was downloaded more than 5,000 times",
    ),
    "log in with a classic personal access token with read:packages and delete:packages, of an admin of the package",
)
_ECR = ServerKind(
    "Amazon ECR",
    (
        "its password expires after 12 hours: use the helper docker-credential-ecr-login",
        "an image is deleted with its last tag",
        "that password does not open ECR's own API, which needs credentials of AWS (AWS_PROFILE, a role) and botocore",
    ),
    "where the registry API refuses: aws ecr batch-delete-image --repository-name NAME --image-ids imageDigest=…",
    counts_pulls=True,
)
_GOOGLE = ServerKind(
    "Google Artifact Registry",
    ("a digest can be deleted only without tags: the tags are removed first",),
    "where the registry API refuses: gcloud artifacts docker images delete IMAGE@DIGEST --delete-tags",
)
_ACR = ServerKind(
    "Azure Container Registry",
    ("the registry API deletes no tag by its name: ACR's own API does, where the login has metadata rights",),
    "check for a lock or a retention policy: az acr repository show --name REGISTRY --image IMAGE",
)
_QUAY = ServerKind(
    "Quay",
    ("the catalog shows what the login may see", "untagged manifests cannot be deleted: Quay collects them itself"),
    "Quay needs write permission; immutable tags can only be deleted in its own interface",
)
_HARBOR = ServerKind(
    "Harbor",
    (
        "the catalog is for administrators: " + _LIST,
        "the registry API deletes no tag by its name: Harbor's own API does, with a password",
    ),
    "check the project's settings for immutability and retention rules",
    counts_pulls=True,
)
_GITLAB = ServerKind(
    "GitLab",
    (f"no catalog on gitlab.com: {_LIST}", "deletion by tag alone since 16.4"),
    "check the project's protected container tags and the role of the token (it needs write access)",
)
_NEXUS = ServerKind(
    "Sonatype Nexus",
    ("tags may stay listed after their manifest is deleted: remove them in its own interface",),
    "allow redeployment and deletion in the repository's settings; a proxy or group repository deletes nothing",
    counts_pulls=True,
)
_ARTIFACTORY = ServerKind(
    "JFrog Artifactory",
    ("the children of a deleted index stay",),
    "the login needs the delete permission; a remote or virtual repository deletes nothing",
    counts_pulls=True,
)
_ZOT = ServerKind(
    "zot", ("a child of an index can be deleted only after the index",), "check the access control in its http section"
)
_DISTRIBUTION = ServerKind("distribution, or something that behaves like it")
_UNKNOWN = ServerKind("not known")
KINDS = (_DISTRIBUTION, _HUB, _GHCR, _ECR, _GOOGLE, _ACR, _QUAY, _HARBOR, _GITLAB, _NEXUS, _ARTIFACTORY, _ZOT)

_HOSTS = (
    (re.compile(r"(?:.*\.)?docker\.io"), _HUB),
    (re.compile(r"ghcr\.io"), _GHCR),
    (re.compile(r".*\.dkr\.ecr(?:-fips)?\..*\.amazonaws\.com(?:\.cn)?|public\.ecr\.aws"), _ECR),
    (re.compile(r"(?:.*\.)?gcr\.io|.*-docker\.pkg\.dev"), _GOOGLE),
    (re.compile(r".*\.azurecr\.(?:io|cn|us)"), _ACR),
    (re.compile(r"(?:.*\.)?quay\.io"), _QUAY),
    (re.compile(r"registry\.gitlab\.com"), _GITLAB),
)


def name_server(evidence: Evidence) -> ServerKind:
    """The kind of registry: by its own headers, else by known hosts, else by the token server."""
    return _by_headers(evidence) or _by_host(evidence.host) or _by_realm(evidence) or _by_version(evidence)


def _by_headers(evidence: Evidence) -> ServerKind | None:
    headers = evidence.headers
    server = headers.get("server", "").lower()
    if "gitlab-container-registry-version" in headers:
        return _GITLAB
    if "x-jfrog-version" in headers or "x-artifactory-id" in headers or server.startswith("artifactory"):
        return _ARTIFACTORY
    if server.startswith("nexus/"):
        return _NEXUS
    if server.startswith("azurecontainerregistry"):
        return _ACR
    return None


def _by_host(host: str) -> ServerKind | None:
    return next((kind for pattern, kind in _HOSTS if pattern.fullmatch(host.lower())), None)


def _by_realm(evidence: Evidence) -> ServerKind | None:
    try:
        parts = urlsplit(evidence.realm)
        found = _by_host(parts.hostname or "")
    except ValueError:
        return None
    if found is not None:
        return found
    if evidence.service == "harbor-registry" or parts.path == "/service/token":
        return _HARBOR
    if parts.path == "/jwt/auth":
        return _GITLAB
    if parts.path.endswith("/v2/auth"):
        return _QUAY
    return _NEXUS if "sonatype nexus" in evidence.realm.lower() else None


def _by_version(evidence: Evidence) -> ServerKind:
    if evidence.headers.get("docker-distribution-api-version", "").startswith("registry/2"):
        return _DISTRIBUTION
    return _UNKNOWN

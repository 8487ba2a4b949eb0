"""Docker Hub's own API at hub.docker.com: it lists tags with what they name, and deletes a tag.

The list and the login are described in docs.docker.com/reference/api/hub/latest, the deletion of a tag in
docker/hub-tool, pkg/hub/tags.go. A manifest is deleted by the distribution API at registry-1.docker.io: 202, or 403
while a tag or an index refers to it (docs.docker.com/reference/api/registry/latest, DeleteImageManifest).

`Entry.size` is that of one platform. `Entry.pushed` is when a tag was last moved onto it.
"""

from __future__ import annotations

import copy
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any, Self

import msgspec

from dregutil import clock
from dregutil.errors import DeniedError, LoginError, NoListingError, OutcomeUnknownError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.auth.authenticator import TokenFetch, TokenRequest
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.client import ApiClient, encoded
from dregutil.registry.native.hosts import other_host
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.native.service import MayReturn
from dregutil.registry.server_kind import Evidence

__all__ = ["CRAWLED", "DockerHub", "is_docker_hub"]

CRAWLED = "Docker Hub counts the pulls of crawlers, which read every tag: a pull time does not show use"
_PAGE = 100
_FRESH = 30.0  # seconds: a deletion rests on what was read just before
_RIGHTS = "docker login with a personal access token that may read, write and delete"


def is_docker_hub(address: RegistryAddress, evidence: Evidence) -> bool:  # noqa: ARG001 - the interface
    """Whether a registry is Docker Hub itself, by its exact name; a mirror of it has not its API."""
    return address.identity == "docker.io" and other_host(address) is not None


class DockerHub:
    """Lists tags, and deletes them one by one. Public repositories are listed without a login as well."""

    name = "Docker Hub's API"
    page = _PAGE
    keeps_layers_apart = True
    reading_counts = True
    deletes_tags = True
    deletes_manifests = False
    restores = False
    tags_first = True
    deletes_at_once = 1

    def __init__(self, access: Access) -> None:
        self._access = access
        self._writes = False
        self._clients: dict[Credentials | None, ApiClient] = {}

    def writing(self) -> Self:
        found = copy.copy(self)
        found._writes = True  # noqa: SLF001 - its own class
        return found

    async def listing(self, repository: Repository) -> Listing:
        """See `Service`. It is complete if as many tags were read as the service counts, each with a digest."""
        client = self._client(repository)
        path = f"{_path('/v2/namespaces/{}/repositories/{}', repository)}/tags"

        async def ask(page: int) -> Any:
            document, _ = await client.get(path, {"page": page, "page_size": _PAGE})
            return document

        try:
            first = await ask(1)
            count = fields.number(first.get("count")) if isinstance(first, dict) else None
            if count is None:
                raise NoListingError(f"{self.name}: its answer does not have the form that dregutil knows")
            rest = await client.numbered(ask, range(2, -(-count // _PAGE) + 1))
        except LoginError as error:
            raise NoListingError(error.message, advice=error.advice, is_everywhere=True) from error
        found = [tag for page in (first, *rest) for tag in self._tags_in(page)]
        return _listing(found, count)

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """See `Service`. Raises DeniedError without a password or token, which is what the API wants."""
        what = f"delete the tag {repository}:{tag}"
        if self._access.password(repository) is None:
            raise DeniedError(f"{self.name} could not {what}: it needs a login with a password or a token")
        client = self._client(repository)
        path = f"{_path('/v2/repositories/{}/{}', repository)}/tags/{encoded(tag)}/"
        try:
            answer = await client.change("DELETE", path, begun_by=clock.now() + _FRESH)
        except OutcomeUnknownError as error:
            if error.status != 500:
                raise
            # Reported for logins without the right to delete: docker/hub-feedback#2398.
            message = f"{error.message} (it may answer like this to a login that may not delete)"
            raise OutcomeUnknownError(message, status=500) from error
        if 200 <= answer.status < 300:
            return True
        if answer.status == 404:
            return False
        refused = client.refused(answer, what)
        if answer.status == 403:
            refused.advice = _RIGHTS
        raise refused

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Never called: see `deletes_manifests`."""
        raise NotImplementedError

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        """Never called: see `restores`."""
        raise NotImplementedError

    def _tags_in(self, page: Any) -> Iterable[dict[str, Any]]:
        return fields.dicts(page.get("results") if isinstance(page, dict) else page, self.name)

    def _client(self, repository: Repository) -> ApiClient:
        """The API with the login for a repository; without one that it takes, as anybody."""
        credentials = self._access.password(repository)
        if credentials not in self._clients:
            login = ApiLogin()
            base = other_host(self._access.address)
            if credentials is not None and base is not None:
                login = _login(base, credentials)
            self._clients[credentials] = self._access.elsewhere(self.name, login)
        found = self._clients[credentials]
        return found.writing() if self._writes else found


def _listing(found: Iterable[dict[str, Any]], count: int) -> Listing:
    """The tags by their digests. A tag that a push moved from one page to another while they were read counts once."""
    tags_of: dict[Digest, dict[Tag, dict[str, Any]]] = defaultdict(dict)
    names: set[Tag] = set()
    without = 0
    for row in found:
        digest = fields.digest(row.get("digest"))
        for tag in fields.tags([row.get("name")]):
            if tag in names:
                continue
            names.add(tag)
            if digest is None:
                without += 1
            else:
                tags_of[digest][tag] = row
    doubts = [CRAWLED]
    if without:
        doubts.append(f"Docker Hub does not say what {without:,} tag{'s' * (without > 1)} name{'s' * (without == 1)}")
    if len(names) < count:
        doubts.append(f"Docker Hub listed {len(names):,} tags, and counts {count:,}")
    entries = tuple(_entry(digest, rows) for digest, rows in tags_of.items())
    return Listing(entries, is_complete=not without and len(names) >= count, doubts=tuple(doubts))


def _entry(digest: Digest, rows: Mapping[Tag, dict[str, Any]]) -> Entry:
    first = next(iter(rows.values()))
    return Entry(
        digest,
        tuple(rows),
        media_type=fields.text(first, "media_type"),
        size=fields.number(first.get("full_size")),
        pushed=_latest(row.get("tag_last_pushed") for row in rows.values()),
        pulled=_latest(row.get("tag_last_pulled") for row in rows.values()),
    )


def _latest(times: Iterable[object]) -> datetime | None:
    return fields.latest(map(fields.time, times))


def _login(base: str, credentials: Credentials) -> ApiLogin:
    """A login that exchanges the password, or an access token, for a bearer token."""

    async def log_in(fetch: TokenFetch) -> Mapping[str, str]:
        body = json.dumps({"identifier": credentials.user, "secret": credentials.secret}).encode()
        status, answer = await fetch(TokenRequest("POST", f"{base}/v2/auth/token", json=body))
        try:
            found = msgspec.json.decode(answer)
        except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
            found = None
        token = fields.text(found, "access_token")
        if status != 200 or not token:
            raise LoginError(f"Docker Hub's API did not accept the login {credentials.user!r} (status {status})")
        return {"Authorization": f"Bearer {token}"}

    return ApiLogin(log_in=log_in, secrets=(credentials.secret,))


def _path(template: str, repository: Repository) -> str:
    """The path with namespace and name filled in. Raises NoListingError where the repository has no namespace."""
    namespace, found, name = repository.partition("/")
    if not found:
        raise NoListingError(f"Docker Hub's API has no repository without a namespace: {repository}")
    return template.format(encoded(namespace), encoded(name))

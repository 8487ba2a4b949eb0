"""GitHub's Packages API for ghcr.io, at api.github.com: it lists versions, deletes and restores them.

A version is a digest with all its tags (docs.github.com/rest/packages; the types of @octokit/openapi-types 29.0.1).
Deleting it takes the tags along; within 30 days it can be restored with them. One tag of two cannot be deleted: there a
placeholder takes the tag, and is deleted.

The API wants a classic personal access token with `read:packages` and `delete:packages`, or `GITHUB_TOKEN`; as the
password of `docker login` it is used as it is. It says neither sizes nor media types, nor what an index holds.
"""

from __future__ import annotations

import asyncio
import copy
import re
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Self

from dregutil import clock
from dregutil.errors import DregutilError, NoListingError, PushedBackError, RegistryError
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.auth.credentials import Credentials
from dregutil.registry.http.retry import asked_wait
from dregutil.registry.http.transport import Answer
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.client import ApiClient, encoded
from dregutil.registry.native.hosts import other_host
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.native.points import Points
from dregutil.registry.native.service import MayReturn
from dregutil.registry.server_kind import Evidence

__all__ = ["GitHub", "is_github"]

_PAGE = 100
_FRESH = 30.0  # seconds: a deletion rests on what was read just before
_POINTS = 900  # a minute, of which a GET costs 1 and a write 5: the secondary limit, 180 deletions
_WRITE = 5
_AGED = 10.0  # seconds, after which what is not in a list of deleted versions is sought in a new one
_LOOKS = 3  # at the list, for a version that was just pushed or just denied
_TOKEN = "give a classic personal access token with read:packages and delete:packages; others are not supported"  # noqa: S105 - advice
_LAST = re.compile(r'<([^>]*)>\s*;[^,]*\brel="?last"?')
_NUMBER = re.compile(r"[?&]page=(\d{1,6})(?:&|$)")
_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}


def is_github(address: RegistryAddress, evidence: Evidence) -> bool:  # noqa: ARG001 - the interface
    """Whether a registry is GHCR, by its exact name."""
    return address.identity == "ghcr.io" and other_host(address) is not None


class GitHub:
    """Lists versions, deletes and restores them. It caches their numbers: a number never changes its digest."""

    name = "GitHub's Packages API"
    page = _PAGE
    keeps_layers_apart = False
    reading_counts = False
    deletes_tags = False
    deletes_manifests = True
    restores = True
    tags_first = False
    deletes_at_once = 1

    def __init__(self, access: Access) -> None:
        self._access = access
        self._writes = False
        self._clients: dict[Credentials, ApiClient] = {}
        self._bases: dict[tuple[Credentials, str], str] = {}  # of the owner's packages
        self._numbers: dict[tuple[Repository, Digest], str] = {}
        self._deleted: dict[Repository, dict[Digest, Entry]] = {}
        self._deleted_at: dict[Repository, float] = {}
        self._listing_deleted = asyncio.Lock()
        self._points = Points(_POINTS)

    def writing(self) -> Self:
        found = copy.copy(self)
        found._writes = True  # noqa: SLF001 - its own class
        return found

    async def listing(self, repository: Repository) -> Listing:
        """See `Service`. A version that is deleted while the pages are read may hide another one: compare the tags."""
        versions = await self._versions(repository, "active")
        entries = {entry.digest: entry for entry in map(_entry, versions) if entry is not None}
        return Listing(
            tuple(entries.values()), is_complete=len(entries) == len({*map(_number, versions)}), has_untagged=True
        )

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """Never called: see `deletes_tags`."""
        raise NotImplementedError

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """See `Service`.

        A 404 may be about the package and be wrong (actions/delete-package-versions#237), so the list decides.
        """
        until = clock.now() + _FRESH
        what = f"delete {digest.short} of {repository}"
        for attempt in range(_LOOKS):
            number = self._numbers.get((repository, digest)) or await self._look_up(repository, digest)
            if not number:
                return False
            answer = await self._change("DELETE", repository, f"/{number}", what, until)
            if answer.status < 300 or answer.status == 404:
                self._numbers.pop((repository, digest), None)
                self._deleted_at.pop(repository, None)
            if answer.status < 300:
                return True
            if answer.status != 404:
                raise await self._refused(repository, answer, what)
            await asyncio.sleep(attempt)
        raise RegistryError(
            f"{self.name} could not {what}: it lists that version, and does not find it (status 404)", status=404
        )

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        """See `Service`. GitHub keeps what was deleted for 30 days."""
        what = f"restore {digest.short} of {repository}"
        for _ in range(2):  # what was listed before may have been restored, and deleted again
            entry = await self._deleted_entry(repository, digest)
            if entry is None or not await may_return(entry.tags):
                return False
            answer = await self._change("POST", repository, f"/{entry.key}/restore", what, clock.now() + _FRESH)
            if answer.status in (401, 403):
                raise await self._refused(repository, answer, what)
            self._deleted.get(repository, {}).pop(digest, None)
            if answer.status < 300:
                return True
        return False

    async def _deleted_entry(self, repository: Repository, digest: Digest) -> Entry | None:
        """A deleted version. One list serves many, until something else is deleted."""
        async with self._listing_deleted:
            at, found = self._deleted_at.get(repository, 0.0), self._deleted.get(repository, {}).get(digest)
            if found is None and time.monotonic() >= at + _AGED:
                entries = map(_entry, await self._versions(repository, "deleted"))
                self._deleted[repository] = {entry.digest: entry for entry in entries if entry is not None}
                self._deleted_at[repository] = time.monotonic()
                found = self._deleted[repository].get(digest)
            return found

    async def _look_up(self, repository: Repository, digest: Digest) -> str:
        """The number of a version that was not listed before; empty if it is not there.

        The list may lag behind what was just pushed, and may be denied for a moment.
        """
        for attempt in range(_LOOKS):
            await asyncio.sleep(attempt)
            try:
                await self._versions(repository, "active", digest)
            except NoListingError:
                if attempt == _LOOKS - 1:
                    raise
            if number := self._numbers.get((repository, digest)):
                return number
        return ""

    async def _versions(self, repository: Repository, state: str, until: Digest | None = None) -> list[dict[str, Any]]:
        """The versions of a package, up to the page with `until`. The numbers of active ones are remembered."""
        client, path = await self._package(repository)

        async def ask(page: int) -> tuple[list[dict[str, Any]], int]:
            await self._points.spend(1)
            query: dict[str, str | int] = {"per_page": _PAGE, "page": page, "state": state}
            document, answer = await client.get(path, query, headers=_HEADERS)
            return list(fields.dicts(document, self.name)), _last_page(answer)

        found, last = await ask(1)
        rows, page = list(found), 1
        if until is None:
            for found, _ in await client.numbered(ask, range(2, last + 1)):
                rows += found
                page += 1
        # One page after the other, where the digest may be on the next, or the last is full: more may have come.
        while len(found) >= _PAGE and not any(version.get("name") == until for version in found):
            page += 1
            found, _ = await ask(page)
            rows += found
        if state == "active":
            entries = (entry for entry in map(_entry, rows) if entry is not None)
            self._numbers.update({(repository, entry.digest): entry.key for entry in entries})
        return rows

    async def _change(self, method: str, repository: Repository, rest: str, what: str, until: float) -> Answer:
        """Send a write, and again where the secondary limit refuses it. Raises PushedBackError after `until`."""
        client, path = await self._package(repository)
        while True:
            await self._points.spend(_WRITE)
            answer = await client.change(method, f"{path}{rest}", headers=_HEADERS, begun_by=until)
            wait = asked_wait(answer.headers, datetime.now(UTC))
            if answer.status != 403 or wait is None:
                return answer
            if clock.now() + wait > until:
                await asyncio.sleep(wait)
                raise PushedBackError(f"{self.name} limits requests: it did not {what}")
            await asyncio.sleep(wait)

    async def _refused(self, repository: Repository, answer: Answer, what: str) -> DregutilError:
        client, _ = await self._package(repository)
        error = client.refused(answer, what)
        if answer.status in (401, 403):
            error.advice = _TOKEN
        elif answer.status == 400:
            error.advice = "GitHub keeps the last tagged version, and what was downloaded more than 5,000 times"
        return error

    async def _package(self, repository: Repository) -> tuple[ApiClient, str]:
        """The API with the login for a repository, and the path of its versions there.

        Raises NoListingError without a token, and where the owner is not known.
        """
        credentials = self._access.password(repository)
        if credentials is None or not credentials.secret:
            raise NoListingError(f"{self.name} wants a login", advice=_TOKEN, is_everywhere=True)
        client = self._clients.get(credentials)
        if client is None:
            login = ApiLogin.bearer(credentials.secret)
            client = self._clients[credentials] = self._access.elsewhere(self.name, login)
        owner, _, name = repository.partition("/")
        key = credentials, owner
        if key not in self._bases:
            self._bases[key] = await self._base(client, owner)
        path = f"{self._bases[key]}/packages/container/{encoded(name)}/versions"
        return (client.writing() if self._writes else client), path

    async def _base(self, client: ApiClient, owner: str) -> str:
        """The path of an owner's packages: of an organization, of the user whose token this is, or of another user.

        `/user` is only used for packages of that very user: another one may have a package of the same name.
        """
        found, _ = await client.get(f"/users/{encoded(owner)}", headers=_HEADERS)
        if fields.text(found, "type") == "Organization":
            return f"/orgs/{encoded(owner)}"
        me, _ = await client.get("/user", headers=_HEADERS)
        if fields.text(me, "login").lower() == owner.lower():
            return "/user"
        return f"/users/{encoded(owner)}"


def _entry(version: Mapping[str, Any]) -> Entry | None:
    """A version as an entry; None for what is no manifest."""
    digest, number = fields.digest(version.get("name")), _number(version)
    if digest is None or not number:
        return None
    metadata = version.get("metadata")
    container = metadata.get("container") if isinstance(metadata, dict) else None
    tags = fields.tags(container.get("tags") if isinstance(container, dict) else None)
    return Entry(digest, tags, pushed=fields.time(version.get("created_at")), key=number)


def _number(version: Mapping[str, Any]) -> str:
    found = fields.number(version.get("id"))
    return "" if found is None else str(found)


def _last_page(answer: Answer) -> int:
    """The number of the last page, by the Link header; 1 without one. Its host and path are not used."""
    for header in answer.headers.getall("Link", []):
        link = _LAST.search(header)
        number = _NUMBER.search(link[1]) if link else None
        if number:
            return int(number[1])
    return 1

"""The endpoints of a registry that read, as typed calls (OCI distribution-spec; comments say where servers differ).

`Registry` reads; `writer.WritableRegistry` also deletes and puts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any

from yarl import URL

from dregutil.errors import (
    CatalogClosedError,
    CutShortError,
    DeniedError,
    DigestMismatchError,
    DregutilError,
    LoginError,
    NoCatalogError,
    ProtocolError,
    RegistryError,
    UsageError,
)
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, OCI_INDEX, Descriptor, Manifest, bare_media_type, parse_manifest
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.answers import digest_of, doubtful, error_details, failure, length_of, referrers_in
from dregutil.registry.http.transport import Answer, Transport
from dregutil.registry.learnt import Learnt
from dregutil.registry.native.access import Access
from dregutil.registry.native.api import NativeApi
from dregutil.registry.native.google import LONGEST_LIST, is_google
from dregutil.registry.paging import PAGE, follow_links, name_pages, names_of
from dregutil.registry.recognition import Recognition, shows_registry
from dregutil.registry.server_kind import Evidence, ServerKind, name_server
from dregutil.registry.uncached import NO_CACHE, Uncached
from dregutil.registry.values import Login, Ping, Resolved

__all__ = ["Login", "Ping", "Registry", "Resolved"]

_ACCEPT_REFERRERS = {"Accept": OCI_INDEX, **NO_CACHE}
_CATALOG_SCOPES = ("registry:catalog:*",)
_NO_CATALOG = (400, 404, 405, 406, 410, 501)  # on GHCR and others
_DENIED_HEAD = (400, 404, 405, 501)
_NOTHING = Digest(f"sha256:{'0' * 64}")


class Registry:
    """Reads a registry, and cannot change it: its transport sends GET and HEAD only."""

    def __init__(
        self,
        address: RegistryAddress,
        transport: Transport,
        login: Callable[[str], Login],
        *,
        use_get_manifest: bool = False,
        concurrency: int = 32,
        learnt: Learnt | None = None,
    ) -> None:
        """`learnt`: what the views of one connection share."""
        self.address = address
        self.concurrency = concurrency
        self._transport = transport
        self._login = login
        self._learnt = learnt or Learnt(
            Uncached(transport), Recognition(transport), "GET" if use_get_manifest else "HEAD"
        )
        transport.examine = self._learnt.recognition.examine
        self._pull_scopes: dict[Repository, tuple[str, ...]] = {}
        self.limits_pulls = name_server(Evidence(address.host)).limits_pulls
        """Whether reading a manifest counts against a low limit of pulls."""

    @property
    def repositories_at_once(self) -> int:
        """How many repositories are worked on at once: while some wait for their last answers, others send requests."""
        return max(4, self.concurrency // 2)

    @property
    def login(self) -> Login:
        """The login for the registry as a whole."""
        return self._login("")

    @property
    def scoped_logins(self) -> Mapping[str, Login]:
        """The logins of namespaces that have their own."""
        return {path: self._login(path) for path in self._transport.scoped_paths}

    @property
    def kind(self) -> ServerKind:
        """Which registry software this seems to be, from what it has shown so far."""
        return name_server(self.evidence)

    @property
    def evidence(self) -> Evidence:
        """What the registry has shown about itself so far."""
        realm, service = self._transport.token_server
        return Evidence(self.address.host, self._learnt.headers, realm, service)

    @property
    def native(self) -> NativeApi | None:
        """The API of the registry's service, if this connection may use one."""
        return self._learnt.native

    def attach(self, access: Access) -> None:
        """Let the service's own API be used."""
        self._learnt.native = NativeApi(access, lambda: self.evidence)

    @property
    def odd_names(self) -> Set[str]:
        """Names in the catalog, as far as it was read, that are not valid names of a repository."""
        return self._learnt.odd_names

    @property
    def has_referrers(self) -> bool | None:
        """Whether the registry has the referrers API; None if that is not known yet."""
        return self._learnt.has_referrers

    @property
    def request_seconds(self) -> float:
        """The current time for a request, roughly, with others in flight."""
        return self._transport.pace.seconds

    @property
    def allowed_rate(self) -> float | None:
        """The requests per second that a registry accepts which pushes back; None if it does not push back."""
        throttle = self._transport.gate.throttle
        return throttle.rate(time.monotonic()) if throttle.is_limited else None

    @property
    def cached(self) -> Set[Repository]:
        """The repositories for which a cache answered in place of the registry, twice."""
        return self._learnt.uncached.cached

    async def ping(self) -> Ping:
        """Check that a registry answers, and accepts the login.

        Raises UnreachableError, CertificateError, LoginError, DeniedError, NoRegistryError.
        """
        answer = await self._learnt.recognition.ping()
        self._learnt.headers = {name.lower(): value for name, value in answer.headers.items()}
        self._learnt.recognition.check(answer)
        if answer.status in (401, 403):
            raise self._failure(answer, "log in")
        version = answer.headers.get("Docker-Distribution-Api-Version", "")
        return Ping(answer.status, answer.headers.get("Server", ""), version)

    async def repositories(self) -> AsyncIterator[Repository]:
        """The whole catalog. Raises UnlistableError if it is cut short, CatalogClosedError if this login cannot list
        it, or there is none."""
        has_begun = False
        try:
            async for page, _ in self._pages("/v2/_catalog", _CATALOG_SCOPES, "read the catalog"):
                has_begun = True
                for name in names_of(page, "repositories", Repository.parse, self._learnt.odd_names.add):
                    yield name
        except (LoginError, DeniedError, RegistryError) as error:
            if has_begun or not self._learnt.recognition.is_registry:
                raise
            raise await self._closed_catalog(error) from error

    async def _closed_catalog(self, error: LoginError | DeniedError | RegistryError) -> DregutilError:
        """The error for a catalog that cannot be read, for the reason in `error`."""
        advice = CatalogClosedError.default_advice
        if isinstance(error, RegistryError):
            if error.status not in _NO_CATALOG:
                return error
            return NoCatalogError(f"could not read the catalog: the registry has none (status {error.status})")
        if isinstance(error, LoginError) and self.login.scheme and not await self._learnt.recognition.accepts():
            return error  # the login itself is wrong
        if not self.login.user:
            advice = f"{LoginError.default_advice}; or {advice}"
        return CatalogClosedError(error.message, advice=advice)

    async def tags(self, repository: Repository) -> tuple[Tag, ...]:
        """All tags; none if the repository does not exist. Raises UnlistableError if the list is cut short."""
        found: dict[Tag, None] = {}
        async for tags, _ in self.tag_pages(repository):
            found.update(dict.fromkeys(tags))
        return tuple(found)

    async def tag_pages(self, repository: Repository) -> AsyncGenerator[tuple[Sequence[Tag], bool], None]:
        """The list of tags as it is read, page by page, each with whether it is certainly the last. As `tags`."""
        path = f"/v2/{repository}/tags/list"
        what, size = f"list the tags of {repository}", LONGEST_LIST if is_google(self.address) else PAGE
        async for page, last in self._pages(path, self._pull(repository), what, repository, size):
            yield names_of(page, "tags", Tag.parse), last

    async def resolve(self, repository: Repository, reference: Tag | Digest, *, agent: str = "") -> Resolved | None:
        """The digest that `reference` names; None if the registry has no such manifest. `agent` is sent as User-Agent.

        If the server names no digest, the manifest is read and hashed. Old Nexus answers 404 to every HEAD: until one
        was answered in a repository, a denied HEAD is followed by a GET, and if that works no HEAD is sent again.
        """
        method = self._learnt.manifest_method
        answer = await self._learnt.uncached.manifest(method, repository, reference, self._pull(repository), agent)
        if method == "HEAD" and answer.status == 200:
            self._learnt.heads_worked.add(repository)
        elif method == "HEAD" and answer.status in _DENIED_HEAD and repository not in self._learnt.heads_worked:
            return await self._resolve_by_get(repository, reference)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._failure(answer, f"read {repository}:{reference}", repository)
        named = answer.headers.get("Docker-Content-Digest", "")
        media_type = bare_media_type(answer.headers.get("Content-Type", ""))
        if not named or not media_type:
            return await self._resolve_by_get(repository, reference)
        try:
            digest = Digest.parse(named)
        except UsageError as error:
            raise ProtocolError(f"the registry names an invalid digest for {repository}:{reference}") from error
        tagged = answer.headers.get("ETag", "").strip('"')
        if tagged != digest and tagged.startswith("sha256:") and named.startswith("sha256:"):
            raise DigestMismatchError(f"the registry names two digests for {repository}:{reference} in one answer")
        if isinstance(reference, Digest) and digest != reference:
            raise DigestMismatchError(f"asked for {reference.short} of {repository}, the registry names {digest.short}")
        return Resolved(digest, media_type, length_of(answer))

    async def _resolve_by_get(self, repository: Repository, reference: Tag | Digest) -> Resolved | None:
        """The same, from the manifest itself. If that works, no HEAD is sent to this server any more."""
        manifest = await self.manifest(repository, reference)
        if manifest is None:
            return None
        self._learnt.manifest_method = "GET"
        return Resolved(manifest.digest, manifest.media_type, len(manifest.raw))

    async def find(self, repository: Repository, reference: Tag | Digest) -> Resolved | None:
        """As `resolve`, for a reference that is probably absent: one request, even if no HEAD was answered before."""
        if repository in self._learnt.heads_worked:
            return await self.resolve(repository, reference)
        manifest = await self.manifest(repository, reference)
        return None if manifest is None else Resolved(manifest.digest, manifest.media_type, len(manifest.raw))

    async def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """The manifest, checked against its digest; None if there is none.

        Raises DigestMismatchError, and ManifestError if it cannot be parsed.
        """
        answer = await self._learnt.uncached.manifest("GET", repository, reference, self._pull(repository))
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._failure(answer, f"read {repository}:{reference}", repository)
        media_type = bare_media_type(answer.headers.get("Content-Type", ""))
        digest = digest_of(answer, media_type, repository, reference)
        return parse_manifest(answer.body, media_type, digest)

    async def referrers(self, repository: Repository, subject: Digest) -> tuple[Descriptor, ...] | None:
        """What refers to `subject`, by the server's referrers API; None if it has no such API.

        The first answer shows whether it has one: other calls wait for it.
        """
        if self._learnt.has_referrers is None:
            async with self._learnt.asking_for_referrers:
                if self._learnt.has_referrers is None:
                    return await self._list_referrers(repository, subject)
        return await self._list_referrers(repository, subject) if self._learnt.has_referrers else None

    async def _list_referrers(self, repository: Repository, subject: Digest) -> tuple[Descriptor, ...] | None:
        found: dict[Digest, Descriptor] = {}
        what = f"list what refers to {subject.short} in {repository}"

        async def ask(url: URL) -> Answer:
            return await self._transport.send(
                "GET", url, self._pull(repository), headers=_ACCEPT_REFERRERS, longest=MAX_MANIFEST_BYTES
            )

        def read(answer: Answer) -> Sequence[object] | None:
            if answer.status == 404 and not found:
                # With the API the answer has an error of the spec; without it, the server does not know the path.
                if self._learnt.has_referrers is None:
                    self._learnt.has_referrers = bool(error_details(answer.body))
                return None
            if answer.status != 200:
                raise self._failure(answer, what, repository)
            self._learnt.has_referrers = True
            if bare_media_type(answer.headers.get("Content-Type", "")) != OCI_INDEX and not found:
                return None
            listed = referrers_in(answer, subject)
            found.update((child.digest, child) for child in listed)
            return [child.digest for child in listed]

        is_listed = await follow_links(self._transport.url(f"/v2/{repository}/referrers/{subject}"), what, ask, read)
        return tuple(found.values()) if is_listed else None

    async def blob(self, repository: Repository, digest: Digest, *, longest: int) -> bytes | None:
        """A small blob, checked against its digest; None if there is none.

        Raises DigestMismatchError, and ProtocolError if it has more than `longest` bytes.
        """
        url = self._transport.url(f"/v2/{repository}/blobs/{digest}")
        answer = await self._transport.send("GET", url, self._pull(repository), longest=longest)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._failure(answer, f"read {digest.short} of {repository}")
        if not digest.matches(answer.body):
            raise DigestMismatchError(f"the blob {digest.short} of {repository} does not match its digest")
        return answer.body

    async def pages_tags(self, repository: Repository) -> bool | None:
        """Whether lists of tags are paged, as in distribution 3; None if this is not distribution, or not known.

        2.8 ignores the size of a page, 3 rejects one that is no number; neither has the referrers API. A number below
        zero must not be asked for: olareg and go-containerregistry's registry crash on it. Never raises DregutilError.
        """
        url = self._transport.url(f"/v2/{repository}/tags/list?n=x")
        try:
            answer = await self._transport.send("GET", url, self._pull(repository))
            shown = {name.lower(): value for name, value in answer.headers.items()}
            if name_server(replace(self.evidence, headers=shown)).is_particular:
                return None
            if answer.status == 400:
                return any(error.code == "PAGINATION_NUMBER_INVALID" for error in error_details(answer.body)) or None
            if answer.status != 200 or not answer.headers.get("Docker-Distribution-Api-Version"):
                return None
            return False if await self.referrers(repository, _NOTHING) is None else None
        except DregutilError:
            return None

    async def blob_size(self, repository: Repository, digest: Digest) -> int | None:
        """The size of a blob in bytes; None if the registry does not have it, or does not say."""
        answer = await self._transport.send(
            "HEAD", self._transport.url(f"/v2/{repository}/blobs/{digest}"), self._pull(repository)
        )
        return None if answer.status != 200 or length_of(answer) < 0 else length_of(answer)

    async def find_blob(self, repository: Repository, blob: Descriptor) -> int | None:
        """The size of a blob in bytes, -1 if the registry does not say; None if it does not have the blob.

        If HEAD does not find it, or is not supported, one byte is read. Raises RegistryError and DeniedError.
        """
        url = self._transport.url(f"/v2/{repository}/blobs/{blob.digest}")
        answer = await self._transport.send("HEAD", url, self._pull(repository), headers=NO_CACHE, follow=False)
        if 200 <= answer.status < 400:  # a redirect to the blob
            return length_of(answer) if answer.status == 200 else -1
        if answer.status in _DENIED_HEAD:
            return -1 if await self.has_bytes(repository, blob) else None
        raise self._failure(answer, f"look for {blob.digest.short} of {repository}", repository)

    async def has_bytes(self, repository: Repository, blob: Descriptor) -> bool:
        """Whether a byte of a blob can be read: a server that has lost it may still answer HEAD.

        A blob of zero bytes has none: distribution answers 416 to a range of it.
        """
        url = self._transport.url(f"/v2/{repository}/blobs/{blob.digest}")
        try:
            answer = await self._transport.first_byte(url, self._pull(repository))
        except CutShortError:
            return False
        if answer.status == 416:
            return await self.blob_size(repository, blob.digest) == 0
        if answer.status == 404:
            return False
        if answer.status not in (200, 206):
            raise self._failure(answer, f"read {blob.digest.short} of {repository}", repository)
        return bool(answer.body) or blob.size == 0 or await self.blob_size(repository, blob.digest) == 0

    async def _pages(
        self, path: str, scopes: tuple[str, ...], what: str, repository: Repository | None = None, size: int = PAGE
    ) -> AsyncIterator[tuple[Any, bool]]:
        """The JSON documents of a paged list of names, as `name_pages`."""

        async def ask(url: URL) -> Answer:
            answer = await self._learnt.uncached.page(url, scopes, repository)
            self._learnt.headers = self._learnt.headers or {name.lower(): text for name, text in answer.headers.items()}
            return answer

        def fail(answer: Answer) -> DregutilError:
            return self._failure(answer, what, repository or "")

        async for page in name_pages(self._transport.url(path), what, ask, fail, size=size):
            yield page

    def _pull(self, repository: Repository) -> tuple[str, ...]:
        scopes = self._pull_scopes.get(repository)
        if scopes is None:
            scopes = self._pull_scopes[repository] = (f"repository:{repository}:pull",)
        return scopes

    def _failure(self, answer: Answer, what: str, repository: str = "") -> DregutilError:
        """The error for an answer, without any secret that the server repeats.

        After a redirect to another address the body is left out: it may hold the URL, with a signature.
        """
        if answer.url.origin() != self._transport.base.origin():
            answer = replace(answer, body=b"")
        user = self._login(repository).user
        if answer.status in (401, 403) and not (self._learnt.recognition.is_registry or shows_registry(answer)):
            return self.redacted(doubtful(answer, user, str(self._transport.base)))
        return self.redacted(failure(answer, what, user, self._transport.redacted))

    def redacted(self, error: DregutilError) -> DregutilError:
        """The error without secrets in its message: a host or a header may repeat them."""
        error.message = self._transport.redacted(error.message)
        error.args = (error.message,)
        return error

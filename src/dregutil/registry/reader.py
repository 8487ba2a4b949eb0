"""A registry's endpoints, as typed calls (OCI distribution-spec; what servers really do is told where it matters).

`Registry` reads; `writing.WritableRegistry` also deletes and puts.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Mapping, Set
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
    NotARegistryError,
    ProtocolError,
    RegistryError,
    UsageError,
)
from dregutil.oci.manifest import MAX_MANIFEST_BYTES, OCI_INDEX, Descriptor, Manifest, bare_media_type, parse_manifest
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.answers import digest_of, error_details, failure, is_unknown_name, length_of
from dregutil.registry.http.transport import Answer, Transport
from dregutil.registry.learnt import Learnt
from dregutil.registry.paging import Progress, decoded, may_be_cut, names_of, next_page
from dregutil.registry.server_kind import Evidence, ServerKind, name_server
from dregutil.registry.uncached import NO_CACHE, Uncached
from dregutil.registry.values import Login, Ping, Resolved

__all__ = ["Login", "Ping", "Registry", "Resolved"]

_ACCEPT_REFERRERS = {"Accept": OCI_INDEX, **NO_CACHE}
_CATALOG_SCOPES = ("registry:catalog:*",)
_NO_CATALOG = (400, 404, 405, 406, 410, 501)  # on GHCR and others
_PAGE = 1000  # more is an error on distribution, less costs round trips
_SMALL_PAGE = 100
_LISTINGS = 3  # times that a list is begun, where a later page of it is not there
_DENIED_HEAD = (400, 404, 405, 501)
_LONGEST_PING = 64 * 1024


class Registry:
    """Reads a registry; has no way to change it: its transport sends nothing but GET and HEAD."""

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
        """`learnt`: what another view of the same connection has found out, and goes on finding out."""
        self.address = address
        self.concurrency = concurrency
        self._transport = transport
        self._login = login
        self._learnt = learnt or Learnt(Uncached(transport), "GET" if use_get_manifest else "HEAD")
        self._pull_scopes: dict[Repository, tuple[str, ...]] = {}
        self.reading_counts = name_server(Evidence(address.host)).limits_pulls
        """Whether each reading of a manifest is counted against a limit of pulls."""

    @property
    def repositories_at_once(self) -> int:
        """How many repositories are worked on at the same time: while the last answers of some are waited for, others
        have requests under way."""
        return max(4, self.concurrency // 2)

    @property
    def login(self) -> Login:
        """The login for the registry as a whole."""
        return self._login("")

    @property
    def scoped_logins(self) -> Mapping[str, Login]:
        """The logins of namespaces that have one of their own."""
        return {path: self._login(path) for path in self._transport.scoped_paths}

    @property
    def kind(self) -> ServerKind:
        """Which registry this seems to be, from what it has shown so far."""
        realm, service = self._transport.token_server
        return name_server(Evidence(self.address.host, self._learnt.headers, realm, service))

    @property
    def odd_names(self) -> Set[str]:
        """What the catalog named and what cannot be a repository's name, of the part that was read."""
        return self._learnt.odd_names

    @property
    def has_referrers(self) -> bool | None:
        """Whether the registry has the referrers API; None where nobody has asked yet."""
        return self._learnt.has_referrers

    @property
    def request_seconds(self) -> float:
        """About how long one exchange takes now, with others beside it."""
        return self._transport.pace.seconds

    @property
    def allowed_rate(self) -> float | None:
        """The requests a second to which a registry that pushes back holds us; None where it does not."""
        throttle = self._transport.gate.throttle
        return throttle.rate(time.monotonic()) if throttle.is_pushed else None

    @property
    def cached(self) -> Set[Repository]:
        """The repositories where a cache answered in the registry's place, also when it was asked again."""
        return self._learnt.uncached.cached

    async def ping(self) -> Ping:
        """Ask whether a registry is there, and whether it knows us.

        Raises UnreachableError, CertificateError, LoginError, DeniedError, NotARegistryError.
        """
        answer = await self._transport.send("GET", self._transport.url("/v2/"), (), longest=_LONGEST_PING)
        self._learnt.headers = {name.lower(): value for name, value in answer.headers.items()}
        version = answer.headers.get("Docker-Distribution-Api-Version", "")
        if answer.status in (401, 403):
            raise self._failure(answer, "log in")
        is_page = bare_media_type(answer.headers.get("Content-Type", "")) in ("text/html", "application/xhtml+xml")
        if answer.status != 200 or (is_page and not version):
            what = "a web page" if is_page else f"status {answer.status}"
            raise NotARegistryError(f"{self.address.base_url} is no registry: /v2/ answers with {what}")
        return Ping(answer.status, answer.headers.get("Server", ""), version)

    async def repositories(self) -> AsyncIterator[Repository]:
        """The catalog, to its end. Raises UnlistableError where it is cut short, CatalogClosedError where there is
        none, or none for us."""
        has_begun = False
        try:
            async for page in self._pages("/v2/_catalog", _CATALOG_SCOPES, "read the catalog"):
                has_begun = True
                for name in names_of(page, "repositories", Repository.parse, self._learnt.odd_names.add):
                    yield name
        except (LoginError, DeniedError, RegistryError) as error:
            if has_begun or (isinstance(error, RegistryError) and error.status not in _NO_CATALOG):
                raise
            if isinstance(error, LoginError) and self.login.scheme:
                raise  # the login itself is wrong
            advice = CatalogClosedError.default_advice
            if not self.login.user:
                advice = f"{LoginError.default_advice}; or {advice}"
            raise CatalogClosedError(error.message, advice=advice) from error

    async def tags(self, repository: Repository) -> tuple[Tag, ...]:
        """All tags, whole; none for a repository that is not there. Raises UnlistableError where the list is cut."""
        found: dict[Tag, None] = {}
        path = f"/v2/{repository}/tags/list"
        async for page in self._pages(path, self._pull(repository), f"list the tags of {repository}", repository):
            found.update(dict.fromkeys(names_of(page, "tags", Tag.parse)))
        return tuple(found)

    async def resolve(self, repository: Repository, reference: Tag | Digest) -> Resolved | None:
        """The digest that `reference` stands for, or None where the registry has no such manifest.

        Where the server names no digest, the manifest is read and hashed. Old Nexus answers 404 to every HEAD: until
        one has worked in a repository, what it denies is asked for by GET, and a HEAD that lies is not sent again.
        """
        method = self._learnt.manifest_method
        answer = await self._learnt.uncached.manifest(method, repository, reference, self._pull(repository))
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
            raise ProtocolError(f"the registry names no valid digest for {repository}:{reference}") from error
        tagged = answer.headers.get("ETag", "").strip('"')
        if tagged != digest and tagged.startswith("sha256:") and named.startswith("sha256:"):
            raise DigestMismatchError(f"the registry names two digests for {repository}:{reference} in one answer")
        if isinstance(reference, Digest) and digest != reference:
            raise DigestMismatchError(f"asked for {reference.short} of {repository}, the registry names {digest.short}")
        return Resolved(digest, media_type, length_of(answer))

    async def _resolve_by_get(self, repository: Repository, reference: Tag | Digest) -> Resolved | None:
        """As above, from the manifest itself; where that works, HEAD is of no use on this server."""
        manifest = await self.manifest(repository, reference)
        if manifest is None:
            return None
        self._learnt.manifest_method = "GET"
        return Resolved(manifest.digest, manifest.media_type, len(manifest.raw))

    async def look_for(self, repository: Repository, reference: Tag | Digest) -> Resolved | None:
        """As `resolve`, for what is probably not there: one request says so, also where no HEAD has worked before."""
        if repository in self._learnt.heads_worked:
            return await self.resolve(repository, reference)
        manifest = await self.manifest(repository, reference)
        return None if manifest is None else Resolved(manifest.digest, manifest.media_type, len(manifest.raw))

    async def manifest(self, repository: Repository, reference: Tag | Digest) -> Manifest | None:
        """The manifest, its bytes checked against its digest; None where there is none.

        Raises DigestMismatchError, and ManifestError where it cannot be read.
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
        """What refers to `subject`, as the server's referrers API lists it; None where it has no such API.

        The first answer shows whether it has: who asks meanwhile waits for it.
        """
        if self._learnt.has_referrers is None:
            async with self._learnt.asking_for_referrers:
                if self._learnt.has_referrers is None:
                    return await self._list_referrers(repository, subject)
        return await self._list_referrers(repository, subject) if self._learnt.has_referrers else None

    async def _list_referrers(self, repository: Repository, subject: Digest) -> tuple[Descriptor, ...] | None:
        found: dict[Digest, Descriptor] = {}
        what = f"list what refers to {subject.short} in {repository}"
        progress = Progress(what)
        url: URL | None = self._transport.url(f"/v2/{repository}/referrers/{subject}")
        while url is not None:
            progress.begin(url)
            answer = await self._transport.send(
                "GET",
                url,
                self._pull(repository),
                headers=_ACCEPT_REFERRERS,
                longest=MAX_MANIFEST_BYTES,
            )
            if answer.status == 404 and not found:
                # Where the API exists its answer is an error of the spec; without it, the server knows no such path.
                if self._learnt.has_referrers is None:
                    self._learnt.has_referrers = bool(error_details(answer.body))
                return None
            if answer.status != 200:
                raise self._failure(answer, what, repository)
            self._learnt.has_referrers = True
            if bare_media_type(answer.headers.get("Content-Type", "")) != OCI_INDEX and not found:
                return None
            digest = Digest.of(answer.body, subject.algorithm)
            if digest == subject:
                raise ProtocolError(
                    f"the registry answers with {subject.short} itself where its referrers are asked for"
                )
            listed = parse_manifest(answer.body, OCI_INDEX, digest).children
            found.update((child.digest, child) for child in listed)
            progress.read(child.digest for child in listed)
            url = next_page(answer.headers.getall("Link", []), answer.url)
        return tuple(found.values())

    async def blob(self, repository: Repository, digest: Digest, *, longest: int) -> bytes | None:
        """A small blob whole, of at most `longest` bytes, checked against its digest; None where there is none.

        Raises DigestMismatchError, and ProtocolError where it is longer.
        """
        url = self._transport.url(f"/v2/{repository}/blobs/{digest}")
        answer = await self._transport.send("GET", url, self._pull(repository), longest=longest)
        if answer.status == 404:
            return None
        if answer.status != 200:
            raise self._failure(answer, f"read {digest.short} of {repository}")
        if not digest.matches(answer.body):
            raise DigestMismatchError(f"the blob {digest.short} of {repository} is not what its digest says")
        return answer.body

    async def pages_tags(self, repository: Repository) -> bool | None:
        """Whether a list of tags is paged, as since distribution 3; None where this is no distribution's answer.

        2.8 takes no notice of a page's size, 3 calls a negative one an error.
        """
        url = self._transport.url(f"/v2/{repository}/tags/list?n=-1")
        answer = await self._transport.send("GET", url, self._pull(repository))
        if answer.status == 400 and any(
            error.code == "PAGINATION_NUMBER_INVALID" for error in error_details(answer.body)
        ):
            return True
        is_distribution = bool(answer.headers.get("Docker-Distribution-Api-Version"))
        return False if answer.status == 200 and is_distribution else None

    async def blob_size(self, repository: Repository, digest: Digest) -> int | None:
        """Bytes of a blob; None where the registry has none or does not say."""
        answer = await self._transport.send(
            "HEAD", self._transport.url(f"/v2/{repository}/blobs/{digest}"), self._pull(repository)
        )
        return None if answer.status != 200 or length_of(answer) < 0 else length_of(answer)

    async def find_blob(self, repository: Repository, blob: Descriptor) -> int | None:
        """Bytes of a blob that the registry says it has, -1 where it does not say how many; None where it has none.

        Where it denies that, or knows no HEAD, one byte is asked for. Raises RegistryError and DeniedError.
        """
        url = self._transport.url(f"/v2/{repository}/blobs/{blob.digest}")
        answer = await self._transport.send("HEAD", url, self._pull(repository), headers=NO_CACHE, follow=False)
        if 200 <= answer.status < 400:  # a redirect leads to where it is
            return length_of(answer) if answer.status == 200 else -1
        if answer.status in _DENIED_HEAD:
            return -1 if await self.has_bytes(repository, blob) else None
        raise self._failure(answer, f"look for {blob.digest.short} of {repository}", repository)

    async def has_bytes(self, repository: Repository, blob: Descriptor) -> bool:
        """Whether a byte of a blob can really be read: a server that has lost it may still answer that it is there.

        One of zero bytes has none to be read: distribution answers 416 to a range of it.
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
        self, path: str, scopes: tuple[str, ...], what: str, repository: Repository | None = None
    ) -> AsyncIterator[Any]:
        """The JSON documents of a paged list; a repository that is not there has no page.

        A page that is just full, without a Link, may have been cut (Nexus): the names after its last one are asked for.
        """
        first = self._transport.url(f"{path}?n={_PAGE}")
        url: URL | None = first
        key = "tags" if path.endswith("/tags/list") else "repositories"
        progress = Progress(what)
        is_first, begun = True, 1
        before: list[Any] | None = None  # the names of a page that may have been cut
        while url is not None:
            progress.begin(url)
            # While a list waits behind what earlier ones named, there would soon be nothing else to ask.
            answer = await self._learnt.uncached.page(url, scopes, repository)
            if answer.status == 404 and is_first and is_unknown_name(answer):
                return
            if answer.status == 404 and before is None and key == "tags" and begun < _LISTINGS:
                # The tag after which this page begins may have gone meanwhile; so may the repository.
                url, progress, is_first, begun = first, Progress(what), True, begun + 1
                continue
            is_first = False
            if answer.status == 400 and url.query.get("n") == str(_PAGE) and before is None:
                url = url.update_query(n=str(_SMALL_PAGE))
                continue
            if before is not None and 400 <= answer.status < 500:
                return  # it knows no names after a name: the page was whole
            if answer.status != 200:
                raise self._failure(answer, what, repository or "")
            page = decoded(answer, what)
            names = page.get(key)
            is_new = progress.read(names if isinstance(names, list) else ())
            if before is not None and not is_new:
                return
            yield page
            url, before = next_page(answer.headers.getall("Link", []), answer.url), None
            if url is None and may_be_cut(names):
                before = names
                url = self._transport.url(path).with_query(n=str(_SMALL_PAGE), last=str(names[-1]))

    def _pull(self, repository: Repository) -> tuple[str, ...]:
        scopes = self._pull_scopes.get(repository)
        if scopes is None:
            scopes = self._pull_scopes[repository] = (f"repository:{repository}:pull",)
        return scopes

    def _failure(self, answer: Answer, what: str, repository: str = "") -> DregutilError:
        """The error for an answer; without our own secrets, should the server repeat them.

        Where a redirect led elsewhere, its words are not told: they may hold the URL, with a signature.
        """
        if answer.url.origin() != self._transport.base.origin():
            answer = replace(answer, body=b"")
        return self.redacted(failure(answer, what, self._login(repository).user, self._transport.redacted))

    def redacted(self, error: DregutilError) -> DregutilError:
        """The same error, without any secret of ours in its message: a host or a header may repeat them."""
        error.message = self._transport.redacted(error.message)
        error.args = (error.message,)
        return error

"""The endpoints of a registry that change it: delete and put.

Each write is sent once. Only the PUT of a manifest by its digest is retried: repeating it changes nothing.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Collection, Mapping

from yarl import URL

from dregutil import clock
from dregutil.errors import (
    DeletionDisabledError,
    DeniedError,
    LoginError,
    NoListingError,
    OutcomeUnknownError,
    ProtocolError,
    RegistryError,
    UnreachableError,
)
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.answers import error_details
from dregutil.registry.deletion import DeleteAnswer, judge_deletion, judge_tag_deletion
from dregutil.registry.http.retry import MOST_ATTEMPTS, wait_before
from dregutil.registry.http.throttle import PATIENCE
from dregutil.registry.http.transport import Answer, Transport
from dregutil.registry.learnt import Learnt
from dregutil.registry.native.writing import ServiceWrites
from dregutil.registry.reader import Login, Registry

__all__ = ["WritableRegistry"]

# Seconds. A DELETE, or the PUT of a tag, rests on what was read just before. If it is held back longer, read again.
_FRESH = 30.0
_ALGORITHM = "sha256"  # by which a server keeps what is put by a tag, if nothing else is asked for
_ATTEMPTS = 3  # to find out whether deletion is allowed
_PROTECTED = (
    "a rule of the registry holds it, or something that stays refers to it: check the repository's settings there"
)


class WritableRegistry(Registry):
    """A registry that can be changed. If the answer to a write is lost, OutcomeUnknownError is raised."""

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
        super().__init__(
            address, transport, login, use_get_manifest=use_get_manifest, concurrency=concurrency, learnt=learnt
        )
        self.deletes_tags = True  # by their names; False once this server has shown that it does not
        self._turns: dict[tuple[Repository, Digest], asyncio.Lock] = {}
        self._takes_digests: set[Repository] = set()  # where it accepted the DELETE of a digest
        self._writes: ServiceWrites | None = None
        self._refuses_tags = self._refuses_manifests = False  # the registry's service, to this login

    @classmethod
    def of(cls, registry: Registry) -> WritableRegistry:
        """The view that writes of a registry: it has the same connections, logins and pace."""
        if isinstance(registry, cls):
            return registry
        return cls(
            registry.address,
            registry._transport.writing(),  # noqa: SLF001 - the one place where a view that reads becomes one that writes
            registry._login,  # noqa: SLF001
            concurrency=registry.concurrency,
            learnt=registry._learnt,  # noqa: SLF001
        )

    @property
    def tags_first(self) -> bool:
        """Whether a digest that has tags is refused, and its tags are deleted before it."""
        by_service = self._by_service
        return by_service is not None and by_service.service.tags_first

    @property
    def deletes_at_once(self) -> int:
        """How many manifests go in one request if they are deleted at the same time."""
        by_service = self._by_service
        return 1 if by_service is None or self._refuses_manifests else by_service.service.deletes_at_once

    def is_by_service(self, repository: Repository) -> bool:
        """Whether the registry's service deletes manifests there: that takes no longer in a large repository."""
        by_service = self._by_service
        return by_service is not None and repository in by_service.repositories

    @property
    def _by_service(self) -> ServiceWrites | None:
        """The writes of the registry's service; None if it has none that is known."""
        if self._writes is None and self.native is not None and self.native.service is not None:
            self._writes = ServiceWrites(self.native.service, self._names)
        return self._writes

    def _manifests_by(self, meaning: DeleteAnswer) -> ServiceWrites | None:
        """The service that deletes manifests, where the registry's answer means that it does not."""
        by_service = self._by_service
        refused = meaning in (DeleteAnswer.DISABLED, DeleteAnswer.READ_ONLY)
        return by_service if refused and by_service is not None and by_service.service.deletes_manifests else None

    async def _names(self, repository: Repository, reference: Tag | Digest) -> Digest | None:
        """What a reference names now; None if two requests in a row do not find it."""
        for _ in range(2):
            found = await self.resolve(repository, reference)
            if found is not None:
                return found.digest
        return None

    async def check_deletion(self, repository: Repository) -> None:
        """Find out whether manifests can be deleted, by deleting a digest that does not exist: nothing changes.

        It is retried if the answer is lost. Raises DeletionDisabledError, DeniedError, LoginError, UnreachableError if
        no answer comes, and NoRegistryError: it may be the first request to a server.
        """
        answer = await self._delete_nothing(repository)
        if answer.status >= 300:
            await self._learnt.recognition.examine(answer)
        meaning = self._judge_manifest(repository, answer)
        if by_service := self._manifests_by(meaning):
            await self._check_service(by_service, repository, answer.status)
            return
        if meaning in (DeleteAnswer.DISABLED, DeleteAnswer.READ_ONLY):
            where = self.address.name
            what = f"{where} is read-only" if meaning is DeleteAnswer.READ_ONLY else f"deletion is disabled at {where}"
            raise self._disabled(answer, f"{what} (status {answer.status}): nothing was removed")
        self._is_deleted(meaning, answer, f"delete anything of {repository}", repository)

    async def _check_service(self, by_service: ServiceWrites, repository: Repository, status: int) -> None:
        """Raises DeletionDisabledError where the service does not take this login, or does not have the repository."""
        try:
            await by_service.check(repository)
        except NoListingError as error:
            message = f"{error.message}; {self.address.name} deletes nothing itself (status {status})"
            raise DeletionDisabledError(f"{message}: nothing was removed", advice=error.advice) from error

    async def _delete_nothing(self, repository: Repository) -> Answer:
        for attempt in range(_ATTEMPTS):
            absent = Digest(f"sha256:{secrets.token_hex(32)}")
            try:
                return await self._delete(repository, absent, PATIENCE)
            except OutcomeUnknownError:
                await asyncio.sleep(wait_before(attempt, None))
        raise UnreachableError(
            f"{self.address.name} did not answer whether {repository} allows deletion, {_ATTEMPTS} times: "
            "nothing was removed"
        )

    async def delete_manifest(self, repository: Repository, digest: Digest, *, longest_wait: float = _FRESH) -> bool:
        """Delete a manifest with all its tags. True if it was accepted, False if the manifest was not there.

        Raises PushedBackError, before anything is sent, if the registry pushes back for more than `longest_wait`
        seconds; DeletionDisabledError, DeniedError, LoginError, RegistryError, OutcomeUnknownError.
        """
        by_service = self._by_service
        if by_service is not None and self.is_by_service(repository):
            return await by_service.delete_manifest(repository, digest)
        if by_service is not None and self.deletes_at_once > 1:
            try:
                return await by_service.delete_manifest(repository, digest)
            except (NoListingError, DeniedError, LoginError):
                self._refuses_manifests = True  # this login may not use that API: another way remains
        answer = await self._delete(repository, digest, longest_wait)
        meaning = self._judge_manifest(repository, answer)
        if by_service := self._manifests_by(meaning):
            return await by_service.delete_manifest(repository, digest)
        if answer.status == 403 and self.tags_first:
            meaning = DeleteAnswer.PROTECTED  # a tag or an index refers to it: Docker Hub
        return self._is_deleted(meaning, answer, f"delete {digest.short} of {repository}", repository)

    def _judge_manifest(self, repository: Repository, answer: Answer) -> DeleteAnswer:
        meaning = judge_deletion(answer.status, _codes(answer))
        if meaning in (DeleteAnswer.ACCEPTED, DeleteAnswer.IN_PART, DeleteAnswer.ABSENT):
            self._takes_digests.add(repository)
        return meaning

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool | None:
        """Delete a tag by its name. True if it was accepted, False if the server does not find it, None if the server
        cannot delete by name.

        Old Nexus answers 404 for every tag, so False does not prove that the tag was absent. Raises as
        `delete_manifest` does.
        """
        by_service = self._by_service
        if by_service is not None and by_service.service.deletes_tags and not self._refuses_tags:
            try:
                return await by_service.delete_tag(repository, tag)
            except (NoListingError, DeniedError, LoginError, RegistryError) as error:
                if self.tags_first or (isinstance(error, RegistryError) and error.status != 404):
                    raise
                self._refuses_tags = True  # this login may not use that API, or it is not there: another way remains
        answer = await self._delete(repository, tag)
        meaning = judge_tag_deletion(answer.status, _codes(answer), takes_digests=repository in self._takes_digests)
        if self._manifests_by(meaning):
            return None
        if meaning is DeleteAnswer.NOT_BY_TAG:
            return None
        return self._is_deleted(meaning, answer, f"delete the tag {repository}:{tag}", repository)

    async def may_delete_tags(self, repository: Repository) -> bool:
        """Whether tags can perhaps be deleted by name here, found out with a name that does not exist: nothing changes.

        Raises LoginError and UnreachableError.
        """
        try:
            return await self.delete_tag(repository, Tag(f"nothing-{secrets.token_hex(16)}")) is not None
        except (RegistryError, DeniedError, DeletionDisabledError):
            return True

    async def restore(self, repository: Repository, digest: Digest, tags: Collection[Tag] | None) -> bool:
        """Bring back a manifest, with its tags, that the registry's service still has; see `ServiceWrites.restore`.

        False where there is no such service. Raises as `delete_manifest` does.
        """
        by_service = self._by_service
        if by_service is None or not by_service.service.restores:
            return False
        return await by_service.restore(repository, digest, tags)

    async def put_manifest(
        self,
        repository: Repository,
        reference: Tag | Digest,
        raw: bytes,
        media_type: str,
        *,
        digest: Digest | None = None,
    ) -> None:
        """Put exactly these bytes. By digest it is retried if the outcome is not known.

        `digest`: what a tag is to name. Another algorithm than sha256 is asked for by OCI's parameter `digest`. Raises
        ProtocolError where the registry says that it keeps the bytes by another digest.

        Raises PushedBackError, before anything is sent, if the PUT of a tag is held back for more than 30 seconds;
        RegistryError, DeniedError, LoginError, OutcomeUnknownError.
        """
        url = self._transport.url(f"/v2/{repository}/manifests/{reference}")
        scopes = (f"repository:{repository}:pull,push",)
        by_digest = isinstance(reference, Digest)
        wanted = reference if isinstance(reference, Digest) else digest
        if not by_digest and wanted is not None and wanted.algorithm != _ALGORITHM:
            url = url.update_query(digest=wanted)
        wait = PATIENCE if by_digest else _FRESH
        for attempt in range(MOST_ATTEMPTS):
            try:
                answer = await self._write("PUT", url, scopes, {"Content-Type": media_type}, raw, longest_wait=wait)
                self._check_written(answer, f"put {repository}:{reference}", repository)
            except OutcomeUnknownError:
                if not by_digest or attempt + 1 == MOST_ATTEMPTS:
                    raise
                await asyncio.sleep(wait_before(attempt, None))
            else:
                _check_digest(answer, wanted, f"{repository}:{reference}")
                return

    def turn_of(self, repository: Repository, subject: Digest) -> asyncio.Lock:
        """For who puts what refers to `subject`: olareg loses entries of its list if two are put at once."""
        return self._turns.setdefault((repository, subject), asyncio.Lock())

    async def put_blob(self, repository: Repository, raw: bytes) -> Digest:
        """Upload a small blob in one request; returns its digest. Raises as `put_manifest` does."""
        digest = Digest.of(raw)
        scopes = (f"repository:{repository}:pull,push",)
        what = f"upload a blob to {repository}"
        started = await self._write("POST", self._transport.url(f"/v2/{repository}/blobs/uploads/"), scopes)
        self._check_written(started, what, repository)
        location = _upload_url(started, what)
        answer = await self._write(
            "PUT",
            location.update_query(digest=digest),
            scopes,
            headers={"Content-Type": "application/octet-stream"},
            body=raw,
        )
        self._check_written(answer, what, repository)
        return digest

    async def complete_no_upload(self, repository: Repository) -> tuple[int, frozenset[str]]:
        """Ask to complete an upload without naming one, which begins none: HTTP's status, and the codes of the errors.
        Distribution answers 405 if it is read-only, else BLOB_UPLOAD_UNKNOWN. Raises as `begin_upload` does."""
        url, scopes = self._transport.url(f"/v2/{repository}/blobs/uploads/"), (f"repository:{repository}:pull,push",)
        answer = await self._write("PUT", url, scopes)
        if answer.status in (401, 403):
            raise self._failure(answer, f"upload to {repository}", repository)
        return answer.status, _codes(answer)

    async def begin_upload(self, repository: Repository) -> tuple[int, URL | None]:
        """Begin an upload, sent once; returns HTTP's status, and where the upload goes on if it was accepted.

        Raises LoginError, DeniedError, UnreachableError, and ProtocolError for a URL at another address.
        """
        url, scopes = self._transport.url(f"/v2/{repository}/blobs/uploads/"), (f"repository:{repository}:pull,push",)
        answer = await self._write("POST", url, scopes)
        if answer.status in (401, 403):
            raise self._failure(answer, f"begin an upload to {repository}", repository)
        if not 200 <= answer.status < 300:
            return answer.status, None
        return answer.status, _upload_url(answer, f"begin an upload to {repository}")

    async def cancel_upload(self, upload: URL, repository: Repository) -> None:
        """Cancel an upload that was begun. Raises as `put_manifest` does."""
        answer = await self._write("DELETE", upload, (f"repository:{repository}:pull,push",))
        self._check_written(answer, f"cancel an upload to {repository}", repository)

    async def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Mount a blob from another repository of the registry; False if the server does not. Raises as `put_manifest`
        does."""
        url = self._transport.url(f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}")
        scopes = (f"repository:{repository}:pull,push", f"repository:{source}:pull")
        answer = await self._write("POST", url, scopes)
        self._check_written(answer, f"mount a blob into {repository}", repository)
        return answer.status == 201

    async def _delete(self, repository: Repository, reference: Tag | Digest, longest_wait: float = _FRESH) -> Answer:
        url = self._transport.url(f"/v2/{repository}/manifests/{reference}")
        actions = "pull,push,delete" if self.tags_first else "pull,delete"  # Docker Hub wants `push` as well
        return await self._write("DELETE", url, (f"repository:{repository}:{actions}",), longest_wait=longest_wait)

    async def _write(
        self,
        method: str,
        url: URL,
        scopes: tuple[str, ...],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        longest_wait: float = PATIENCE,
    ) -> Answer:
        """Send a write once. One that the registry pushes back (429: it did not begin) is sent later.

        Raises PushedBackError after `longest_wait` seconds.
        """
        return await self._transport.send(
            method, url, scopes, headers=headers, body=body, begun_by=clock.now() + longest_wait
        )

    def _is_deleted(self, meaning: DeleteAnswer, answer: Answer, what: str, repository: Repository) -> bool:
        """True if it was accepted, False if it was not there. Raises for every other answer."""
        errors = error_details(answer.body, self._transport.redacted)
        if meaning in (DeleteAnswer.ACCEPTED, DeleteAnswer.ABSENT):
            return meaning is DeleteAnswer.ACCEPTED
        if meaning is DeleteAnswer.IN_PART:
            raise OutcomeUnknownError(f"could not {what}: accepted, then an error ({errors[0].code})")
        if meaning is DeleteAnswer.KEPT:  # it may allow other deletions
            message = f"could not {what}: the registry keeps it as part of an index (status {answer.status})"
            raise RegistryError(message, status=answer.status, errors=errors)
        if meaning is DeleteAnswer.PROTECTED:
            message = f"could not {what}: the registry protects it, it is immutable or referred to"
            raise RegistryError(
                f"{message} (status {answer.status})", status=answer.status, errors=errors, advice=_PROTECTED
            )
        if meaning in (DeleteAnswer.DISABLED, DeleteAnswer.READ_ONLY):
            why = "it is read-only" if meaning is DeleteAnswer.READ_ONLY else "deletion is disabled there"
            raise self._disabled(answer, f"could not {what}: the registry does not allow it, {why} (status 405)")
        self._check_written(answer, what, repository)
        raise self._failure(answer, what, repository)

    def _disabled(self, answer: Answer, message: str) -> DeletionDisabledError:
        self._learnt.headers.update((name.lower(), value) for name, value in answer.headers.items())
        return DeletionDisabledError(message, advice=self.kind.deletion or None)

    def _check_written(self, answer: Answer, what: str, repository: Repository) -> None:
        if 200 <= answer.status < 300:
            return
        if answer.status >= 500:
            message = f"could not {what}: status {answer.status}, the outcome is not known"
            raise OutcomeUnknownError(message, status=answer.status)
        raise self._failure(answer, what, repository)


def _check_digest(answer: Answer, wanted: Digest | None, what: str) -> None:
    """Raise ProtocolError if the registry says that it keeps what was put by another digest."""
    named = answer.headers.get("Docker-Content-Digest", "")
    if wanted is not None and named and named != wanted:
        other = named.partition(":")[0]
        why = f"by a digest of {other}" if other != wanted.algorithm else "by another digest"
        raise ProtocolError(f"put {what}, and the registry keeps it {why}, not by {wanted.short}")


def _upload_url(answer: Answer, what: str) -> URL:
    """Where an upload that was begun goes on. Raises ProtocolError unless it is at the same address."""
    try:
        location = answer.url.join(URL(answer.headers.get("Location", ""), encoded=True))
        if location.origin() != answer.url.origin():
            raise ProtocolError(f"could not {what}: the upload's URL is at another address")
    except ValueError as error:
        raise ProtocolError(f"could not {what}: the upload's URL is invalid") from error
    return location


def _codes(answer: Answer) -> frozenset[str]:
    return frozenset(error.code for error in error_details(answer.body))

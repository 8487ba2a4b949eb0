"""What changes a registry: deleting and putting. Each write is sent once, but for the PUT of a manifest by its digest:
what is put twice is as if it were put once."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Mapping

from yarl import URL

from dregutil.errors import (
    DeletionDisabledError,
    DeniedError,
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
from dregutil.registry.reader import Login, Registry

__all__ = ["WritableRegistry"]

# Seconds: what a DELETE or a tag's PUT rests on was looked at just before; held back for longer, it is looked at again.
_FRESH = 30.0
_ATTEMPTS = 3  # to learn whether deletion is allowed
_PROTECTED = (
    "a rule of the registry holds it, or something that stays refers to it: look at the repository's settings there"
)


class WritableRegistry(Registry):
    """A registry that may be changed. A write is carried out once; where its answer is lost, OutcomeUnknownError is
    raised. Only the PUT of a manifest by its digest is sent again."""

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
        self._takes_digests: set[Repository] = set()  # where the DELETE of a digest was taken

    @classmethod
    def of(cls, registry: Registry) -> WritableRegistry:
        """A registry that is read, as it may be changed: on its connections, with its logins, at its pace."""
        if isinstance(registry, cls):
            return registry
        return cls(
            registry.address,
            registry._transport.writing(),  # noqa: SLF001 - the one place where a view that reads becomes one that writes
            registry._login,  # noqa: SLF001
            concurrency=registry.concurrency,
            learnt=registry._learnt,  # noqa: SLF001
        )

    async def check_deletion(self, repository: Repository) -> None:
        """Learn whether manifests may be deleted, from the deletion of a digest that nobody has: nothing changes.

        It is sent again where its answer is lost. Raises DeletionDisabledError, DeniedError, LoginError, and
        UnreachableError where no answer comes.
        """
        answer = await self._delete_nothing(repository)
        meaning = self._judge_manifest(repository, answer)
        if meaning in (DeleteAnswer.DISABLED, DeleteAnswer.READ_ONLY):
            where = self.address.name
            what = f"{where} is read-only" if meaning is DeleteAnswer.READ_ONLY else f"deletion is disabled at {where}"
            raise self._disabled(answer, f"{what} (status {answer.status}): nothing was removed")
        self._is_deleted(meaning, answer, f"delete anything of {repository}", repository)

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
        """Delete a manifest and all its tags. True: accepted; False: it was not there.

        A registry that pushes back for more than `longest_wait` seconds: PushedBackError, nothing was sent.
        Raises DeletionDisabledError, DeniedError, LoginError, RegistryError, OutcomeUnknownError.
        """
        answer = await self._delete(repository, digest, longest_wait)
        meaning = self._judge_manifest(repository, answer)
        return self._is_deleted(meaning, answer, f"delete {digest.short} of {repository}", repository)

    def _judge_manifest(self, repository: Repository, answer: Answer) -> DeleteAnswer:
        meaning = judge_deletion(answer.status, _codes(answer))
        if meaning in (DeleteAnswer.ACCEPTED, DeleteAnswer.IN_PART, DeleteAnswer.ABSENT):
            self._takes_digests.add(repository)
        return meaning

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool | None:
        """Delete a tag by its name. True: accepted; False: "not there"; None: this server cannot.

        Old Nexus answers 404 for every tag: whether it was there is for the caller to know. Raises as `delete_manifest`
        does.
        """
        answer = await self._delete(repository, tag)
        meaning = judge_tag_deletion(answer.status, _codes(answer), takes_digests=repository in self._takes_digests)
        if meaning is DeleteAnswer.NOT_BY_TAG:
            return None
        return self._is_deleted(meaning, answer, f"delete the tag {repository}:{tag}", repository)

    async def may_delete_tags(self, repository: Repository) -> bool:
        """Whether somebody may be able to delete a tag here by its name: as the deletion of a name that nobody has is
        answered. Nothing changes. Raises LoginError, UnreachableError."""
        try:
            return await self.delete_tag(repository, Tag(f"nothing-{secrets.token_hex(16)}")) is not None
        except (RegistryError, DeniedError, DeletionDisabledError):
            return True

    async def put_manifest(self, repository: Repository, reference: Tag | Digest, raw: bytes, media_type: str) -> None:
        """Put exactly these bytes; a tag is not put long after it was looked at.

        By digest it is sent again where its outcome is not known. Raises RegistryError, DeniedError, LoginError,
        OutcomeUnknownError, PushedBackError.
        """
        url = self._transport.url(f"/v2/{repository}/manifests/{reference}")
        scopes = (f"repository:{repository}:pull,push",)
        by_digest = isinstance(reference, Digest)
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
                return

    async def put_blob(self, repository: Repository, raw: bytes) -> Digest:
        """Upload a small blob in one piece; returns its digest. Raises as `put_manifest` does."""
        digest = Digest.of(raw)
        scopes = (f"repository:{repository}:pull,push",)
        what = f"upload a blob to {repository}"
        started = await self._write("POST", self._transport.url(f"/v2/{repository}/blobs/uploads/"), scopes)
        self._check_written(started, what, repository)
        try:
            location = started.url.join(URL(started.headers.get("Location", ""), encoded=True))
            if location.origin() != started.url.origin():
                raise ProtocolError(f"could not {what}: the upload's place is at another address")
        except ValueError as error:
            raise ProtocolError(f"could not {what}: the upload's place is no URL") from error
        answer = await self._write(
            "PUT",
            location.update_query(digest=digest),
            scopes,
            headers={"Content-Type": "application/octet-stream"},
            body=raw,
        )
        self._check_written(answer, what, repository)
        return digest

    async def mount_blob(self, repository: Repository, digest: Digest, source: Repository) -> bool:
        """Bring a blob in from another repository of the registry; False where the server does not.

        Raises as `put_manifest` does.
        """
        url = self._transport.url(f"/v2/{repository}/blobs/uploads/?mount={digest}&from={source}")
        scopes = (f"repository:{repository}:pull,push", f"repository:{source}:pull")
        answer = await self._write("POST", url, scopes)
        self._check_written(answer, f"mount a blob into {repository}", repository)
        return answer.status == 201

    async def _delete(self, repository: Repository, reference: Tag | Digest, longest_wait: float = _FRESH) -> Answer:
        url = self._transport.url(f"/v2/{repository}/manifests/{reference}")
        return await self._write("DELETE", url, (f"repository:{repository}:pull,delete",), longest_wait=longest_wait)

    async def _write(
        self,
        method: str,
        url: URL,
        scopes: tuple[str, ...],
        headers: Mapping[str, str] | None = None,
        body: bytes | None = None,
        longest_wait: float = PATIENCE,
    ) -> Answer:
        """Send a write, once; where the registry pushes it back (429, not begun), when it may go.

        `longest_wait` is in seconds. Raises PushedBackError after that.
        """
        return await self._transport.send(
            method, url, scopes, headers=headers, body=body, begun_by=time.monotonic() + longest_wait
        )

    def _is_deleted(self, meaning: DeleteAnswer, answer: Answer, what: str, repository: Repository) -> bool:
        """True: accepted; False: it was not there. Raises for every other answer."""
        errors = error_details(answer.body, self._transport.redacted)
        if meaning in (DeleteAnswer.ACCEPTED, DeleteAnswer.ABSENT):
            return meaning is DeleteAnswer.ACCEPTED
        if meaning is DeleteAnswer.IN_PART:
            raise OutcomeUnknownError(f"could not {what}: accepted, then an error ({errors[0].code})")
        if meaning is DeleteAnswer.KEPT:  # that says nothing of others
            message = f"could not {what}: the registry keeps it, as part of an index (status {answer.status})"
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
            message = f"could not {what}: status {answer.status}, whether it was done is not known"
            raise OutcomeUnknownError(message, status=answer.status)
        raise self._failure(answer, what, repository)


def _codes(answer: Answer) -> frozenset[str]:
    return frozenset(error.code for error in error_details(answer.body))

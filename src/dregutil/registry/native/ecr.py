"""Amazon ECR: lists a thousand images in one request, and deletes a hundred in one.

The API is at `api.ecr.REGION.amazonaws.com`. Docker's password is of no use there: requests are signed with the user's
credentials of AWS (`native/aws`). Without them, or without botocore, the registry API is used as everywhere.

`size` is in bytes as ECR counts them: of an index, that of its largest child. The last tag that is deleted takes its
image along. An immutable tag may be deleted: it cannot be pushed again to another image.
"""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Self

import msgspec

from dregutil import clock
from dregutil.errors import (
    DeniedError,
    DregutilError,
    ErrorDetail,
    NoListingError,
    OutcomeUnknownError,
    PushedBackError,
    RegistryError,
    ThrottledError,
)
from dregutil.oci.listing import Entry, Listing
from dregutil.oci.names import Digest, RegistryAddress, Repository, Tag
from dregutil.registry.http.retry import MOST_ATTEMPTS, wait_before
from dregutil.registry.native import fields
from dregutil.registry.native.access import Access
from dregutil.registry.native.aws import Signer
from dregutil.registry.native.batches import Batches
from dregutil.registry.native.hosts import other_host
from dregutil.registry.native.login import ApiLogin
from dregutil.registry.native.service import MayReturn
from dregutil.registry.server_kind import Evidence, name_server

__all__ = ["Ecr", "is_ecr"]

_NAME = "ECR's API"
_PAGE = 1000
_MOST_IDS = 100
_FRESH = 30.0  # seconds: what a deletion rests on was read just before
_TARGET = "AmazonEC2ContainerRegistry_V20150921."
_HOST = re.compile(r"(?P<account>\d{12})\.dkr\.ecr(?:-fips)?\.(?P<region>[a-z0-9-]+)\.amazonaws\.com(?:\.cn)?")
_PUSHING_BACK = frozenset(("ThrottlingException", "Throttling", "TooManyRequestsException", "RequestLimitExceeded"))
_DENIED = frozenset(("AccessDeniedException", "AccessDenied"))
_LOGIN_REFUSED = frozenset(
    (
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "MissingAuthenticationTokenException",
        "UnrecognizedClientException",
    )
)
_PULLS = "ECR records a pull at most once a day, and reading a manifest counts as one"
_ARCHIVED = "some images are archived"
_REFERENCED = "an index that stays refers to it: remove that first"

_Kind = Literal["imageDigest", "imageTag"]
_Key = tuple[Repository, _Kind]


def is_ecr(address: RegistryAddress, evidence: Evidence) -> bool:
    return name_server(evidence).name == "Amazon ECR" and other_host(address) is not None


class Ecr:
    """ECR's own API; implements `Service`."""

    name = _NAME
    page = _PAGE
    keeps_layers_apart = True
    reading_counts = True
    deletes_tags = True
    deletes_manifests = True
    restores = False
    tags_first = False
    deletes_at_once = _MOST_IDS

    def __init__(self, access: Access) -> None:
        """Raises LookupError if the registry's name has no API."""
        host = _HOST.fullmatch(access.address.host)
        login = ApiLogin()
        self._client = access.elsewhere(_NAME, login)
        self._signer = Signer("ecr", host["region"] if host else "", _NAME, login.hide)
        # The account of the registry, which may be another than that of the credentials.
        self._account = {"registryId": host["account"]} if host else {}
        self._batches = self._new_batches()

    def writing(self) -> Self:
        found = copy.copy(self)
        found._client = self._client.writing()  # noqa: SLF001 - its own class
        found._batches = found._new_batches()  # noqa: SLF001
        return found

    async def listing(self, repository: Repository) -> Listing:
        """All images, with those that are archived or have no tag.

        Raises NoListingError also without botocore or credentials, ThrottledError, and what reading a registry raises.
        """
        entries: dict[Digest, Entry] = {}
        has_archived, statuses = False, {"filter": {"imageStatus": "ANY"}}

        async def ask(token: str) -> Any:
            nonlocal statuses
            body = {"repositoryName": str(repository), "maxResults": _PAGE, **({"nextToken": token} if token else {})}
            try:
                return await self._question("DescribeImages", {**body, **statuses})
            except RegistryError as error:
                if token or not statuses or "InvalidParameterException" not in error.codes:
                    raise
                statuses = {}  # a region where images cannot be archived yet
                return await self._question("DescribeImages", body)

        try:
            async for page in self._client.continued(ask, lambda page: page.get("nextToken")):
                for image in fields.dicts(page.get("imageDetails"), _NAME):
                    if (entry := _entry(image)) is not None:
                        entries[entry.digest] = entry
                        has_archived = has_archived or image.get("imageStatus") == "ARCHIVED"
        except RegistryError as error:
            raise _no_listing(error) from error
        doubts = (_PULLS, _ARCHIVED) if has_archived else (_PULLS,)
        return Listing(tuple(entries.values()), is_complete=True, has_untagged=True, doubts=doubts)

    async def delete_tag(self, repository: Repository, tag: Tag) -> bool:
        """Remove a tag; with its last tag an image goes as well. Raises as `delete_manifest` does."""
        return await self._batches.add((repository, "imageTag"), tag)

    async def delete_manifest(self, repository: Repository, digest: Digest) -> bool:
        """Remove an image with its tags. What is asked for at the same time goes in one request.

        Raises RegistryError for a child of an index, PushedBackError, DeniedError, OutcomeUnknownError.
        """
        return await self._batches.add((repository, "imageDigest"), digest)

    async def restore(self, repository: Repository, digest: Digest, may_return: MayReturn) -> bool:
        """Never called: see `restores`."""
        raise NotImplementedError

    def _new_batches(self) -> Batches[_Key, str]:
        return Batches(self._delete, most=_MOST_IDS, missing=_no_outcome)

    async def _question(self, operation: str, body: Mapping[str, object]) -> Any:
        """The answer to an operation that changes nothing; it is sent again while ECR pushes back."""
        raw = msgspec.json.encode({**body, **self._account})
        for attempt in range(MOST_ATTEMPTS):
            headers = await self._signed(operation, raw)
            try:
                found, _ = await self._client.query("/", raw, headers=headers)
            except RegistryError as error:
                if not error.codes & _PUSHING_BACK:
                    raise
                await asyncio.sleep(wait_before(attempt, None))
            else:
                if not isinstance(found, dict):
                    raise NoListingError(f"{_NAME}: its answer does not have the form that dregutil knows")
                return found
        raise ThrottledError(f"{_NAME} has refused {operation} {MOST_ATTEMPTS} times because of its load")

    async def _delete(self, key: _Key, items: Sequence[str]) -> Mapping[str, bool | Exception]:
        """What became of each image or tag of a batch, which is sent once; again only if it did not begin."""
        repository, kind = key
        ids = [{kind: str(item)} for item in items]
        raw = msgspec.json.encode({"repositoryName": str(repository), "imageIds": ids, **self._account})
        begun_by = clock.now() + _FRESH
        attempt = 0
        while True:
            headers = await self._signed("BatchDeleteImage", raw)
            answer = await self._client.change("POST", "/", headers=headers, body=raw, begun_by=begun_by)
            if answer.status == 200:
                return _outcomes(key, items, answer.body)
            error = self._client.refused(answer, f"delete {len(items)} images of {repository}")
            codes = error.codes if isinstance(error, RegistryError) else frozenset()
            if "RepositoryNotFoundException" in codes:
                return dict.fromkeys(items, False)
            if not codes & _PUSHING_BACK:
                raise DeniedError(error.message) if codes & (_DENIED | _LOGIN_REFUSED) else error
            pause = wait_before(attempt, None)
            if clock.now() + pause > begun_by:
                raise PushedBackError(f"{_NAME} is limiting requests: nothing was deleted")
            await asyncio.sleep(pause)
            attempt += 1

    async def _signed(self, operation: str, body: bytes) -> dict[str, str]:
        headers = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": f"{_TARGET}{operation}"}
        return await self._signer.signed("POST", str(self._client.url("/")), headers, body)


def _no_listing(error: RegistryError) -> DregutilError:
    """The error for a list that is refused. A server that fails (5xx) is no such refusal."""
    if error.status >= 500:
        return error
    return NoListingError(error.message, is_everywhere=bool(error.codes & _LOGIN_REFUSED))


def _entry(image: Mapping[str, Any]) -> Entry | None:
    digest = fields.digest(image.get("imageDigest"))
    if digest is None:
        return None
    return Entry(
        digest,
        fields.tags(image.get("imageTags")),
        fields.text(image, "imageManifestMediaType"),
        fields.number(image.get("imageSizeInBytes")),
        fields.from_seconds(image.get("imagePushedAt")),
        fields.from_seconds(image.get("lastRecordedPullTime")),
    )


def _outcomes(key: _Key, items: Sequence[str], body: bytes) -> Mapping[str, bool | Exception]:
    """What an answer says of each item. Of those that it does not name nothing is known, and they are left out."""
    repository, kind = key
    try:
        answer = msgspec.json.decode(body)
        failures = list(fields.dicts(answer.get("failures"), _NAME))
        done = list(fields.dicts(answer.get("imageIds"), _NAME))
    except (msgspec.MsgspecError, NoListingError, AttributeError, RecursionError, UnicodeDecodeError):
        return {}
    wanted = frozenset(items)
    found: dict[str, bool | Exception] = {item: True for one in done if (item := fields.text(one, kind)) in wanted}
    for failure in failures:
        item, code = fields.text(failure.get("imageId"), kind), fields.text(failure, "failureCode")
        if item in wanted:
            found[item] = False if code == "ImageNotFound" else _failed(repository, item, failure)
    return found


def _failed(repository: Repository, item: str, failure: Mapping[str, Any]) -> RegistryError:
    code, reason = fields.text(failure, "failureCode"), fields.text(failure, "failureReason")
    return RegistryError(
        f"{_NAME} could not delete {item} of {repository}: {reason or code} ({code})",
        status=400,
        errors=(ErrorDetail(code, reason),),
        advice=_REFERENCED if code == "ImageReferencedByManifestList" else None,
    )


def _no_outcome(key: _Key, item: str) -> Exception:
    return OutcomeUnknownError(f"{_NAME} does not say whether it deleted {item} of {key[0]}")

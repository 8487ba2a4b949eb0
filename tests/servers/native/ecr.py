"""Amazon ECR, simulated: the registry of the profile "ECR", and the part of its API that lists and deletes images.

Sources: [E1] botocore 1.44.8 `data/ecr/2015-09-21`, whose signer also verifies the signatures; [E2] "Common error
codes" in ECR's user guide. The API is at the same address as the registry here, at another host in truth.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from servers.http import Answer, Request
from servers.memory import Stored
from servers.profiles import PROFILES, ProfileServer

__all__ = ["ACCESS", "EcrServer", "Key"]

_PROFILE = next(profile for profile in PROFILES if profile.name == "ECR")
_TARGET = "AmazonEC2ContainerRegistry_V20150921."
_AUTHORIZATION = re.compile(r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\S+), SignedHeaders=(\S+), Signature=([0-9a-f]{64})")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_MOST_RESULTS, _MOST_IDS, _USUAL_RESULTS = 1000, 100, 100  # [E1]
ACCESS = f"Basic {base64.b64encode(b'AWS:a password for docker').decode()}"


class Key(Credentials):  # type: ignore[misc] # botocore has no types
    """A key of AWS, which signs; with a `token` it is a temporary one."""


class EcrServer(ProfileServer):
    """`archived`: digests with that status. `referenced`: digests that no image of this server refers to, and that are
    refused as if one did. `names_by_head`: a HEAD names the digest and a GET does not, as was reported
    (ChangemakerStudios/Docker.Registry.DotNet#34); others report that neither does. `throttled`: so many of the next
    calls are refused. `knows_status`: False for a server without archived images. `may`: the operations that the key
    may call. `pulled`: the recorded pulls."""

    def __init__(self, key: Key | None = None, region: str = "eu-west-1") -> None:
        super().__init__(_PROFILE)
        self.key = key or Key("AKIDTESTS", "a secret key of AWS")
        self.region = region
        self.now = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
        self.pushed: dict[tuple[str, str], datetime] = {}
        self.pulled: dict[tuple[str, str], datetime] = {}
        self.archived: set[str] = set()
        self.referenced: set[str] = set()
        self.throttled = 0
        self.names_by_head = False
        self.knows_status = True
        self.may = {"DescribeImages", "BatchDeleteImage"}
        self.lost: set[str] = set()  # operations that are carried out, and whose answer is lost
        self.calls: list[tuple[str, dict[str, Any]]] = []

    def called(self, operation: str) -> list[dict[str, Any]]:
        """The bodies of the calls of an operation that were not throttled."""
        return [body for name, body in self.calls if name == operation]

    def answer(self, request: Request) -> Answer:
        if request.path == "/":
            return self._api(request)
        if request.headers.get("authorization") != ACCESS:
            return Answer(401, b"", {"WWW-Authenticate": f'Basic realm="{self.url}/",service="ecr.amazonaws.com"'})
        found = super().answer(request)
        named = re.fullmatch(r"/v2/(.+)/manifests/([^/]+)", request.path)
        if request.method == "HEAD" and named is not None and found.status == 200 and self.names_by_head:
            digest = found.headers["Etag"].strip('"')
            found = replace(found, headers={**found.headers, "Docker-Content-Digest": digest})
        if request.method == "PUT" and named is not None and found.status == 201:
            # A tag that moves, or a push of the same image under another tag, leaves the time as it is
            # (aws/containers-roadmap #2746).
            self.pushed.setdefault((named[1], _sha(request.body)), self.now)
        return found

    # The API

    def _api(self, request: Request) -> Answer:
        operation = request.headers.get("x-amz-target", "").removeprefix(_TARGET)
        if request.method != "POST" or request.headers.get("content-type") != "application/x-amz-json-1.1":
            return _error("UnknownOperationException")
        if refusal := self._refused_signature(request):
            return refusal
        if operation not in self.may:
            user = "arn:aws:iam::123456789012:user/tests"
            return _error("AccessDeniedException", f"User: {user} is not authorized to perform: ecr:{operation}")
        if self.throttled > 0:
            self.throttled -= 1
            return _error("ThrottlingException", "Rate exceeded")
        body = json.loads(request.body)
        self.calls.append((operation, body))
        if body["repositoryName"] not in self.repositories:
            return _error("RepositoryNotFoundException", f"The repository {body['repositoryName']!r} does not exist")
        found = self._describe(body) if operation == "DescribeImages" else self._delete_batch(body)
        return Answer(0) if operation in self.lost else found

    def _refused_signature(self, request: Request) -> Answer | None:
        """Sign the request again, with botocore's signer and the headers that the client signed."""
        found = _AUTHORIZATION.fullmatch(request.headers.get("authorization", ""))
        if found is None:
            return _error("MissingAuthenticationTokenException")
        key, scope, signed, signature = found.groups()
        names = signed.split(";")
        moment = request.headers.get("x-amz-date", "")
        if key != self.key.access_key or request.headers.get("x-amz-security-token") != self.key.token:
            return _error("UnrecognizedClientException", "The security token included in the request is invalid.")
        if scope != f"{moment[:8]}/{self.region}/ecr/aws4_request" or not {"host", "x-amz-date"} <= set(names):
            return _error("InvalidSignatureException", "Credential should be scoped to a valid region.")
        headers = {name: request.headers[name] for name in names}
        again = AWSRequest("POST", f"http://{request.headers['host']}{request.target}", headers, request.body)
        again.context["timestamp"] = moment
        signer = SigV4Auth(self.key, "ecr", self.region)
        text = signer.string_to_sign(again, signer.canonical_request(again))
        if signer.signature(text, again) != signature:
            return _error("InvalidSignatureException", f"The signature does not match. {text} {self.key.token}")
        return None

    def _describe(self, body: Mapping[str, Any]) -> Answer:
        size, status = body.get("maxResults", _USUAL_RESULTS), body.get("filter", {}).get("imageStatus")
        if not 1 <= size <= _MOST_RESULTS:
            return _error("InvalidParameterException", "'maxResults' failed to satisfy constraint")
        if status is not None and not self.knows_status:
            return _error("InvalidParameterException", "Invalid parameter at 'filter'")
        name = body["repositoryName"]
        shown = [
            stored
            for stored in self.repositories[name].manifests.values()
            if status == "ANY" or (stored.digest in self.archived) == (status == "ARCHIVED")  # else ACTIVE [E1]
        ]
        first = int(base64.b64decode(body["nextToken"])) if "nextToken" in body else 0
        found: dict[str, Any] = {"imageDetails": [self._detail(name, one) for one in shown[first : first + size]]}
        if first + size < len(shown):
            found["nextToken"] = base64.b64encode(str(first + size).encode()).decode()
        return _json(found)

    def _detail(self, name: str, stored: Stored) -> dict[str, Any]:
        """An image. Times are numbers; what has no tag has no `imageTags`, what was not pulled has no time [E1]."""
        manifests = self.repositories[name].manifests
        tags = [tag for tag, digest in (self.repositories[name].tags or {}).items() if digest == stored.digest]
        sizes = [_size(manifests[child]) for child in stored.children if child in manifests]
        pulled = self.pulled.get((name, stored.digest))
        return {
            "registryId": "123456789012",
            "repositoryName": name,
            "imageDigest": stored.digest,
            "imageSizeInBytes": max(sizes, default=_size(stored)),  # of an index: its largest child [E1]
            "imagePushedAt": self.pushed.get((name, stored.digest), self.now).timestamp(),
            "imageManifestMediaType": stored.media_type,
            "artifactMediaType": "application/vnd.oci.image.config.v1+json",
            **(
                {"imageStatus": "ARCHIVED" if stored.digest in self.archived else "ACTIVE"} if self.knows_status else {}
            ),
            **({"imageTags": tags} if tags else {}),
            **({"lastRecordedPullTime": pulled.timestamp()} if pulled else {}),
        }

    def _delete_batch(self, body: Mapping[str, Any]) -> Answer:
        ids = body["imageIds"]
        if not 1 <= len(ids) <= _MOST_IDS:
            return _error("InvalidParameterException", "'imageIds' failed to satisfy constraint")
        done: list[dict[str, str]] = []
        failures: list[dict[str, Any]] = []
        for one in ids:
            code = self._delete_one(body["repositoryName"], one, done)
            if code:
                failures.append({"imageId": one, "failureCode": code, "failureReason": f"Refused: {code}"})
        return _json({"imageIds": done, "failures": failures})

    def _delete_one(self, name: str, one: Mapping[str, str], done: list[dict[str, str]]) -> str:
        """Delete an image, or a tag; the code of its failure. The last tag takes the image along [E1]."""
        repository = self.repositories[name]
        tags = repository.tags or {}
        digest = one.get("imageDigest") or tags.get(one.get("imageTag", ""), "")
        if "imageDigest" in one and not _DIGEST.fullmatch(digest):
            return "InvalidImageDigest"
        if digest not in repository.manifests:
            return "ImageNotFound"
        named = [tag for tag, found in tags.items() if found == digest]
        if "imageTag" in one and named != [one["imageTag"]]:
            del tags[one["imageTag"]]
            done.append({"imageDigest": digest, "imageTag": one["imageTag"]})
            return ""
        if digest in self.referenced or any(digest in other.children for other in repository.manifests.values()):
            return "ImageReferencedByManifestList"
        self._take(repository, digest)
        done += [{"imageDigest": digest, "imageTag": tag} for tag in named] or [{"imageDigest": digest}]
        return ""


def _sha(raw: bytes) -> str:
    return f"sha256:{hashlib.sha256(raw).hexdigest()}"


def _size(stored: Stored) -> int:
    return len(stored.raw) + sum(int(blob["size"]) for blob in stored.blobs)


def _json(body: Any, status: int = 200) -> Answer:
    return Answer(status, json.dumps(body).encode(), {"Content-Type": "application/x-amz-json-1.1"})


def _error(kind: str, message: str = "") -> Answer:
    """An error of the JSON protocol: 400, with its name in `__type` [E1, E2]."""
    return _json({"__type": kind, "message": message or kind}, 400)
